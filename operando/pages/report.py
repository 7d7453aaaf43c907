"""The page of one run."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from operando import __version__
from operando.analysis import Metric
from operando.pages._writing import (
    duration,
    glance,
    picture,
    sections,
    undefined,
    utc,
    written,
)
from operando.plots import EvaluatedRun, drawn_sheets
from operando.registry import ANALYSIS_VERSION
from operando.report import (
    told_calibrations,
    told_chain,
    told_changes,
    told_end,
    told_notes,
    told_origin,
)
from operando.runs import Run, told_protocols

_LONGEST_PROGRAM = 400  # lines

_CELL = (
    ("batch", "Batch", ""),
    ("separator", "Separator", ""),
    ("reference_electrode", "Reference electrode", ""),
    ("pressure_kpa", "Stack pressure", "kPa"),
    ("atmosphere", "Atmosphere", ""),
    ("headspace_ml", "Closed headspace", "mL"),
    ("formation_cycles", "Formation cycles", ""),
    ("dummy", "Dummy cell", ""),
    ("assembled_at", "Assembled", ""),
    ("notes", "Notes", ""),
)
_ELECTRODE = (
    ("coating", "coating {}"),
    ("area_cm2", "{} cm²"),
    ("thickness_um", "{} µm"),
    ("mass_mg", "{} mg"),
    ("predeposited_mah_cm2", "{} mAh/cm² deposited before"),
    ("active_mass_mg", "{} mg active"),
    ("specific_capacity_mah_g", "{} mAh/g"),
)


def report_page(
    run: Run, numbers: Mapping[str, Metric] | None = None, *, made_at: datetime | None = None
) -> str:
    """Return a run as one page of HTML: what it was, its metrics, its figures, where all is from.

    Args:
        run: The run, finished or not.
        numbers: Its metrics if they are known already.
        made_at: What the page says of when it was made; by default now.
    """
    one = EvaluatedRun(run, numbers)
    pictures, absent = [], []
    for drawn in drawn_sheets(one):
        if drawn.figure is None:
            absent.append((drawn.sheet.title, drawn.reason))
        else:
            pictures.append(picture(drawn))
    start, stop = run.start, run.stop
    return written(
        "report.html",
        title=sample_title(run),
        subtitle=f"{told_protocols(run.asked) or 'run'} · {run.uid[:8]}",
        status="still open" if stop is None else str(stop.get("exit_status")),
        reason="" if stop is None else str(stop.get("reason") or ""),
        succeeded=stop is not None and stop.get("exit_status") == "success",
        damage=run.damage,
        history=[
            *told_origin(start.get("provenance")),
            *(line.strip() for line in told_chain(run)),
            *told_changes(run),
            *told_calibrations(run),
            *told_notes(run),
        ],
        facts=list(_facts(one)),
        sample=list(_sample(start.get("sample"))),
        instruments=list(_instruments(run)),
        glance=list(glance(one.numbers)),
        sections=sections(one.numbers),
        undefined=undefined(one.numbers),
        pictures=pictures,
        absent=absent,
        program=_programs(run),
        provenance=list(_provenance(run, made_at or datetime.now(UTC))),
    )


def sample_title(run: Run) -> str:
    """Return what was measured: the cell's label and its two electrodes."""
    sample = run.start.get("sample")
    if not isinstance(sample, Mapping):
        return f"Run {run.uid[:8]}"
    working = (sample.get("working_electrode") or {}).get("material", "?")
    counter = (sample.get("counter_electrode") or {}).get("material", "?")
    return f"{sample.get('cell_id')}: {working} || {counter}"


def _facts(one: EvaluatedRun) -> Iterator[tuple[str, str]]:
    run = one.run
    start, stop = run.start, run.stop
    yield "Protocol", told_protocols(run.asked) or "-"
    yield "Begun", utc(start.get("time"))
    yield "Ended", "still open" if stop is None else utc(stop.get("time"))
    if one.leader is not None:
        t_s = one.leader.columns["potentiostat_t"]
        yield "Time of the program", duration(float(np.nanmax(t_s, initial=0.0)))
    if one.spans:
        cycles = max(span.cycle for span in one.spans)
        currents = [span.current_a for span in one.spans]
        text = f"{len(one.spans)} half-cycles, {cycles} cycle{'s' if cycles != 1 else ''}"
        if one.cell is not None:
            densities = sorted({f"{1e3 * c / one.cell.area_cm2:.3g}" for c in currents}, key=float)
            shown = [*densities[:4], "..."] if len(densities) > 4 else densities
            text += f" at {', '.join(shown)} mA/cm²"
        yield "Cycling", text
    rows = ", ".join(f"{name} {len(stream)}" for name, stream in run.streams.items())
    yield "Rows", rows or "none"
    for line in told_end(run):
        what, _, told = line.partition(": ")
        yield what, told


