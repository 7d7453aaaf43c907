"""Every MethodSCRIPT that our driver writes: collected, to be parsed by the maker's grammar.

``python -m benchmarks.clients.scripts FOLDER`` writes one of each form to a file of FOLDER.
"""

import hashlib
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from instruments.errors import SafetyLimitError, UnsupportedTechniqueError
from instruments.potentiostat.contract import Capabilities
from instruments.potentiostat.methodscript.dialogue import OPEN_CELL
from instruments.potentiostat.methodscript.models import capabilities_of
from instruments.potentiostat.methodscript.program import compile_program
from instruments.potentiostat.methodscript.range_reach import beyond_nominal, reach_script
from instruments.potentiostat.methodscript.zero_current import currents_and_ranges, zero_script
from operando.configuration import load_bench, load_cell, load_protocol, names
from sim_devices.methodscript.language import Loader, LoadError
from techniques import (
    Assignment,
    Cell,
    Counters,
    CyclicVoltammetry,
    GalvanostaticStep,
    ImpedanceSpectrum,
    Limit,
    LinearSweep,
    OpenCircuit,
    PlateStripCycle,
    PotentiostaticStep,
    Protocol,
    Recording,
    Repeat,
    SafetyLimits,
    Sequence,
    Technique,
    UnsuitableCellError,
    reference_bound,
)

_Action = Literal["next", "stop"]
_ACTIONS: tuple[_Action, ...] = ("next", "stop")
_CABLES: tuple[tuple[Literal["WE", "CE"], bool], ...] = (("WE", False), ("CE", False), ("WE", True))
_DIGITS, _PREFIXED = re.compile(r"[0-9]+"), re.compile(r"\b0[afpnumkMGTPE]\b")
_LOG = "20260101-000000-abcdef"
DEVICES = ("es4_lr", "es4_hr", "nexus1", "espico")


def scripts() -> Iterator[tuple[str, str]]:
    """Yield what each script is for and its text; one that several ask for comes once."""
    seen = set[str]()
    for what, text in _all():
        digest = hashlib.sha256(text.encode()).hexdigest()
        if digest not in seen:
            seen.add(digest)
            yield what, text


def write(folder: Path) -> int:
    """Write a script of each form to a file of ``folder``; return how many scripts there are.

    Scripts are of one form if they differ in numbers only: a grammar takes all or none of them.
    Besides, copies of the last one that are damaged, to be refused: `damaged`.
    """
    count, last, seen = 0, "", set[str]()
    for count, (what, text) in enumerate(scripts(), 1):
        form = _PREFIXED.sub("0", _DIGITS.sub("0", text))
        if form in seen:
            continue
        seen.add(form)
        (folder / f"{count:05d} {what}.mscr").write_text(text + "\n", encoding="ascii")
        last = text
    for what, text in damaged(last).items():
        (folder / f"damaged, {what}.mscr").write_text(text + "\n", encoding="ascii")
    return count


def damaged(text: str) -> dict[str, str]:
    """Return copies of a script, each with one mistake that no instrument may let pass."""
    return {
        "a block without its end": text.replace("\nendloop\n", "\n", 1),
        "an end without its block": f"{text}\nendif",
        "a command that there is not": text.replace("\npck_start\n", "\npck_begin\n", 1),
        "a number with a point": text.replace("set_pgstat_chan 0", "set_pgstat_chan 0.5", 1),
        "a command as a name": text.replace("var p\n", "var smooth\n", 1),
        "two commands in a line": text.replace("\npck_end\n", " pck_end\n", 1),
    }


def refused(folder: Path) -> list[str]:
    """Return which scripts of ``folder`` our simulated instrument refuses, and let pass.

    What `damaged` made it has to refuse: those are told if it does not.
    """
    wrong = []
    for path in sorted(folder.iterdir()):
        loader, reason = Loader(), ""
        try:
            for line in path.read_text(encoding="ascii").splitlines():
                loader.line(line)
            loader.finish()
        except LoadError as error:
            reason = str(error)
        if bool(reason) != path.name.startswith("damaged"):
            wrong.append(f"{path.stem}: {reason or 'let pass'}")
    return wrong


def _all() -> Iterator[tuple[str, str]]:
    yield "open the cell", OPEN_CELL.decode("ascii").removeprefix("e\n").rstrip("\n")
    for device in DEVICES:
        able = capabilities_of(device)
        for what, assignment in itertools.chain(_of_protocols(), _of_techniques()):
            for kind, text in _programs(assignment, able):
                yield f"{able.model}, {what}{kind}", text


def _programs(assignment: Assignment, able: Capabilities) -> Iterator[tuple[str, str]]:
    """Yield the program and the short scripts before it; none where the instrument cannot."""
    try:
        program = compile_program(assignment, able)
    except (SafetyLimitError, UnsupportedTechniqueError):
        return
    yield "", program.text
    runs_on = currents_and_ranges(program, able)
    if runs_on:
        yield ", zero", zero_script(sorted({one.range_a for one in runs_on}), 50)
    if beyond := beyond_nominal(runs_on):
        yield ", reach", reach_script(beyond)


def _of_protocols() -> Iterator[tuple[str, Assignment]]:
    """Yield what each protocol asks of each cell that it suits, as a run asks for it."""
    bench = load_bench("bench").limits
    cells = {name: load_cell(name) for name in names("cell")}
    for protocol_name in names("protocol"):
        protocol = load_protocol(protocol_name)
        for cell_name, cell in cells.items():
            assignment = _on(protocol, cell, bench)
            if assignment is not None:
                yield f"{protocol_name} on {cell_name}", assignment


