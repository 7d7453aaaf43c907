"""Other programs' files, written by aurora-unicycler of its protocol."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from operando.unicycler._exchange import Exchanged, ExchangeError

if TYPE_CHECKING:
    from aurora_unicycler import CyclingProtocol

Format = Literal["unicycler", "biologic", "neware", "pybamm", "tomato", "battinfo"]
FORMATS: tuple[Format, ...] = get_args(Format)
ENDINGS: dict[Format, str] = {
    "unicycler": ".json",
    "biologic": ".mps",
    "neware": ".xml",
    "pybamm": ".txt",
    "tomato": ".json",
    "battinfo": ".jsonld",
}
# The encoding in which EC-Lab reads its settings.
ENCODINGS: dict[Format, str] = {"biologic": "cp1252"}

# Ranges of a BioLogic channel, V: the narrowest that holds all is taken.
_RANGES_V = ((0.0, 5.0), (-5.0, 5.0), (-10.0, 10.0))
# tomato's steps are written for this range.
_TOMATO_MA = 10.0
# Steps that another program's file has no counterpart of.
_WITHOUT: dict[Format, tuple[str, ...]] = {
    "neware": ("impedance_spectroscopy",),
    "pybamm": ("impedance_spectroscopy", "voltage_scan"),
    "tomato": ("impedance_spectroscopy", "voltage_scan"),
}
# Less than this rounds nothing that matters, of a current.
_ROUNDED = 1e-4


@dataclass(frozen=True)
class _Checked:
    cycling: "CyclingProtocol"
    told: list[str]

    def steps(self, kind: str) -> "list[tuple[int, Any]]":
        method = enumerate(self.cycling.method, start=1)
        return [(place, step) for place, step in method if step.step == kind]


def written(exported: "Exchanged[CyclingProtocol]", to: Format) -> Exchanged[str]:
    """Return a protocol as the text of another program's file, and what is told of it.

    What that program's file cannot hold is refused or told, also where aurora-unicycler leaves it
    out.

    Raises:
        ExchangeError: The file cannot hold a step; the message names it.
    """
    checked = _Checked(exported.protocol.model_copy(deep=True), list(exported.told))
    for kind in _WITHOUT.get(to, ()):
        for place, _ in checked.steps(kind):
            raise ExchangeError(f"a file of {to} cannot hold step {place}: it has no {kind}")
    try:
        text = _text(checked, to)
    except (NotImplementedError, ValueError, RuntimeError) as error:
        raise ExchangeError(f"a file of {to} cannot hold it: {error}") from error
    return Exchanged(text, tuple(dict.fromkeys(checked.told)))


def _text(checked: _Checked, to: Format) -> str:
    cycling = checked.cycling
    match to:
        case "unicycler":
            return cycling.to_json() + "\n"
        case "biologic":
            return cycling.to_biologic_mps(range_V=_biologic(checked))
        case "neware":
            _neware(checked)
            return cycling.to_neware_xml()
        case "pybamm":
            _pybamm(checked)
            return "\n".join(cycling.to_pybamm_experiment()) + "\n"
        case "tomato":
            _tomato(checked)
            return cycling.to_tomato_mpg2() + "\n"
        case "battinfo":
            checked.told.append("when rows are recorded, and safety limits")
            for place, step in checked.steps("impedance_spectroscopy"):
                checked.told.append(f"step {place}: {step.points_per_decade} points per decade")
            return json.dumps(cycling.to_battinfo_jsonld(), indent=2) + "\n"


def _biologic(checked: _Checked) -> tuple[float, float]:
    """Return the voltage range of an EC-Lab file; tell what its three decimals round."""
    safety = checked.cycling.safety
    if safety.max_capacity_mAh is not None:
        checked.told.append(f"the safety limit of {safety.max_capacity_mAh:.4g} mAh")
    values = [x for x in (safety.min_voltage_V, safety.max_voltage_V) if x is not None]
    for place, step in checked.steps("constant_current"):
        values += [step.until_voltage_V] if step.until_voltage_V is not None else []
        scale = 1e3 if abs(step.current_mA) < 1 else 1.0
        _rounding(checked, place, "current", step.current_mA * scale, "uA" if scale > 1 else "mA")
        if step.until_voltage_V is not None:
            _millivolts(checked, place, step.until_voltage_V)
    for place, step in checked.steps("constant_voltage"):
        values.append(step.voltage_V)
        _millivolts(checked, place, step.voltage_V)
        if step.until_current_mA:
            if abs(step.until_current_mA) < 5e-4:
                raise ValueError(
                    f"step {place} ends below {abs(step.until_current_mA) * 1e6:.3g} nA, and its "
                    "currents have three decimals of a mA"
                )
            _rounding(checked, place, "last current", step.until_current_mA, "mA")
    for _, step in checked.steps("voltage_scan"):
        values += [step.start_voltage_V, step.end_voltage_V]
    for place, step in checked.steps("impedance_spectroscopy"):
        if min(step.start_frequency_Hz, step.end_frequency_Hz) < 1e-3:
            raise ValueError(f"step {place} goes below 1 mHz, which is left out there")
    record = checked.cycling.record
    if record.voltage_V is not None and record.voltage_V < 1e-3:
        raise ValueError(f"rows each {record.voltage_V:g} V: it has three decimals of a volt")
    for low, high in _RANGES_V:
        if all(low <= value <= high for value in values):
            return low, high
    raise ValueError(f"its voltages go from {min(values):g} V to {max(values):g} V: 10 V at most")


def _rounding(checked: _Checked, place: int, what: str, value: float, unit: str) -> None:
    kept = round(value, 3)
    if kept == 0 or abs(kept / value - 1) > 0.05:
        raise ValueError(f"step {place}: a {what} of {value:.3g} {unit} has three decimals there")
    if abs(kept / value - 1) > _ROUNDED:
        checked.told.append(
            f"step {place}: its {what} of {value:.6g} {unit} is rounded to {kept:g} {unit}"
        )


def _millivolts(checked: _Checked, place: int, volts: float) -> None:
    kept = round(volts, 3)
    if kept == 0 and volts != 0:
        raise ValueError(f"step {place}: {volts:g} V has three decimals there")
    if abs(kept - volts) > 1e-6:
        checked.told.append(f"step {place}: {volts:g} V is rounded to {kept:g} V")


def _neware(checked: _Checked) -> None:
    for place, step in checked.steps("constant_voltage"):
        if not step.until_current_mA and not step.until_rate_C:
            checked.told.append(
                f"step {place}: a hold that no current ends is written as one that charges"
            )


def _pybamm(checked: _Checked) -> None:
    safety = checked.cycling.safety.model_dump(exclude_none=True)
    if safety:
        checked.told.append("safety limits")
    checked.told.append("when rows are recorded")
    method: list[Any] = []
    for step in checked.cycling.method:
        # There an end by current is a magnitude.
        if step.step == "constant_voltage" and step.until_current_mA is not None:
            step = step.model_copy(update={"until_current_mA": abs(step.until_current_mA)})
        method.append(step)
    checked.cycling.method = method


def _tomato(checked: _Checked) -> None:
    cycling = checked.cycling
    if cycling.safety.model_dump(exclude_none=True):
        checked.told.append("safety limits, which are set in the instrument")
    for place, step in checked.steps("constant_current"):
        if abs(step.current_mA) > _TOMATO_MA:
            raise ValueError(
                f"step {place}: {abs(step.current_mA):.4g} mA: it is written for the range of "
                f"{_TOMATO_MA:g} mA"
            )
    capacity = cycling.sample.capacity_mAh
    method: list[Any] = []
    for place, step in enumerate(cycling.method, start=1):
        # An end by current is only written as a rate.
        if step.step == "constant_voltage" and step.until_current_mA and not step.until_rate_C:
            if not capacity:
                raise ValueError(
                    f"step {place} ends by a current, which is written as a C-rate: the cell tells "
                    "no capacity"
                )
            rate = step.until_current_mA / capacity
            step = step.model_copy(update={"until_rate_C": rate})
        method.append(step)
    cycling.method = method
