"""The program that was interrupted: its rows in the record, and those only the instrument has."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from instruments.potentiostat import ImpedancePoint, PotentiostatDevice, ProgramLog, Sample
from instruments.potentiostat.contract import COLLECTED, LOOK, PLATE, STRIP
from operando.journal import journal_path
from operando.resume._record import LEADER, Experiment, ResumeError
from operando.runs import Run, Stream
from techniques import Assignment, Counters, SafetyLimits, Technique

RowWithTime = tuple[float, Sample | ImpedancePoint]
_TECHNIQUE: TypeAdapter[Technique] = TypeAdapter(Technique)


@dataclass(frozen=True)
class Rows:
    """Rows of one program, in order: of the potentiostat, and points of spectra."""

    samples: Mapping[str, NDArray[np.float64]]
    points: Mapping[str, NDArray[np.float64]]


_SAMPLE = (
    "t",
    "step_t",
    "potential",
    "current",
    "cycle",
    "half_cycle",
    "step",
    "role",
    "flags",
    "time",
)
_POINT = (
    "t",
    "spectrum",
    "cycle",
    "half_cycle",
    "step",
    "frequency",
    "z_real",
    "z_imag",
    "flags",
    "time",
)


def _columns(run: Run, name: str, prefix: str, keys: Sequence[str]) -> dict[str, Any]:
    stream: Stream | None = run.streams.get(name)
    if stream is None:
        return {key: np.empty(0) for key in keys}
    try:
        found = {key: stream.columns[f"{prefix}_{key}"] for key in keys if key != "time"}
    except KeyError as error:
        raise ResumeError(
            f"run {run.uid[:8]} was recorded by a version that did not keep {error}: where it "
            "stood cannot be told"
        ) from error
    found["time"] = stream.time[: len(found["t"])]
    return found


def all_rows(run: Run) -> Rows:
    return Rows(
        _columns(run, LEADER, LEADER, _SAMPLE),
        _columns(run, "impedance", f"{LEADER}_impedance", _POINT),
    )


def chosen(rows: Rows, choose: Callable[[Mapping[str, Any]], Any]) -> Rows:
    def part(columns: Mapping[str, Any]) -> dict[str, Any]:
        mask = choose(columns)
        return {key: values[mask] for key, values in columns.items()}

    return Rows(part(rows.samples), part(rows.points))


def _joined(parts: Sequence[Rows]) -> Rows:
    return Rows(
        {key: np.concatenate([x.samples[key] for x in parts]) for key in _SAMPLE},
        {key: np.concatenate([x.points[key] for x in parts]) for key in _POINT},
    )


def looked(columns: Mapping[str, Any]) -> Any:
    return (columns["flags"].astype(int) & LOOK) != 0


def collected(columns: Mapping[str, Any]) -> Any:
    return (columns["flags"].astype(int) & COLLECTED) != 0


@dataclass(frozen=True)
class Program:
    """The last program of an experiment that the instrument had begun.

    Attributes:
        run: Whose program it was.
        technique: What it was to do.
        begin: The counters it began with.
        rows: What the record has of it, collected rows of later runs included.
        log: What the instrument kept of it; ``None``: nothing.
        earlier: The program before it, if rows of that may be in its log only.
        damage: What is damaged in the journal of its run, unless that was before its last
            half-cycle; empty if nothing is.
        pending: Whether it was to come after the spectrum of a rule, and had not been started.
    """

    run: Run
    technique: Technique
    begin: Counters
    rows: Rows
    log: ProgramLog | None
    earlier: "Program | None" = None
    damage: str = ""
    pending: bool = False

    @property
    def own_log(self) -> str | None:
        """Return the name of its log."""
        return _log_told(self.run).get("name")


def _log_told(run: Run) -> Mapping[str, Any]:
    program = _program_of_a_rule(run)
    if program is None:
        return cast(Mapping[str, Any], run.start.get("instrument_log") or {})
    if program["then"]:
        return {"name": None, "reason": "its program had not begun"}
    return cast(Mapping[str, Any], json.loads(program["instrument_log"]))


def _program_of_a_rule(run: Run) -> dict[str, str] | None:
    """Return what the run tells of the last program that a rule started; ``None``: of none."""
    stream = run.streams.get("programs")
    if stream is None or not len(stream):
        return None
    return {
        key.removeprefix("programs_"): str(values[-1])
        for key, values in stream.columns.items()
        if key != "programs_t"
    }


def fired_rules(runs: Sequence[Run]) -> list[tuple[str, float]]:
    """Return the rules that fired in these runs, and the leader's time when they did, s."""
    found = []
    for run in runs:
        stream = run.streams.get("rules")
        if stream is not None and len(stream):
            names, times = stream.columns["rules_rule"], stream.columns["rules_t"]
            found += [(str(name), float(t_s)) for name, t_s in zip(names, times, strict=True)]
    return found


