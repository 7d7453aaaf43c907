"""Checks of the instruments themselves: gas chromatograph and potentiostat."""

from collections.abc import Mapping, Sequence
from typing import Any

from bluesky.utils import MsgGenerator

from instruments.gas_chromatograph.device import GasChromatographDevice
from instruments.potentiostat.device import PotentiostatDevice
from plans.synchronised import operando_plating_stripping
from techniques import (
    Cell,
    DummyCellRanges,
    GasCheck,
    OpenCircuit,
    Protocol,
    Recording,
    Schedule,
)

# At this share of a range its gain shows, and nothing overloads.
_SHARE_OF_RANGE = 0.6


def gas_blank(
    potentiostat: PotentiostatDevice,
    gas_chromatograph: GasChromatographDevice,
    *,
    cell: Cell | Mapping[str, Any],
    injections: int = 3,
    interval_s: float = 300.0,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator:
    """Inject a gas in which nothing should be found, as one run.

    The potentiostat measures the open circuit potential meanwhile, for the sake of its clock; its
    cell may be anything. Hydrogen that is found is the blank of the numbers to come.

    Args:
        potentiostat: Leads.
        gas_chromatograph: Injects.
        cell: What the potentiostat hangs on.
        injections: How many.
        interval_s: Time from one to the next, s of the leader's clock.
        md: More metadata for the start document.
    """
    check = GasCheck(kind="blank")
    plan = _injections(potentiostat, gas_chromatograph, cell, injections, interval_s, check, md)
    return (yield from plan)


def calibration_gas(
    potentiostat: PotentiostatDevice,
    gas_chromatograph: GasChromatographDevice,
    *,
    cell: Cell | Mapping[str, Any],
    mole_fractions: Mapping[str, float],
    injections: int = 3,
    interval_s: float = 300.0,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator:
    """Inject a gas of known composition, as one run; otherwise as ``gas_blank``.

    Args:
        potentiostat: Leads.
        gas_chromatograph: Injects.
        cell: What the potentiostat hangs on.
        mole_fractions: Formula to mole fraction, e.g. ``{"H2": 1e-3}``.
        injections: How many.
        interval_s: Time from one to the next, s of the leader's clock.
        md: More metadata for the start document.
    """
    check = GasCheck(kind="calibration", mole_fractions=dict(mole_fractions))
    plan = _injections(potentiostat, gas_chromatograph, cell, injections, interval_s, check, md)
    return (yield from plan)


def leak_test(
    potentiostat: PotentiostatDevice,
    gas_chromatograph: GasChromatographDevice,
    *,
    cell: Cell | Mapping[str, Any],
    injections: int = 5,
    interval_s: float = 900.0,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator:
    """Inject from a closed headspace again and again: oxygen and nitrogen must not rise.

    The cell stays at open circuit. Arguments as of ``gas_blank``.
    """
    check = GasCheck(kind="leak_test")
    plan = _injections(potentiostat, gas_chromatograph, cell, injections, interval_s, check, md)
    return (yield from plan)


def dummy_cell_run(
    potentiostat: PotentiostatDevice,
    *,
    cell: Cell | Mapping[str, Any],
    resistance_ohm: float,
    currents_a: Sequence[float] | None = None,
    step_s: float = 20.0,
    spectrum: bool = True,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator:
    """Pass one current per range of the instrument through a dummy cell, and take its spectrum.

    Args:
        potentiostat: The instrument to be checked.
        cell: The dummy cell.
        resistance_ohm: Its resistance at zero frequency, ohm.
        currents_a: Magnitudes, A; by default 60 % of each range that bench and cell allow.
        step_s: How long each direction of each current flows, s.
        spectrum: Whether a spectrum, 100 kHz to 0.1 Hz, is measured at the end.
        md: More metadata for the start document.

    Raises:
        ValueError: No range of the instrument fits within the limits.
    """
    cell = Cell.model_validate(cell)
    if currents_a is None:
        currents_a = _one_per_range(potentiostat, cell, resistance_ohm)
    experiment = DummyCellRanges(currents_a=tuple(currents_a), step_s=step_s)
    if not spectrum:
        experiment = experiment.model_copy(update={"spectrum": None})
    protocol = Protocol(name="dummy cell", cell=cell.cell_id, technique=experiment)
    told = {"plan_name": "dummy_cell_run", "resistance_ohm": resistance_ohm, **(md or {})}
    return (
        yield from operando_plating_stripping(potentiostat, protocol=protocol, cell=cell, md=told)
    )


def _one_per_range(
    potentiostat: PotentiostatDevice, cell: Cell, resistance_ohm: float
) -> tuple[float, ...]:
    """Return 60 % of each range that keeps to the limits of current and potential, A."""
    limits = cell.limits.narrowed_by(potentiostat.limits)
    able = potentiostat.capabilities
    bounds = [able.potential_max_v, -able.potential_min_v]
    bounds += [abs(x) for x in (limits.potential_min_v, limits.potential_max_v) if x is not None]
    most_a = min(limits.current_max_a or able.current_max_a, able.current_max_a)
    most_a = min(most_a, 0.9 * min(bounds) / resistance_ohm)
    wanted = [_SHARE_OF_RANGE * nominal for nominal in able.current_ranges_a]
    found = tuple(current for current in wanted if current <= most_a)
    if not found:
        raise ValueError(
            f"{potentiostat.name}: {resistance_ohm:g} ohm allow {most_a:.3g} A at most within the "
            f"limits, less than {_SHARE_OF_RANGE:.0%} of the smallest range: take a smaller "
            "resistor, or give currents_a"
        )
    return found


def _injections(
    potentiostat: PotentiostatDevice,
    gas_chromatograph: GasChromatographDevice,
    cell: Cell | Mapping[str, Any],
    injections: int,
    interval_s: float,
    check: GasCheck,
    md: Mapping[str, Any] | None,
) -> MsgGenerator:
    if injections < 1:
        raise ValueError(f"injections must be 1 at least, got {injections}")
    name = {"blank": "gas_blank", "calibration": "calibration_gas", "leak_test": "leak_test"}
    rows = Recording(dt_s=min(5.0, interval_s / 20))
    # The first one comes with the first row, the last one after so many intervals.
    lasts_s = (injections - 0.5) * interval_s
    protocol = Protocol(
        name=name[check.kind].replace("_", " "),
        cell=Cell.model_validate(cell).cell_id,
        technique=OpenCircuit(duration_s=lasts_s, record=rows),
        every=Schedule(image_s=None, spectrum_s=None, injection_s=interval_s),
        gas_check=check,
    )
    plan = operando_plating_stripping(
        potentiostat,
        gas_chromatograph=gas_chromatograph,
        protocol=protocol,
        cell=cell,
        md={"plan_name": name[check.kind], **(md or {})},
    )
    return (yield from plan)
