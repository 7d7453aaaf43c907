"""A run's numbers as text for people and as JSON for programs; and how they compare."""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from operando.harmless import one_line, printable
from operando.registry import METRICS

if TYPE_CHECKING:
    from operando.analysis import Metric
    from operando.logbook import LogNote
    from operando.runs import Run

logger = logging.getLogger(__name__)

SHOWN = 6  # elements of a list that are printed before it is shortened
REASON_WIDTH = 96
FILES_TOLD = 3  # of one instrument, one by one


def text_report(run: "Run", numbers: "Mapping[str, Metric] | None" = None) -> str:
    """Return a run's metrics as a table: name, value +- standard uncertainty, unit, reason.

    Args:
        run: The run, finished or not.
        numbers: Its metrics if they are known already.
    """
    numbers = _metrics(run) if numbers is None else numbers
    defined = {name: metric for name, metric in numbers.items() if metric.value is not None}
    undefined = {name: metric for name, metric in numbers.items() if metric.value is None}
    lines = [*_heading(run), ""]
    rows = []
    for name, metric in defined.items():
        value = value_text(metric)
        unit = "" if metric.unit == "1" else metric.unit
        by = METRICS[name].shape.removeprefix("by ")
        rows.append((name, value, unit, "" if by == "scalar" else by, metric.reason or ""))
    lines += text_table(("metric", "value", "unit", "by", "note"), rows, last_width=REASON_WIDTH)
    if undefined:
        lines += ["", "Not defined for this run:"]
        width = max(map(len, undefined))
        lines += [
            f"  {name:<{width}}  {_clipped(metric.reason or '', REASON_WIDTH)}"
            for name, metric in undefined.items()
        ]
    lines += ["", "Uncertainties are standard (k = 1)."]
    return "\n".join(printable(one_line(line)) for line in lines)


def report_json(run: "Run", numbers: "Mapping[str, Metric] | None" = None) -> dict[str, Any]:
    """Return a run as ``{uid, chain, attachments, sample, damage, ...}``.

    Further ``calibration_flags``, ``end_state``, ``amendments`` (what was asked for in which
    half-cycles; empty if nobody changed the protocol), ``notes`` (of the log book) and ``metrics``.
    Of a metric value, unit, uncertainty and reason are told, by its name; of an attachment what it
    is; of calibrations which were too old or missing (instrument, quantity, flag, told).

    Every name of the registry is there once; values are numbers, lists of numbers and null, or
    null with a reason. Nothing in it is NaN or infinite.
    """
    numbers = _metrics(run) if numbers is None else numbers
    return {
        "uid": run.uid,
        "chain": list(run.chain),
        "attachments": [
            {"uid": one.get("uid"), "time": one.get("time"), **(one.get("attachment") or {})}
            for one in run.attachments
        ],
        "sample": _sample(run),
        "damage": list(run.damage),
        "calibration_flags": _calibration_flags(run),
        "end_state": _end_state(run),
        "amendments": _amendments(run),
        "notes": [note.model_dump(exclude_none=True) for note in notes_of(run)],
        "metrics": {
            name: {
                "value": metric.value,
                "unit": metric.unit,
                "uncertainty": metric.uncertainty,
                "reason": metric.reason,
            }
            for name, metric in numbers.items()
        },
    }


def _end_state(run: "Run") -> Any:
    from operando.analysis.end_state import end_state

    return end_state(run)


def json_report(run: "Run", numbers: "Mapping[str, Metric] | None" = None) -> str:
    """Return `report_json` as strict JSON text."""
    return json.dumps(report_json(run, numbers), allow_nan=False, indent=2, ensure_ascii=False)


def _metrics(run: "Run") -> "Mapping[str, Metric]":
    from operando.analysis import (
        metrics,
    )  # who has the numbers already spares loading what makes them

    return metrics(run)


def number_text(value: float | None, uncertainty: float | None = None) -> str:
    """Return ``value +- uncertainty``, rounded to two digits of the uncertainty.

    Without an uncertainty four significant digits are given; None is a dash.
    """
    if value is None:
        return "-"
    if not uncertainty:
        return f"{value:.4g}"
    digits = _decimals(uncertainty)
    if digits < 0:
        return f"{value:.4g}±{uncertainty:.2g}"
    if digits > 6:
        return f"{value:.4g}±{uncertainty:.2g}"
    return f"{value:.{digits}f}±{uncertainty:.{digits}f}"