def program_of(run: Run) -> tuple[Technique | None, Counters]:
    """Return the last program of a run, and the counters from which it began.

    A run has several where a rule interrupted one for a spectrum. If the last of them is that
    spectrum, what was to come after it is what the run had come to.
    """
    program = _program_of_a_rule(run)
    if program is not None and not program["then"]:
        return (
            _TECHNIQUE.validate_json(program["technique"]),
            Counters.model_validate_json(program["begin"]),
        )
    if program is not None:
        # A spectrum is one step; whether a row of it came or not, its number is taken.
        newest = Counters.model_validate_json(program["begin"]).step + 1
        rows = all_rows(run)
        own = chosen(rows, lambda x: ~looked(x))
        if any(np.any(part["step"] > newest) for part in (own.samples, own.points)):
            raise ResumeError(
                f"run {run.uid[:8]} has rows of a program that its record does not tell of: where "
                "it stood cannot be told"
            )
        parts = [part for part in (rows.samples, rows.points) if len(part["t"])]
        t_s = max((float(part["t"].max()) for part in parts), default=0.0)
        return (
            _TECHNIQUE.validate_json(program["then"]),
            Counters.model_validate_json(program["then_begin"]).model_copy(
                update={"step": newest, "t_s": t_s}
            ),
        )
    resumed = run.start.get("resume")
    if resumed is None:
        return _TECHNIQUE.validate_python(run.start["technique"]), Counters()
    told = run.start.get("remaining_technique")
    technique = None if told is None else _TECHNIQUE.validate_python(told)
    return technique, Counters.model_validate(resumed["begin"])


def newest_counters(run: Run) -> tuple[int, int]:
    """Return cycle and half-cycle of the newest row of the potentiostat; 0 if there is none."""
    samples = all_rows(run).samples
    if not len(samples["t"]):
        return 0, 0
    return int(samples["cycle"][-1]), int(samples["half_cycle"][-1])


def limits_at_the_end(run: Run) -> SafetyLimits:
    """Return the limits within which the last program of a run ran, those of the bench included."""
    before = len(run.start.get("amendments") or ())
    made = run.amendments[before:]
    told = made[-1].limits if made else run.start["limits"]["effective"]
    return SafetyLimits.model_validate(told)


def _assigned(
    experiment: Experiment, run: Run, technique: Technique, begin: Counters, log_name: str | None
) -> Assignment:
    cell = experiment.cell
    return Assignment(
        technique=technique,
        area_cm2=cell.area_cm2,
        metal_electrode=cell.metal_electrode,
        reference=cell.reference_electrode is not None,
        limits=limits_at_the_end(run),
        begin=begin,
        instrument_log=log_name,
    )


def last_program(experiment: Experiment, device: PotentiostatDevice) -> Program | None:
    """Return the last program that was begun, with its rows and its log; ``None``: none was.

    A program of which there is neither a row nor a log that says that it never began counts as
    begun: whether it was is then for others to judge.
    """
    return _program_before(experiment, device, len(experiment.runs))


def _program_before(
    experiment: Experiment, device: PotentiostatDevice, stop: int
) -> Program | None:
    runs = experiment.runs
    for index in reversed(range(stop)):
        run = runs[index]
        if (run.start.get("resume") or {}).get("refused"):
            continue
        technique, begin = program_of(run)
        if technique is None:
            continue
        told = _log_told(run)
        assignment = _assigned(experiment, run, technique, begin, told.get("name"))
        rows = _rows_after(begin.step, runs[index:])
        log = device.read_log(assignment, told.get("meaning"))
        damage = damage_near_the_end(run, journal_path(experiment.data_dir, run.uid))
        if len(rows.samples["t"]) or len(rows.points["t"]) or (log and (log.kind or log.rows)):
            return Program(run, technique, begin, rows, log, damage=damage)
        if log is not None and log.ending != "unknown":
            continue  # it ended before its first step
        spectrum = _spectrum_before(experiment, device, index)
        earlier = spectrum or _program_before(experiment, device, index)
        pending = spectrum is not None
        return Program(run, technique, begin, rows, log, earlier, damage, pending)
    return None


def _rows_after(step: int, runs: Sequence[Run]) -> Rows:
    """Return the rows of the first run, and those collected by later ones, beyond a step.

    A look at the cell with which a run ended is of no program.
    """

    def of_it(columns: Mapping[str, Any]) -> Any:
        return columns["step"] > step

    own = chosen(all_rows(runs[0]), lambda x: of_it(x) & ~collected(x) & ~looked(x))
    later = [chosen(all_rows(x), lambda y: of_it(y) & collected(y)) for x in runs[1:]]
    return _joined([own, *later])


