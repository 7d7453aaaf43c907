"""What a run's numbers are against what the simulator says really happened (``sim_truth``).

Nothing here is analysis: the numbers are made before anybody looks at the truth.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from operando.acceptance.measures import Numbers
from operando.analysis import Metric
from operando.analysis.steps import GALVANOSTATIC, recorded_steps
from operando.runs import Run

Truths = Callable[[Run, Mapping[str, Metric], Path], dict[str, Numbers]]

# A soft short is found if the analysis dates it so many rows from its true begin at most.
_ROWS_OFF = 2
_CONFIDENCE = 0.95
# Host times of one frame differ by rounding.
_SAME_FRAME_S = 1e-4
# Stated uncertainties are standard; twice that is to cover 95 %.
_COVERAGE_FACTOR = 2.0


def told(truth: Path, instrument: str, event: str) -> list[dict[str, Any]]:
    """Return the lines of one kind that the simulator wrote; none if it wrote none."""
    path = truth / f"{instrument}.jsonl"
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["event"] == event]


def half_cycles(truth: Path) -> list[dict[str, Any]]:
    """Return the galvanostatic segments, each with the charge that passed in it, mAh/cm2."""
    found, before = [], {"charge_cathodic": 0.0, "charge_anodic": 0.0}
    for segment in told(truth, "potentiostat", "segment"):
        ledger = segment["ledger"]["WE"]
        passed = sum(ledger[key] - before[key] for key in before)
        before = {key: ledger[key] for key in before}
        if segment["technique"] == "cp":
            found.append(segment | {"charge_mah_cm2": passed})
    return found


def efficiency(run: Run, found: Mapping[str, Metric], truth: Path) -> dict[str, Numbers]:
    """Return the largest relative difference of a cycle's efficiency from the cell's ledger."""
    del run
    halves = half_cycles(truth)
    true_pct = [
        100 * strip["charge_mah_cm2"] / plate["charge_mah_cm2"]
        for plate, strip in zip(halves[::2], halves[1::2], strict=False)
    ]
    return {"ce_off_the_ledger": _largest(found["ce_pct"], true_pct, relative=True)}


def ledger(run: Run, found: Mapping[str, Metric], truth: Path) -> dict[str, Numbers]:
    """Return the largest charge that a ledger cannot account for, mAh/cm2."""
    del run, found
    ends = told(truth, "cell", "end")
    if not ends:
        return {"ledger_residual_mah_cm2": Numbers(None, reason="the simulator told no end")}
    residuals = [abs(ends[-1][side]["residual"]) for side in ("working", "counter")]
    return {"ledger_residual_mah_cm2": Numbers(max(residuals))}


def hydroxide(run: Run, found: Mapping[str, Metric], truth: Path) -> dict[str, Numbers]:
    """Return three times the hydroxide sulfate over the hydrogen of the whole cell."""
    del run, found
    ends, benches = told(truth, "cell", "end"), told(truth, "bench", "started")
    if not ends or not benches or not ends[-1]["hydrogen_evolved_mol"]:
        return {"zhs_per_hydrogen": Numbers(None, reason="no hydrogen evolved")}
    area = benches[-1]["area_cm2"]
    film = sum(ends[-1][side]["zhs_mol_cm2"] for side in ("working", "counter")) * area
    return {"zhs_per_hydrogen": Numbers(3 * film / ends[-1]["hydrogen_evolved_mol"])}


def hydrogen(run: Run, found: Mapping[str, Metric], truth: Path) -> dict[str, Numbers]:
    """Return the hydrogen of the last injection over what was in the headspace then."""
    del run
    metric = found["hydrogen_cumulative_umol"]
    injections = told(truth, "chromatograph", "injection")
    if not isinstance(metric.value, list) or not injections:
        return {"hydrogen_recovered": Numbers(None, reason=metric.reason or "no injection")}
    true_umol = injections[-1]["hydrogen_mol"] * 1e6
    values = [value for value in metric.value if value is not None]
    if not values or not true_umol:
        return {"hydrogen_recovered": Numbers(None, reason="no hydrogen was found")}
    u = metric.uncertainty if isinstance(metric.uncertainty, list) else []
    told_u = [one for one in u if one is not None]
    uncertainty = told_u[-1] / true_umol if told_u else None
    return {"hydrogen_recovered": Numbers(values[-1] / true_umol, uncertainty)}


def thickness(run: Run, found: Mapping[str, Metric], truth: Path) -> dict[str, Numbers]:
    """Return the largest difference of a frame's thickness from the deposit's, um."""
    shown = told(truth, "camera", "frame")
    camera = run.streams.get("camera")
    if camera is None or not shown:
        return {"thickness_off_um": Numbers(None, reason="the run has no image")}
    made_s = np.array([frame["host_time"] for frame in shown])
    # A row tells when its picture was loaded and how old that was; more were exposed than kept.
    kept_s = camera.columns["camera_host_before"] - camera.columns["camera_age"]
    nearest = np.abs(made_s[None, :] - kept_s[:, None]).argmin(axis=1)
    if float(np.max(np.abs(made_s[nearest] - kept_s))) > _SAME_FRAME_S:
        return {"thickness_off_um": Numbers(None, reason="a row belongs to no frame")}
    true_um = [float(shown[index]["thickness_um"]) for index in nearest]
    return {"thickness_off_um": _largest(found["image_thickness_um"], true_um, relative=False)}


def soft_shorts(run: Run, found: Mapping[str, Metric], truth: Path) -> dict[str, Numbers]:
    """Return the share of soft shorts found within two rows, with a 95 % interval, and false ones.

    Clopper and Pearson's interval is told in the reason.
    """
    names = ("soft_short_sensitivity", "soft_short_false")
    if "soft_short_time_h" not in found:
        return {}
    metric = found["soft_short_time_h"]
    halves = half_cycles(truth)
    shorts = [line for line in told(truth, "cell", "short") if line["kind"] == "soft"]
    if not shorts or not halves:
        return dict.fromkeys(names, Numbers(None, reason="no soft short happened"))
    columns = run.streams["potentiostat"].columns
    rows_s = float(np.median(np.diff(columns["potentiostat_t"])))
    begin_s = halves[0]["began_t_s"]
    true_s = [line["cell_t_s"] - begin_s for line in shorts]
    times = metric.value if isinstance(metric.value, list) else []
    found_s = [3600 * value for value in times if value is not None]
    near = [
        any(-rows_s <= seen - true <= _ROWS_OFF * rows_s + 1.0 for seen in found_s)
        for true in true_s
    ]
    false = [
        seen
        for seen in found_s
        if not any(-rows_s <= seen - true <= _ROWS_OFF * rows_s + 1.0 for true in true_s)
    ]
    interval = binomtest(sum(near), len(near)).proportion_ci(_CONFIDENCE)
    reason = f"{sum(near)} of {len(near)}, 95 % interval {interval.low:.2f}-{interval.high:.2f}"
    return {
        "soft_short_sensitivity": Numbers(sum(near) / len(near), reason=reason),
        "soft_short_false": Numbers(float(len(false))),
    }


def shunt(run: Run, found: Mapping[str, Metric], truth: Path) -> dict[str, Numbers]:
    """Return the resistance that was found in parallel to the cell over that of the short."""
    del run
    if "parallel_resistance_ohm" not in found:
        return {}
    metric = found["parallel_resistance_ohm"]
    shorts = told(truth, "cell", "short")
    values = metric.value if isinstance(metric.value, list) else []
    present = [(number, value) for number, value in enumerate(values) if value is not None]
    if not shorts or not present:
        return {"shunt_recovered": Numbers(None, reason=metric.reason or "no short was found")}
    number, value = present[0]
    ohm = shorts[0]["ohm"]
    u = metric.uncertainty
    told_u = u[number] if isinstance(u, list) else None
    return {"shunt_recovered": Numbers(value / ohm, None if told_u is None else told_u / ohm)}


def dummy(run: Run, found: Mapping[str, Metric], truth: Path) -> dict[str, Numbers]:
    """Return measured over true potential, current and charge of each step at a set current.

    The true potential is the true current times the dummy's resistor.
    """
    del found
    names = ("dummy_potential_ratio", "dummy_current_ratio", "dummy_true_charge_ratio")
    steps = [step for step in recorded_steps(run) if step.role == GALVANOSTATIC and len(step) > 2]
    true = [line for line in told(truth, "potentiostat", "segment") if line["technique"] == "cp"]
    made = told(truth, "cell", "made")
    if len(steps) != len(true) or not steps or not made:
        reason = f"{len(steps)} steps were recorded, and the truth has {len(true)}"
        return dict.fromkeys(names, Numbers(None, reason=reason))
    ohm = made[-1]["parameters"]["series_ohm"]
    ratios: list[tuple[float, float, float]] = []
    for step, line in zip(steps, true, strict=True):
        true_a = line["current_a"]
        potential_v, current_a = step.instrument_potential_v, step.instrument_current_a
        first_c = current_a[0] * (step.t_s[0] - step.edge_s)
        passed_c = first_c + float(np.trapezoid(current_a, step.t_s))
        true_c = true_a * (line["cell_t_s"] - line["began_t_s"])
        ratios.append(
            (
                float(np.median(potential_v)) / (true_a * ohm),
                float(np.median(current_a)) / true_a,
                passed_c / true_c,
            )
        )
    columns = zip(*ratios, strict=True)
    return {name: Numbers(list(column)) for name, column in zip(names, columns, strict=True)}


def blind(run: Run, found: Mapping[str, Metric], truth: Path) -> dict[str, Numbers]:
    """Return for what was drawn blind whether the analysis found it within twice its uncertainty.

    One of each: 1 within, 0 beyond, by cycle and by spectrum; and what it was off by, with the
    stated uncertainty.
    """
    del run
    halves = half_cycles(truth)
    plated = [half["charge_mah_cm2"] for half in halves[::2]]
    stripped = [half["charge_mah_cm2"] for half in halves[1::2]]
    pairs = zip(plated, stripped, strict=False)
    spectra = [
        line for line in told(truth, "potentiostat", "segment") if line["technique"] == "eis"
    ]
    return {
        **_covered("ce", found["ce_pct"], [100 * off / on for on, off in pairs]),
        **_covered("charge", found["plated_capacity_mah_cm2"], plated),
        **_covered(
            "series", found["series_resistance_ohm"], [line["series_ohm"] for line in spectra]
        ),
        **_covered(
            "interfacial",
            found["interfacial_resistance_ohm"],
            [line["interfacial_ohm"] for line in spectra],
        ),
        **_covered("nucleation", found["cell_eta_n_mv"], [_nucleation_mv(truth)]),
    }


def _nucleation_mv(truth: Path) -> float:
    """Return the nucleation overpotential of the cell at the current of its first plating, mV."""
    made = told(truth, "cell", "made")[-1]["parameters"]
    first = half_cycles(truth)[0]
    density = abs(first["current_a"]) * 1e3 / made["area_cm2"]
    ratio = density / made["nucleation_current_ma_cm2"]
    eta_mv = 1e3 * float(made["working"]["nucleation_overpotential_v"])
    return eta_mv * 1.1 * ratio**2 / (ratio**2 + 0.1)


def _covered(quantity: str, metric: Metric, true: list[float]) -> dict[str, Numbers]:
    """Return for each element whether it lies within twice its uncertainty, and the difference."""
    values = metric.value if isinstance(metric.value, list) else [metric.value]
    u = metric.uncertainty if isinstance(metric.uncertainty, list) else [metric.uncertainty]
    if metric.value is None or metric.uncertainty is None:
        why = metric.reason or "no uncertainty is stated"
    elif len(values) != len(true):
        why = f"{len(values)} elements, and the truth has {len(true)}"
    else:
        off = [
            None if value is None else value - one for value, one in zip(values, true, strict=True)
        ]
        within: list[float | None] = [
            None if one is None or own is None else float(abs(one) <= _COVERAGE_FACTOR * own)
            for one, own in zip(off, u, strict=True)
        ]
        return {
            f"{quantity}_covered": Numbers(within, reason=metric.reason),
            f"{quantity}_off": Numbers(off, u),
        }
    return dict.fromkeys((f"{quantity}_covered", f"{quantity}_off"), Numbers(None, reason=why))


def _largest(metric: Metric, true: list[float], *, relative: bool) -> Numbers:
    """Return the largest difference of a metric's elements from what they truly were."""
    if not isinstance(metric.value, list):
        return Numbers(None, reason=metric.reason)
    pairs = [
        (value, one) for value, one in zip(metric.value, true, strict=False) if value is not None
    ]
    if not pairs or len(metric.value) > len(true):
        return Numbers(None, reason=f"{len(metric.value)} elements, and the truth has {len(true)}")
    return Numbers(max(abs(a - b) / (abs(b) if relative else 1.0) for a, b in pairs))


TRUTHS: Mapping[str, Truths] = {
    "blind": blind,
    "dummy": dummy,
    "efficiency": efficiency,
    "hydrogen": hydrogen,
    "hydroxide": hydroxide,
    "ledger": ledger,
    "shunt": shunt,
    "soft_shorts": soft_shorts,
    "thickness": thickness,
}
