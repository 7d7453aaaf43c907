"""Commands that run an experiment: run, rerun, resume."""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._arguments import (
    AddCommand,
    add_bench,
    add_bench_file,
    add_decisions,
    add_replicate,
    add_run,
    decided,
)
from ._bench import bench_file, left_safe, refuse_seed_of_nothing, say_instruments, simulate
from ._run_names import resolve_run
from ._terminal import FAILED, OK, columns, complain, message_of, say

if TYPE_CHECKING:
    from operando.session import Session
    from techniques import Cell, Protocol


def declare(add: AddCommand) -> None:
    """Add the commands."""
    sub = add(
        "run",
        _run,
        "run a protocol on a cell, watched by every instrument of the bench",
        "The bench is checked before (operando check), and nothing begins where something failed. "
        "Rows are shown as they come and kept from the first one on. Ctrl-C ends the run: the "
        "cell is opened, the laser switched off, and what was measured stays.",
    )
    sub.add_argument("protocol", metavar="FILE", help="a protocol file, or a name in protocols/")
    add_bench(sub)
    sub.add_argument(
        "--set-cell", metavar="CELL", help="run on this cell instead of the protocol's own"
    )
    add_replicate(sub)
    _add_no_check(sub)

    sub = add(
        "rerun",
        _rerun,
        "run the protocol of a recorded run once more, on another sample",
        "Technique, schedule and the protocol's limits come from the record, not from today's "
        "protocol file; the new run says whose re-run it is.",
    )
    add_run(sub)
    sub.add_argument(
        "--cell", metavar="CELL", help="run on this cell instead of the recorded sample"
    )
    add_bench(sub)
    add_replicate(sub)
    _add_no_check(sub)

    sub = add(
        "resume",
        _resume,
        "go on with an experiment that was interrupted",
        "What the instrument did alone is collected from its log, the cell is looked at (open "
        "circuit potential, series resistance), and what is left runs as a new run. Where "
        "something is not certain nothing is driven, and the message says what can be decided.",
    )
    add_run(sub)
    add_bench_file(sub)
    add_decisions(sub)
    sub.set_defaults(simulate=None)

    sub = add(
        "answer",
        _answer,
        "answer the question of a run that holds after a failure",
        "A step whose failure policy says hold leaves the cell open and asks. retry goes on where "
        "it stood, skip behind the step, stop ends the experiment; the decisions of resume are for "
        "retry and skip. Without arguments the open questions are shown.",
    )
    sub.add_argument("run", metavar="RUN", nargs="?", help="any run of the experiment")
    sub.add_argument("answer", nargs="?", choices=("retry", "skip", "stop"), help="what to do")
    add_decisions(sub)


def _answer(arguments: argparse.Namespace) -> int:
    from operando.journal import chain_of
    from operando.questions import Answer, AnswerError, give_answer, questions
    from operando.settings import existing_data_dir

    folder = existing_data_dir()
    if arguments.run is None:
        for question in questions(folder):
            until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(question.until))
            say(f"{question.run[:8]}, until {until}: {question.text}")
        return OK
    decisions = decided(arguments)
    if arguments.answer is None:
        raise AnswerError(f"what is to be done with run {arguments.run}? retry, skip or stop")
    if decisions and arguments.answer == "stop":
        raise AnswerError(f"to stop needs no decisions: {', '.join(decisions)}")
    root = chain_of(folder, resolve_run(folder, arguments.run))[0]
    question = give_answer(folder, root, Answer(arguments.answer, decisions))
    say(f"Told the process {question.pid} that asked about run {question.run[:8]}.")
    return OK


def _add_no_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-check",
        action="store_true",
        help="do not check the bench before (operando check); recorded",
    )


def _run(arguments: argparse.Namespace) -> int:
    from operando.configuration import load_cell, load_protocol, protocol_path

    # All files are read before anything is started or connected.
    path = protocol_path(arguments.protocol)
    protocol = load_protocol(path)
    cell_name = arguments.set_cell or protocol.cell
    cell = load_cell(cell_name, beside=None if arguments.set_cell else path.parent)
    cell = _replicate(cell, arguments.replicate)

    def run(session: "Session") -> str:
        md = _checked(arguments, session, protocol, cell)
        return session.run_protocol(protocol, cell=cell, md=md)

    return _carry_out(arguments, protocol, cell, Path(cell_name).stem, run)


