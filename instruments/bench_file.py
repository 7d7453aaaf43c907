"""A bench file: which instruments there are, where they hang, what none of them may exceed."""

import datetime
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeAlias, get_args

from pydantic import Field, model_validator
from pydantic.fields import FieldInfo

from instruments.calibration import CalibrationFlag, CalibrationPolicy
from instruments.camera.entry import AravisEntry, PylonEntry
from instruments.entry import InstrumentEntry
from instruments.external.entry import ExternalEntry
from instruments.gas_chromatograph.entry import ContactEntry, FusionEntry, GasChromatographEntry
from instruments.guarding import GuardSettings
from instruments.interlock.entry import DconEntry, InterlockEntry
from instruments.lamp.entry import SwitchedLampEntry
from instruments.lending import SharedPart
from instruments.plugins import brought, union_of
from instruments.potentiostat.entry import KeithleyEntry, MethodScriptEntry, RodeostatEntry
from instruments.raman.entry import OceanEntry, WasatchEntry
from instruments.relay_board.entry import RelayBoardEntry
from instruments.sampling_valve.entry import ViciEntry
from instruments.sensor.entry import AtlasEzoPhEntry, KellerBusEntry, SrsQcm200Entry
from instruments.stage.entry import ZaberAsciiEntry
from instruments.thermostat.entry import HuberEntry, JulaboEntry
from techniques import SafetyLimits
from techniques._base import Data

# One line per wire language: what can stand under `instruments` of a bench file. ``kind`` says
# which device it becomes, ``language`` which driver. Where a kind has several languages they stand
# together, as in ``Annotated[A | B, Field(discriminator="language")]``.
BuiltIn = Annotated[
    RelayBoardEntry
    | Annotated[MethodScriptEntry | KeithleyEntry | RodeostatEntry, Field(discriminator="language")]
    | Annotated[PylonEntry | AravisEntry, Field(discriminator="language")]
    | Annotated[WasatchEntry | OceanEntry, Field(discriminator="language")]
    | Annotated[ContactEntry | FusionEntry, Field(discriminator="language")]
    | Annotated[HuberEntry | JulaboEntry, Field(discriminator="language")]
    | Annotated[AtlasEzoPhEntry | KellerBusEntry | SrsQcm200Entry, Field(discriminator="language")]
    | ViciEntry
    | ZaberAsciiEntry
    | SwitchedLampEntry
    | DconEntry
    | ExternalEntry,
    Field(discriminator="kind"),
]


def entries(union: Any = BuiltIn) -> Iterator[type[InstrumentEntry]]:
    """Yield every entry there is, in their order: one per wire language.

    Of ``Entry`` also those that other packages bring.
    """
    if isinstance(union, type):
        yield union
        return
    for member in get_args(union):
        if not isinstance(member, FieldInfo):
            yield from entries(member)


if TYPE_CHECKING:
    Entry: TypeAlias = BuiltIn
else:
    _brought = brought(list(entries()))
    Entry = union_of([*entries(), *_brought]) if _brought else BuiltIn


def _port(address: str) -> str:
    """Return what an address leads to: a serial port has several names, and settings behind it."""
    scheme, _, rest = address.partition("://")
    return f"serial://{os.path.realpath(rest.partition('?')[0])}" if scheme == "serial" else address


def shared_as(entry: InstrumentEntry | None) -> str | None:
    """Return what an instrument is called that several benches share; ``None``: it is not shared.

    Potentiostats, thermostats and stages are not: what they do lasts beyond one use.
    """
    return entry.shared if isinstance(entry, SharedPart) else None