def _spectrum_before(
    experiment: Experiment, device: PotentiostatDevice, index: int
) -> Program | None:
    """Return the spectrum of a rule if it is the last program that a run had started."""
    run = experiment.runs[index]
    told = _program_of_a_rule(run)
    if told is None or not told["then"]:
        return None
    technique = _TECHNIQUE.validate_json(told["technique"])
    begin = Counters.model_validate_json(told["begin"])
    log = json.loads(told["instrument_log"])
    assignment = _assigned(experiment, run, technique, begin, log.get("name"))
    rows = _rows_after(begin.step, experiment.runs[index:])
    return Program(run, technique, begin, rows, device.read_log(assignment, log.get("meaning")))


def damage_near_the_end(run: Run, journal: Path) -> str:
    """Return what is damaged in a run's journal, unless it surely was before the last half-cycle.

    Where rows are missing is known by their numbers; damage that leaves no gap in them may have
    been anywhere.
    """
    told = list(run.damage)
    cut = sorted(path.name for path in journal.parent.glob(f"{journal.name}.cut*"))
    if cut:
        told.append(f"what could not be read at its end is in {', '.join(cut)}")
    stream = run.streams.get(LEADER)
    if not told or cut or stream is None:
        return "; ".join(told)
    columns = {key: stream.columns.get(f"{LEADER}_{key}") for key in ("role", "step")}
    role, step = columns["role"], columns["step"]
    if role is None or step is None or not stream.holes:
        return "; ".join(told)
    driven = np.flatnonzero(np.isin(role, (PLATE, STRIP)))
    first = int(np.searchsorted(step, step[driven[-1]])) if len(driven) else 0
    return "; ".join(told) if max(stream.holes) >= first else ""


def fresh_rows(program: Program, now_s: float) -> list[RowWithTime]:
    """Return the rows of the log that the record does not have, with estimated host times.

    A row is known by its step and the instrument's timer in it, a point of a spectrum by its step
    and its frequency. Rows that were lost on the line between rows that were not stay lost.
    """
    before = [] if program.earlier is None else fresh_rows(program.earlier, now_s)
    if program.log is None:
        return before
    samples, points = program.rows.samples, program.rows.points
    after = (0.0, -1.0)
    if len(samples["step"]):
        after = (float(samples["step"][-1]), float(samples["step_t"][-1]))
    last_spectrum = float(points["step"][-1]) if len(points["step"]) else 0.0
    known = set(points["frequency"][points["step"] == last_spectrum])
    rate = seconds_per_second(program)
    heard = last_heard(program)
    found = before
    for row in program.log.rows:
        if isinstance(row, Sample):
            wanted = (row.step, row.step_t_s) > after
        else:
            wanted = row.step > last_spectrum or (
                row.step == last_spectrum and row.frequency_hz not in known
            )
        if wanted:
            found.append((min(heard[1] + rate * (row.t_s - heard[0]), now_s), row))
    return found


def seconds_per_second(program: Program) -> float:
    """Return how many seconds of the host a second of the instrument took; 1 unless simulated."""
    heard = chosen(program.rows, lambda x: ~collected(x)).samples
    if len(heard["t"]) < 2 or heard["t"][-1] <= heard["t"][0]:
        return 1.0
    return float((heard["time"][-1] - heard["time"][0]) / (heard["t"][-1] - heard["t"][0]))


def last_heard(program: Program) -> tuple[float, float]:
    """Return (time of the instrument, time of the host) of the last row that was heard, s."""
    pairs: list[tuple[float, float]] = []
    for rows in (program.rows, all_rows(program.run)):
        # A program of which nothing was heard goes on from what was heard before it.
        heard = chosen(rows, lambda x: ~collected(x))
        pairs = pairs or [
            (float(part["t"][-1]), float(part["time"][-1]))
            for part in (heard.samples, heard.points)
            if len(part["t"])
        ]
    return max(pairs, default=(program.begin.t_s, float(program.run.start["time"])))


def with_rows(program: Program, fresh: Sequence[RowWithTime]) -> Program:
    """Return the program with the rows of its log among its rows."""
    samples = [(stamp, row) for stamp, row in fresh if isinstance(row, Sample)]
    points = [(stamp, row) for stamp, row in fresh if isinstance(row, ImpedancePoint)]
    names_of = {
        "t": "t_s",
        "step_t": "step_t_s",
        "potential": "potential_v",
        "current": "current_a",
        "frequency": "frequency_hz",
        "z_real": "z_real_ohm",
        "z_imag": "z_imag_ohm",
    }

    def columns(keys: Sequence[str], rows: Sequence[RowWithTime]) -> dict[str, Any]:
        return {
            key: np.array(
                [
                    stamp if key == "time" else float(getattr(row, names_of.get(key, key)))
                    for stamp, row in rows
                ],
                dtype=float,
            )
            for key in keys
        }

    more = Rows(columns(_SAMPLE, samples), columns(_POINT, points))
    first = program.begin.step
    more = chosen(more, lambda x: x["step"] > first)  # the others are of the program before
    return replace(program, rows=_joined([program.rows, more]))