def _sample(told: object) -> Iterator[tuple[str, str]]:
    if not isinstance(told, Mapping):
        yield "Sample", "the start document describes no cell" if told is None else str(told)
        return
    yield "Cell", str(told.get("cell_id"))
    metal = told.get("metal_electrode", "WE")
    for key, name, which in (
        ("working_electrode", "Working electrode", "WE"),
        ("counter_electrode", "Counter electrode", "CE"),
    ):
        electrode = told.get(key)
        if isinstance(electrode, Mapping):
            parts = [str(electrode.get("material", "?"))]
            parts += [
                form.format(_plainly(electrode[part]))
                for part, form in _ELECTRODE
                if electrode.get(part) is not None
            ]
            if which == metal:
                parts.append(f"{told.get('metal')} is plated and stripped here")
            yield name, ", ".join(parts)
    electrolyte = told.get("electrolyte")
    if isinstance(electrolyte, Mapping):
        volume = electrolyte.get("volume_ul")
        told_volume = f", {_plainly(volume)} µL" if volume is not None else ", volume not recorded"
        yield "Electrolyte", f"{electrolyte.get('composition')}{told_volume}"
    if told.get("deaerated"):
        yield "Oxygen", "removed from the electrolyte"
    for key, name, unit in _CELL:
        value = told.get(key)
        if value not in (None, 0):
            yield name, f"{_plainly(value)} {unit}".strip()


def _plainly(value: object) -> str:
    """Return a number without zeros that say nothing, anything else as it is."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _instruments(run: Run) -> Iterator[Mapping[str, str]]:
    bench = run.start.get("bench")
    instruments = bench.get("instruments") if isinstance(bench, Mapping) else None
    for name, told in (instruments or {}).items():
        if not isinstance(told, Mapping):
            continue
        identity = told.get("identity") or {}
        verified = told.get("verified_on")
        yield {
            "name": str(name),
            "model": str(identity.get("model", "-")),
            "serial": str(
                identity.get("serial_number") or identity.get("board_serial_number", "-")
            ),
            "firmware": str(identity.get("firmware") or identity.get("sdk_version") or "-"),
            "address": str(identity.get("address") or identity.get("board_address") or "-"),
            "verified": "not on hardware" if verified is None else str(verified),
        }


def _programs(run: Run) -> str:
    """Return what was asked for, all of it one after the other where that was changed."""
    asked = run.asked
    if len(asked) == 1:
        return _program(asked[0].written)
    return "\n".join(f"# {one.told}\n{_program(one.written)}" for one in asked)


def _program(technique: Any) -> str:
    """Return a technique as it would stand in a protocol file, without what is not set."""
    import yaml

    if not technique:
        return ""
    text: str = yaml.safe_dump(_plain(technique), sort_keys=False, allow_unicode=True, width=100)
    lines = text.splitlines()
    if len(lines) > _LONGEST_PROGRAM:
        left = len(lines) - _LONGEST_PROGRAM
        lines = [*lines[:_LONGEST_PROGRAM], f"... and {left} lines more, in the record"]
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items() if one not in (None, [], ())}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _provenance(run: Run, made_at: datetime) -> Iterator[tuple[str, str]]:
    start = run.start
    yield "Run", run.uid or "-"
    if len(run.chain) > 1:
        yield "Runs of the experiment", ", ".join(run.chain)
    yield (
        "Recorded with",
        f"operando {start.get('operando_version', '-')}, "
        + ", ".join(f"{name} {version}" for name, version in (start.get("versions") or {}).items()),
    )
    yield "Evaluated with", f"operando {__version__}, analysis version {ANALYSIS_VERSION}"
    yield "Sign convention", str(start.get("sign_convention", "not recorded"))
    for name in ("operator", "project"):
        if start.get(name):
            yield name.capitalize(), str(start[name])
    if run.files:
        yield "Files of frames, spectra and traces", str(len(run.files))
    yield "Page made", made_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