def _decimals(uncertainty: float) -> int:
    """Return how many decimals show two digits of an uncertainty."""
    return 1 - int(f"{uncertainty:.1e}".split("e")[1])


def value_text(metric: "Metric") -> str:
    """Return a metric's value +- standard uncertainty; of a long list its begin and its end."""
    return "  ".join(value_texts(metric))


def value_texts(metric: "Metric") -> list[str]:
    """Return what `value_text` says, one by one."""
    if not isinstance(metric.value, list):
        uncertainty = metric.uncertainty
        return [number_text(metric.value, None if isinstance(uncertainty, list) else uncertainty)]
    values = metric.value
    errors = metric.uncertainty if isinstance(metric.uncertainty, list) else [None] * len(values)
    told = [number_text(value, error) for value, error in zip(values, errors, strict=True)]
    if len(told) > SHOWN:
        told = [*told[:3], "...", *told[-2:], f"({len(values)})"]
    return told


def _heading(run: "Run") -> list[str]:
    start, stop = run.start, run.stop
    status = "still open" if stop is None else str(stop.get("exit_status"))
    if stop is not None and stop.get("reason"):
        status += f" ({stop['reason']})"
    from operando.runs import told_protocols

    lines = [f"Run {run.uid}: {told_protocols(run.asked)}, {status}"]
    sample = start.get("sample")
    if isinstance(sample, Mapping):
        working = (sample.get("working_electrode") or {}).get("material")
        counter = (sample.get("counter_electrode") or {}).get("material")
        electrode = sample.get("metal_electrode", "WE")
        lines.append(
            f"Cell {sample.get('cell_id')}: {working} || {counter}, {sample.get('metal')} plated "
            f"on the {'working' if electrode == 'WE' else 'counter'} electrode"
        )
    lines += told_end(run)
    lines += [f"DAMAGED: {sentence}" for sentence in run.damage]
    lines += told_origin(start.get("provenance"))
    lines += told_chain(run)
    lines += told_changes(run)
    lines += told_attachments(run)
    lines += told_calibrations(run)
    lines += told_notes(run)
    rows = ", ".join(f"{name} {len(stream)}" for name, stream in run.streams.items())
    lines.append(f"Rows: {rows or 'none'}")
    return lines


def told_end(run: "Run") -> list[str]:
    """Return lines that say how a run that is over left its cell, and how to handle it."""
    from operando.analysis.end_state import end_state

    state = end_state(run)
    if state is None:
        return []
    parts = [f"cell {state['cell']}"]
    if state["laser"] is not None:
        parts.append(f"laser {state['laser']}")
    parts += [
        f"{name} {amount:.3g} mAh/cm2 of metal at most"
        for name, amount in state["metal_mah_cm2"].items()
        if amount is not None
    ]
    if state["open_circuit_v"] is not None:
        parts.append(f"{state['open_circuit_v']:.4g} V at open circuit")
    if state["driven_v"] is not None:
        driven = f"last {state['driven_v']:.4g} V at {state['driven_a'] * 1e3:.4g} mA"
        ohm = state["resistance_ohm"]
        parts.append(driven if ohm is None else f"{driven}, {ohm:.3g} ohm")
    shorted = {True: "shorted", False: "not shorted", None: "nothing judged whether it is shorted"}
    parts.append(shorted[state["shorted"]])
    if state["temperature_k"] is not None:
        parts.append(f"{state['temperature_k']:.1f} K ({state['temperature_by']})")
    if state["overpressure_kpa"] is not None:
        kpa, by = state["overpressure_kpa"], state["overpressure_by"]
        parts.append(f"{kpa * 1e-2:.2g} bar above the atmosphere ({by})")
    return [f"Left: {', '.join(parts)}", f"Handling: {state['handling']}"]


def told_changes(run: "Run") -> list[str]:
    """Return lines that say which protocols a run came under while it ran; none if none."""
    return [f"Amended: {one.told}" for one in run.asked[1:]]