class BenchFile(Data):
    """A bench file: ``config/sim.yaml``, ``config/bench.yaml`` or one of yours."""

    name: str = Field(min_length=1)
    instruments: dict[str, Entry]
    limits: SafetyLimits = SafetyLimits()
    guard: GuardSettings = GuardSettings()
    calibrations: CalibrationPolicy = CalibrationPolicy()

    @model_validator(mode="after")
    def _boards_exist(self) -> Self:
        there = {name for name, x in self.instruments.items() if x.kind == "relay_board"}
        for name, entry in self.instruments.items():
            for wanted in entry.boards:
                if wanted not in there:
                    raise ValueError(
                        f"instruments.{name} hangs on board {wanted!r}, which is not a relay_board "
                        f"of this bench (there is: {', '.join(sorted(there)) or 'none'})"
                    )
        return self

    @model_validator(mode="after")
    def _a_contact_has_one_owner(self) -> Self:
        # A start that closes the laser's contact shines, whatever lamp and cover do.
        owners: dict[tuple[str, int], str] = {}
        for name, entry in self.instruments.items():
            for contact in entry.relays:
                other = owners.setdefault(contact, name)
                if other != name:
                    board, relay = contact
                    raise ValueError(
                        f"instruments.{name} and instruments.{other} both hang on relay {relay} of "
                        f"{board}: what switches the one switches the other; give each its own"
                    )
        return self

    @model_validator(mode="after")
    def _what_is_shared_is_shared_whole(self) -> Self:
        for name, entry in self.instruments.items():
            for part in (*entry.boards, *entry.valves):
                of = shared_as(self.instruments.get(part))
                if of is not None and shared_as(entry) != of:
                    raise ValueError(
                        f"instruments.{name} hangs on {part}, which is shared as {of!r}, and its "
                        f"own shared is {shared_as(entry) or 'not given'}: give it shared: {of} "
                        f"as well, or a {part} of its own"
                    )
        return self

    @model_validator(mode="after")
    def _has_one_cell(self) -> Self:
        leaders = [name for name, x in self.instruments.items() if x.kind == "potentiostat"]
        if len(leaders) > 1:
            raise ValueError(
                f"{' and '.join(leaders)} are potentiostats, and a bench has one cell: write a "
                "bench file for each cell, also where two are channels of one instrument, and give "
                "each the address of its channel"
            )
        return self

    @model_validator(mode="after")
    def _an_interlock_is_of_this_bench(self) -> Self:
        found = [name for name, x in self.instruments.items() if x.kind == "interlock"]
        if len(found) > 1:
            raise ValueError(
                f"{' and '.join(found)} are interlocks, and a bench has one: give it the relays of "
                "both"
            )
        for name, relay in self._relays_of(found):
            if name not in self.instruments or name in found:
                there = ", ".join(one for one in self.instruments if one not in found)
                raise ValueError(
                    f"instruments.{found[0]} holds relay {relay} for {name!r}, which is no other "
                    f"instrument of this bench (there is: {there or 'none'})"
                )
        return self

    def _relays_of(self, interlocks: Iterable[str]) -> list[tuple[str, int]]:
        """Return whose lead or interlock circuit runs through a relay of these."""
        entries: list[InstrumentEntry] = [self.instruments[name] for name in interlocks]
        return [
            relay
            for entry in entries
            if isinstance(entry, InterlockEntry)
            for relay in entry.relays_of.items()
        ]

    @model_validator(mode="after")
    def _ports_are_of_one(self) -> Self:
        of: dict[str, str] = {}
        for name, entry in self.instruments.items():
            if entry.kind == "external":
                continue  # several boxes may write into one folder
            for address in entry.addresses:
                other = of.setdefault(_port(address), name)
                if other != name:
                    raise ValueError(
                        f"instruments.{other} and instruments.{name} have the same address, "
                        f"{address}: one of them is wrong"
                    )
        return self

    @model_validator(mode="after")
    def _a_file_is_of_one_box(self) -> Self:
        of: dict[tuple[str, str], str] = {}
        for name, entry in self.instruments.items():
            if not isinstance(entry, ExternalEntry):
                continue
            other = of.setdefault((entry.address.rstrip("/"), entry.pattern), name)
            if other != name:
                raise ValueError(
                    f"instruments.{other} and instruments.{name} take the same files, "
                    f"{entry.pattern} in {entry.address}: each would be attached twice; give them "
                    "different patterns, or folders"
                )
        return self

    @model_validator(mode="after")
    def _valves_exist(self) -> Self:
        there = {name for name, x in self.instruments.items() if x.kind == "sampling_valve"}
        for name, entry in self.instruments.items():
            for wanted in entry.valves:
                if wanted not in there:
                    raise ValueError(
                        f"instruments.{name} takes its samples by valve {wanted!r}, which is no "
                        "sampling_valve of this bench (there is: "
                        f"{', '.join(sorted(there)) or 'none'})"
                    )
        return self

    @model_validator(mode="after")
    def _a_valve_rests_in_one_position(self) -> Self:
        injects: dict[str, tuple[str, str]] = {}
        for name, entry in self.instruments.items():
            if not isinstance(entry, GasChromatographEntry) or entry.valve is None:
                continue
            at = entry.inject_position
            other, others = injects.setdefault(entry.valve, (name, at))
            if others != at:
                raise ValueError(
                    f"instruments.{other} injects with {entry.valve} at {others}, "
                    f"instruments.{name} at {at}: where one fills its loop the other injects; "
                    "correct inject_position, or give each a valve of its own"
                )
        return self

    @model_validator(mode="after")
    def _thermostats_exist(self) -> Self:
        there = {name for name, x in self.instruments.items() if x.kind == "thermostat"}
        for name, entry in self.instruments.items():
            for wanted in entry.thermostats:
                if wanted not in there:
                    raise ValueError(
                        f"instruments.{name} takes its temperature from {wanted!r}, which is no "
                        f"thermostat of this bench (there is: {', '.join(sorted(there)) or 'none'})"
                    )
        return self

    def calibration(self) -> dict[str, dict[str, Any]]:
        """Return what a start document tells of how the instruments were calibrated, by name."""
        told = {name: entry.calibration_told() for name, entry in self.instruments.items()}
        return {name: calibration for name, calibration in told.items() if calibration}

    def calibration_flags(self, today: datetime.date | None = None) -> tuple[CalibrationFlag, ...]:
        """Return which calibrations are too old, or missing, on a day; by default today."""
        day = today or datetime.datetime.now(tz=datetime.UTC).date()
        return tuple(
            flag
            for name, entry in self.instruments.items()
            for flag in entry.calibration_flags(name, day)
        )

    def addresses(self) -> list[str]:
        """Return every address in it, as it is written."""
        return [address for entry in self.instruments.values() for address in entry.addresses]

    def only(self, names: set[str]) -> "BenchFile":
        """Return the bench reduced to ``names``, and the boards and valves these hang on.

        So is its interlock: a cell whose lead runs through it has none without it. A sensor whose
        thermostat is left out keeps to the temperature in its entry.
        """
        unknown = names - set(self.instruments)
        if unknown:
            raise ValueError(
                f"bench {self.name!r} has no {', '.join(sorted(unknown))}; it has "
                f"{', '.join(self.instruments)}"
            )
        kept = set(names)
        for name in names:
            entry: InstrumentEntry = self.instruments[name]
            kept.update(entry.boards, entry.valves)
        kept.update(
            one for one in self.instruments if kept & {x for x, _ in self._relays_of([one])}
        )
        left_out = set(self.instruments) - kept
        some = {
            name: entry.without(left_out)
            for name, entry in self.instruments.items()
            if name in kept
        }
        return self.model_copy(update={"instruments": some})