def _rerun(arguments: argparse.Namespace) -> int:
    from operando.configuration import ConfigurationError, load_cell
    from operando.rerun import recorded, rerun
    from operando.settings import existing_data_dir

    folder = existing_data_dir()
    uid = resolve_run(folder, arguments.run)
    asked = recorded(uid, folder)
    cell = asked.cell if arguments.cell is None else load_cell(arguments.cell)
    cell = _replicate(cell, arguments.replicate)
    if arguments.simulate == "" and arguments.cell is None and arguments.replay is None:
        raise ConfigurationError(
            "which simulated cell? The record tells only the label of the sample, "
            f"{cell.cell_id!r}: give --simulate CELL_PRESET (operando sim --list-cells), or --cell"
        )
    preset = "" if arguments.cell is None else Path(arguments.cell).stem

    def run(session: "Session") -> str:
        md = _checked(arguments, session, asked.protocol, cell)
        return rerun(session, uid, cell=cell, md=md)

    say(f"Running {asked.protocol.name} of run {asked.uid[:8]} again, on {cell.cell_id}.")
    return _carry_out(arguments, asked.protocol, cell, preset, run)


def _checked(
    arguments: argparse.Namespace, session: "Session", protocol: "Protocol", cell: "Cell"
) -> dict[str, Any]:
    """Check the bench before a run and return what its start document tells of that.

    Raises CheckFailedError, and nothing was begun.
    """
    from operando.checking import CheckFailedError, left_out, recorded

    if arguments.no_check:
        return {"check": left_out("--no-check")}
    report = session.check(protocol, cell)
    if not report.passed:
        raise CheckFailedError(report)
    say(report.text(only_bad=True, width=columns()))
    return {"check": recorded(report)}


def _replicate(cell: "Cell", number: int | None) -> "Cell":
    """Return the N-th cell like ``cell``, which has a label of its own; itself without a number."""
    if number is None:
        return cell
    return cell.model_copy(update={"cell_id": f"{cell.cell_id}-{number}"})


def _carry_out(
    arguments: argparse.Namespace,
    protocol: "Protocol",
    cell: "Cell",
    preset: str,
    run: "Callable[[Session], str]",
) -> int:
    """Check ``protocol``, connect the bench, ``run`` and tell what became of it."""
    from operando.configuration import check_technique

    refuse_seed_of_nothing(arguments, starts=arguments.simulate is not None)

    bench = bench_file(arguments)
    check_technique(bench, cell, protocol)

    from operando.journal import check_writable
    from operando.session import RunFailedError, Session
    from operando.settings import data_dir

    check_writable(data_dir())
    with contextlib.ExitStack() as stack:
        simulated = None
        if arguments.simulate is not None or arguments.replay is not None:
            preset = arguments.simulate or preset
            simulated = simulate(stack, bench, preset, arguments, protocol, cell)
        session = stack.enter_context(Session(bench, out=sys.stdout))
        say_instruments(session)
        try:
            uid = run(session)
        except RunFailedError as error:
            if simulated is not None and not simulated.alive:
                error.add_note(f"The simulator ended; it said: {simulated.errors() or '(nothing)'}")
            complain(f"{message_of(error)}\nIts numbers: operando report {error.uid[:8]}")
            return FAILED if session.stop_signal is None else 128 + session.stop_signal
    if session.handling:
        say(f"The cell: {session.handling}.")
    say(f"Recorded as {uid} in {session.data_dir}. Its numbers: operando report {uid[:8]}")
    from operando.search import evaluate

    evaluate(session.data_dir, uid)
    return left_safe(session)


def _resume(arguments: argparse.Namespace) -> int:
    from operando.journal import check_writable
    from operando.resume import Decisions, continue_experiment, interrupted_experiment
    from operando.session import RunFailedError, Session
    from operando.settings import existing_data_dir

    folder = existing_data_dir()
    bench = bench_file(arguments)
    decisions = Decisions(**decided(arguments))
    uid = resolve_run(folder, arguments.run)
    check_writable(folder)
    # Refused before anything is connected: connecting ends whatever runs on the instrument.
    with interrupted_experiment(folder, uid, decisions) as experiment:
        say(experiment.told)
        with Session(bench, out=sys.stdout) as session:
            say_instruments(session)
            try:
                new = session.carry_out(
                    lambda: continue_experiment(session, experiment, decisions, say)
                )
            except RunFailedError as error:
                complain(f"{message_of(error)}\nIts numbers: operando report {error.uid[:8]}")
                return FAILED if session.stop_signal is None else 128 + session.stop_signal
    if session.handling:
        say(f"The cell: {session.handling}.")
    say(
        f"Recorded as {new} in {session.data_dir}, which continues {experiment.tip.uid[:8]}. "
        f"The numbers of the experiment: operando report {new[:8]}"
    )
    return left_safe(session)
