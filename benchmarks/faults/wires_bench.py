"""The benches on which wires are broken: each instrument beside a leader and one that stands by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from instruments.bench_file import BenchFile
from operando.configuration import load_bench
from techniques import GalvanostaticStep, Limit, PotentiostaticStep, Protocol, Recording, Schedule

CELL = "zn-bare-half"
FACTOR = 20.0
LONG_S, ROW_S, EVERY_S, TOLERANCE_S = 24.0, 0.5, 4.0, 4.0
_LEADER = "potentiostat"


@dataclass(frozen=True)
class Subject:
    """An instrument whose wire is broken.

    Attributes:
        name: as the simulator calls it.
        bench: the bench file whose entries are taken.
        entries: names in it, the leader's included.
        served: what the simulator serves.
        stream: of the record, in which its rows are; of ``entries``.
        by_stander: the stream of a follower that must not be delayed.
        wire: whose bytes the truth has, if it has any.
        schedule: when followers act, beside the usual.
        changes: to the entry of ``stream``.
        factor: cell seconds per second.
        long_s: of the step, cell seconds.
        published: the file that holds its address; empty: its name.
    """

    name: str
    bench: str
    entries: tuple[str, ...]
    served: tuple[str, ...]
    stream: str
    by_stander: str | None = "thermostat"
    wire: str | None = None
    schedule: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    factor: float = FACTOR
    long_s: float = LONG_S
    published: str = ""

    @property
    def leads(self) -> bool:
        """Return whether it is the leader itself."""
        return self.stream == _LEADER

    @property
    def told_as(self) -> str:
        """Return what every message about it has to name: where it is."""
        return f"published:${{OPERANDO_SIM}}/{self.published or self.name}"

    def bench_file(self) -> BenchFile:
        """Return the bench: what is asked for, and who stands by."""
        told = load_bench(self.bench)
        told = told.only({*self.entries} & set(told.instruments))
        entries: dict[str, Any] = dict(told.instruments)
        if self.by_stander is not None and self.by_stander not in entries:
            entries[self.by_stander] = load_bench("sim").instruments[self.by_stander]
        for name in {*self.entries} - set(entries):
            entries[name] = load_bench("sim-second").instruments[name]
        if self.changes:
            entries[self.stream] = entries[self.stream].model_copy(update=dict(self.changes))
        return told.model_copy(update={"instruments": entries})

    def serves(self) -> tuple[str, ...]:
        """Return what the simulator serves."""
        if self.by_stander is None or self.by_stander in self.served:
            return self.served
        return (*self.served, self.by_stander)

    def protocol(self) -> Protocol:
        """Return a short plating, or where no current can be set, a short hold."""
        until = (Limit(quantity="time_s", value=self.long_s),)
        record = Recording(dt_s=ROW_S, edge_dt_s=ROW_S)
        step: Any = GalvanostaticStep(
            role="plate", current_density_ma_cm2=1.0, until=until, record=record
        )
        if self.name == "rodeostat":
            step = PotentiostaticStep(role="plate", potential_v=-0.1, until=until, record=record)
        every = {
            "burst_for_s": 0,
            "tolerance_s": TOLERANCE_S,
            "image_s": EVERY_S,
            "spectrum_s": EVERY_S,
            "injection_s": None,
            "temperature_s": EVERY_S,
            "reading_s": EVERY_S,
        }
        schedule = Schedule.model_validate(every | dict(self.schedule))
        return Protocol(name="wires", cell=CELL, technique=step, every=schedule)


def _follower(
    name: str, bench: str, stream: str, *beside: str, tapped: bool = True, **options: Any
) -> Subject:
    entries = (_LEADER, *beside, stream)
    served = (_LEADER, *beside, name) if name != "chromatograph" else (_LEADER, *beside)
    if name == "relay_board":
        served = (*served, "camera")  # whose lamp hangs on it
    return Subject(
        name,
        bench,
        entries,
        tuple(dict.fromkeys(served)),
        stream,
        wire=name if tapped else None,
        **options,
    )


_GAS = {"injection_s": 400.0, "temperature_s": 40.0, "at_half_cycle_ends": False}
SUBJECTS: dict[str, Subject] = {
    one.name: one
    for one in (
        Subject("potentiostat", "sim", (_LEADER,), (_LEADER,), _LEADER, wire="potentiostat"),
        Subject("keithley", "sim-keithley", (_LEADER,), ("keithley",), _LEADER, wire="keithley"),
        Subject(
            "rodeostat", "sim-rodeostat", (_LEADER,), ("rodeostat",), _LEADER, wire="rodeostat"
        ),
        _follower("thermostat", "sim", "thermostat", by_stander=None),
        _follower("julabo", "sim-second", "thermostat", by_stander=None),
        _follower("ph_meter", "sim-second", "ph_meter", changes={"compensated_by": None}),
        _follower("microbalance", "sim-second", "microbalance", changes={"gate_s": 0.1}),
        _follower("pressure", "sim-second", "pressure"),
        _follower("stage", "sim-second", "stage"),
        _follower("camera", "sim", "camera", "relay_board", tapped=False),
        _follower("gige_camera", "sim-aravis", "camera", "relay_board", tapped=False),
        _follower(
            "raman",
            "sim",
            "raman",
            tapped=False,
            changes={"integration_time_s": 0.05, "accumulations": 1},
        ),
        _follower(
            "raman_ocean",
            "sim-second",
            "raman",
            "relay_board",
            tapped=False,
            changes={"integration_time_s": 0.05, "accumulations": 1},
        ),
        _follower(
            "relay_board",
            "sim",
            "camera",
            "relay_board",
            tapped=False,
        ),
        _follower(
            "chromatograph",
            "sim",
            "gas_chromatograph",
            "relay_board",
            tapped=False,
            schedule=_GAS,
            factor=200.0,
            long_s=240.0,
            published="chromatograms",
        ),
        _follower(
            "fusion",
            "sim-second",
            "gas_chromatograph",
            tapped=False,
            schedule=_GAS,
            factor=200.0,
            long_s=240.0,
        ),
        _follower(
            "sampling_valve",
            "sim",
            "gas_chromatograph",
            "relay_board",
            "sampling_valve",
            tapped=False,
            schedule=_GAS | {"injection_s": 100.0},
            changes={"valve": "sampling_valve", "load_s": 0.1, "inject_s": 0.1},
            factor=200.0,
            long_s=240.0,
        ),
        _follower("dems", "sim-writers", "dems", tapped=False),
        *(
            _follower(name, "sim-writers", name, "relay_board", tapped=False)
            for name in ("ftir", "xrd", "afm", "ultrasound")
        ),
    )
}