def _amendments(run: "Run") -> list[dict[str, Any]]:
    asked = run.asked
    return [one.as_data() for one in asked] if len(asked) > 1 else []


def told_origin(provenance: Any) -> list[str]:
    """Return lines that say whose run is repeated, and that a cell was a recorded one.

    Such numbers are not new.
    """
    if not isinstance(provenance, Mapping):
        return []
    lines, kind = [], provenance.get("kind")
    if kind == "rerun":
        lines.append(f"A re-run of {str(provenance.get('of'))[:8]}")
    recorded = provenance.get("of" if kind == "replayed_cell" else "replayed_cell")
    if recorded:
        lines.append(f"On the recorded cell of {recorded}, simulated; not on a sample")
    return lines


def _step_name(step: Mapping[str, Any]) -> str:
    return str(step.get("role") or step.get("type")).replace("_", " ")


def _told_recovery(start: Mapping[str, Any]) -> list[str]:
    """Return lines that say what a failure policy did before a run; none if none did anything."""
    told = start.get("recovery")
    if not isinstance(told, Mapping):
        return []
    lines = [f"  {str(told['failed_run'])[:8]} failed in {told['step']}: {told['failure']}"]
    happened = [(one["begun"], _told_attempt(one)) for one in told["attempts"]]
    happened += [(one["asked"], _told_question(one)) for one in told.get("asked", ())]
    # By their time alone: texts say nothing of order.
    for when, what in sorted(happened, key=lambda one: float(one[0])):
        stamp = datetime.fromtimestamp(when).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        lines.append(f"    {stamp} {what}")
    refused = (start.get("resume") or {}).get("refused")
    if refused:
        lines.append(f"    Nothing went on: {refused}")
    return lines


def _told_attempt(one: Mapping[str, Any]) -> str:
    what = {"retry": "tried to go on", "skip": "left the step out"}[one["do"]]
    if "number" in one:
        what += f", attempt {one['number']}, {one['waited_s']:g} s after the failure before"
    who = one.get("identified") or {}
    if who:
        names = (who.get("model"), who.get("serial_number"))
        what += f"; {' '.join(str(name) for name in names if name)} answered"
    return f"{what}: {one['failure']}" if one.get("failure") else what


def _told_question(one: Mapping[str, Any]) -> str:
    if one.get("answer") is None:
        return "asked, and nobody answered"
    return f"asked; {one['by']} said {one['answer']}"


def told_calibrations(run: "Run") -> list[str]:
    """Return lines that say which calibrations of the run's bench were too old, or missing."""
    flags = _calibration_flags(run)
    lines = dict.fromkeys(
        f"EXPIRED: {flag.get('told')}" for flag in flags if flag.get("flag") == "expired"
    )
    missing = dict.fromkeys(
        f"{flag.get('instrument')} ({str(flag.get('quantity')).replace('_', ' ')})"
        for flag in flags
        if flag.get("flag") == "missing"
    )
    without = [f"Without a dated calibration: {', '.join(missing)}"] if missing else []
    return [*lines, *without]


def _calibration_flags(run: "Run") -> list[dict[str, Any]]:
    """Return what each run of an experiment told of its calibrations, each once."""
    flags = (
        dict(flag)
        for start in run.members or (run.start,)
        for flag in start.get("calibration_flags") or ()
        if isinstance(flag, Mapping)
    )
    return list({json.dumps(flag, sort_keys=True): flag for flag in flags}.values())


def told_chain(run: "Run") -> list[str]:
    """Return lines that say which runs an experiment is made of and how they follow each other."""
    if len(run.members) < 2:
        return []
    names = ", ".join(uid[:8] for uid in run.chain)
    lines = [f"An experiment of {len(run.members)} runs: {names}"]
    for member in run.members[1:]:
        told = member.get("resume") or {}
        lines += _told_recovery(member)
        if "t_offset_s" not in told and told.get("refused"):
            continue  # nothing was looked at, let alone gone on with
        parts = [f"{str(member.get('uid'))[:8]} goes on"]
        if told.get("cycle") is not None:
            parts.append(f"at cycle {told['cycle']}, half-cycle {told.get('half_cycle')}")
        if told.get("t_offset_s") is not None:
            parts.append(f"from {told['t_offset_s']:.0f} s")
        if told.get("gap_s") is not None:
            parts.append(f"after {told['gap_s']:.0f} s without rows")
        line = " ".join(parts)
        if told.get("collected_rows"):
            line += f"; {told['collected_rows']} rows collected from the instrument's own log"
        if "unpowered_s" in told:
            unpowered = told["unpowered_s"]
            if unpowered is None:
                line += "; how long the instrument was without power is not known"
            elif unpowered:
                line += f"; up to {unpowered:.0f} s without power"
        if told.get("decisions"):
            line += f"; decided by the operator: {', '.join(told['decisions'])}"
        if "skipped" in told:
            line += f"; left out: {_step_name(told['skipped'])}"
        lines.append(f"  {line}")
    return [*lines, *(f"  Note: {note}" for note in run.notes if note not in run.damage)]