def _on(protocol: Protocol, cell: Cell, bench: SafetyLimits) -> Assignment | None:
    try:
        program = protocol.program(cell)
        limits = cell.limits.narrowed_by(protocol.limits).narrowed_by(bench)
    except (UnsuitableCellError, ValueError):
        return None
    return Assignment(
        technique=program,
        area_cm2=cell.area_cm2,
        metal_electrode=cell.metal_electrode,
        reference=cell.reference_electrode is not None,
        reference_bound=reference_bound(cell),
        limits=limits,
        instrument_log=_LOG,
    )


def _of_techniques() -> Iterator[tuple[str, Assignment]]:
    """Yield each technique with everything that changes what is written for it."""
    window = SafetyLimits(potential_min_v=-1.5, potential_max_v=1.5, current_max_a=0.002)
    for (name, technique), (metal, reference), log in itertools.product(
        _techniques().items(), _CABLES, (None, _LOG)
    ):
        for begin in (Counters(), Counters(step=7, cycle=3, half_cycle=5)):
            yield (
                f"{name}, metal {metal}{', reference' * reference}{', log' * (log is not None)}"
                f"{', begun' * (begin.step > 0)}",
                Assignment(
                    technique=technique,
                    area_cm2=0.5,
                    metal_electrode=metal,
                    reference=reference,
                    limits=window,
                    begin=begin,
                    instrument_log=log,
                ),
            )


def _techniques() -> dict[str, Technique]:
    """Return techniques by name: each kind, recorded and ended in each way."""
    records = {
        "plain": Recording(dt_s=1.0),
        "dense": Recording(dt_s=10.0, de_v=1e-3, dq_mah_cm2=0.01, edge_dt_s=0.2, edge_for_s=5.0),
    }
    return {
        f"{name}, {how}, {action}": technique
        for (how, record), action in itertools.product(records.items(), _ACTIONS)
        for name, technique in (_steps(record, action) | _programs_of(record, action)).items()
    }


def _limits(action: _Action, *told: tuple[str, float]) -> tuple[Limit, ...]:
    time = Limit(quantity="time_s", value=600.0)
    return (
        time,
        *(Limit.model_validate({"quantity": x, "value": y, "action": action}) for x, y in told),
    )


_POTENTIALS = (
    ("potential_above_v", 0.5),
    ("potential_below_v", -0.5),
    ("abs_potential_above_v", 0.7),
)
_CHARGE = ("charge_mah_cm2", 0.2)
_CURRENTS = (("abs_current_above_ma_cm2", 3.0), ("abs_current_below_ma_cm2", 0.01))


def _steps(record: Recording, action: _Action) -> dict[str, Technique]:
    held = _limits(action, _CHARGE, *_CURRENTS)
    swept = _limits(action, _CHARGE, _CURRENTS[0])[1:]
    hold = PotentiostaticStep(potential_v=0.1, until=held, record=record)
    sweep = LinearSweep(begin_v=-0.2, end_v=0.5, scan_rate_v_s=1e-3, until=swept)
    scans = CyclicVoltammetry(
        begin_v=0.0,
        vertex1_v=0.5,
        vertex2_v=-0.5,
        scan_rate_v_s=0.01,
        scans=3,
        until=swept,
    )
    from_rest = {"versus": "open_circuit"}
    step = GalvanostaticStep(
        role="plate",
        current_density_ma_cm2=1.0,
        until=_limits(action, _CHARGE, *_POTENTIALS),
        record=record,
    )
    return {
        "rest": OpenCircuit(duration_s=60.0, record=record),
        "settled rest": OpenCircuit(
            duration_s=600.0, drift_below_v_s=1e-5, drift_window_s=60.0, record=record
        ),
        "current": step,
        "current without a role": step.model_copy(update={"role": None}),
        "hold": hold,
        "hold of a half-cycle": hold.model_copy(update={"role": "plate"}),
        "hold from rest": hold.model_copy(update=from_rest),
        "sweep": sweep,
        "sweep from rest": sweep.model_copy(update=from_rest),
        "voltammogram": scans,
        "voltammogram from rest": scans.model_copy(update=from_rest),
        "one scan": scans.model_copy(update={"scans": 1, "until": ()}),
    }


def _programs_of(record: Recording, action: _Action) -> dict[str, Technique]:
    steps = _steps(record, action)
    plate = GalvanostaticStep.model_validate(steps["current"])
    ends = _limits(action, _CHARGE, _POTENTIALS[0])
    leaves = Limit(quantity="abs_potential_above_v", value=0.9, action="end_loop")
    strip = plate.model_copy(update={"role": "strip", "until": (*ends, leaves)})
    spectrum = ImpedanceSpectrum(amplitude_rms_v=0.005)
    cycle = PlateStripCycle(plate=plate, strip=strip, rest_s=10.0, cycles=5)
    return {
        "spectrum": spectrum,
        "spectrum at a bias": spectrum.model_copy(update={"potential_v": 0.2}),
        "galvanostatic spectrum": ImpedanceSpectrum(
            mode="galvanostatic", amplitude_rms_ma_cm2=0.1, frequency_max_hz=1e4
        ),
        "cycles": cycle,
        "cycles with spectra": cycle.model_copy(update={"between": spectrum}),
        "cycles with rare spectra": cycle.model_copy(
            update={"between": spectrum, "between_every": 3, "between_first": 2}
        ),
        "repeats": Repeat(times=3, step=Repeat(times=2, step=strip)),
        "a sequence": Sequence(steps=(*steps.values(), spectrum)),
    }


if __name__ == "__main__":
    print(write(Path(sys.argv[1])), "scripts")