def notes_of(run: "Run") -> "list[LogNote]":
    """Return what the log book of its data folder has of a run, or of its cell in its time."""
    from operando.logbook import NoteError, notes_of_run

    if run.folder is None or not run.start:
        return []
    cell_id = _cell_id(run)
    ended = None if run.stop is None else float(run.stop["time"])
    try:
        return notes_of_run(run.folder, run.chain, cell_id, float(run.start["time"]), ended)
    except NoteError as error:
        logger.warning("%s", error)
        return []


def _cell_id(run: "Run") -> str | None:
    sample = run.start.get("sample")
    return str(sample["cell_id"]) if isinstance(sample, Mapping) and "cell_id" in sample else None


def told_notes(run: "Run") -> list[str]:
    """Return lines with what was noted in the log book while a run, or its cell, was measured."""
    return [f"Noted: {note.line}" for note in notes_of(run)]


def told_attachments(run: "Run") -> list[str]:
    """Return lines that say what arrived late, from which file, and when.

    Of an instrument that wrote many files there is one line.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in run.attachments:
        told = one.get("attachment") or {}
        group = str(told.get("kind", "?")), str(told.get("instrument") or "")
        groups.setdefault(group, []).append(one)
    lines = []
    for (kind, instrument), found in groups.items():
        if len(found) <= FILES_TOLD:
            lines += [_told_attachment(one) for one in found]
            continue
        names = sorted(_file_of(one) for one in found)
        line = f"Attached until {_when(found[-1])}: {len(found)} {kind}, {names[0]} to {names[-1]}"
        line += f" of {instrument}" if instrument else ""
        lines.append(line + _told_clock(found[-1].get("attachment") or {}))
    return lines


def _told_attachment(one: Mapping[str, Any]) -> str:
    told = one.get("attachment") or {}
    verb = "Withdrawn" if told.get("withdrawn") else "Attached"
    line = f"{verb} {_when(one)}: {told.get('kind', '?')} from {_file_of(one)}"
    if told.get("instrument"):
        line += f" of {told['instrument']}"
    line += _told_clock(told)
    if told.get("supersedes"):
        line += f", in place of {told['supersedes'][:8]}"
    return f"{line} ({str(one.get('uid'))[:8]})"


def _told_clock(told: Mapping[str, Any]) -> str:
    offset = told.get("clock_offset_s")
    return f", its clock {offset:+g} s" if offset else ""


def _file_of(one: Mapping[str, Any]) -> str:
    return str(((one.get("attachment") or {}).get("source") or {}).get("name", "?"))


def _when(one: Mapping[str, Any]) -> str:
    return datetime.fromtimestamp(float(one.get("time", 0)), UTC).isoformat(timespec="seconds")


def _sample(run: "Run") -> Any:
    sample = run.start.get("sample")
    if isinstance(sample, Mapping):
        return sample.get("cell_id")
    return sample


def _clipped(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def text_table(
    heading: Sequence[str], rows: Sequence[Sequence[str]], last_width: int | None = None
) -> list[str]:
    """Return lines of columns as wide as their widest entry."""
    if last_width is not None:
        rows = [(*row[:-1], _clipped(row[-1], last_width)) for row in rows]
    columns = list(zip(heading, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(f"{c:<{w}}" for c, w in zip(cells, widths, strict=True)).rstrip()

    return [line(heading), "  ".join("-" * width for width in widths).rstrip(), *map(line, rows)]
