"""The command ``operando``.

Importing this module is fast: what a command needs is imported when it runs.
"""

import argparse
import contextlib
import dataclasses
import functools
import importlib
import json
import logging
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from instruments.bench_file import BenchFile
    from operando.analysis import Metric
    from operando.catalog import CatalogStatus
    from operando.export import Author
    from operando.runs import Run
    from operando.session import Session
    from operando.simulation import SimulatedBench
    from techniques import Cell, Protocol

OK, FAILED, REFUSED = 0, 1, 2
INTERRUPTED = 128 + signal.SIGINT
DEFAULT_BENCH = "sim"
SHOWN_RUNS = 50
DEFAULT_CELL = "zn-bare-half"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status.

    0: done. 1: a run began and failed (its data are kept), a comparison did not hold, or the
    numbers that were shown are those of a damaged record.
    2: refused or impossible; one message on standard error says why. 128 + N: stopped by signal N
    (130: Ctrl-C), after everything was made safe. With ``OPERANDO_DEBUG=1`` errors show where they
    were raised.
    """
    arguments = command_line().parse_args(argv)
    debug = os.environ.get("OPERANDO_DEBUG") == "1"
    logging.basicConfig(format="operando: %(levelname)s: %(message)s", level=logging.WARNING)
    if not debug:
        # It logs the traceback of what we are about to tell in one sentence.
        logging.getLogger("bluesky").setLevel(logging.CRITICAL)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        with _terminable():
            return command(arguments)
    except KeyboardInterrupt:
        _complain("stopped by Ctrl-C")
        return INTERRUPTED
    except _TerminatedError as error:
        _complain(f"stopped by {error}")
        return 128 + error.number
    except BrokenPipeError:
        # Nobody reads any more (operando runs | head). Keep the interpreter's own flush quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        if debug:
            traceback.print_exc()
        else:
            _complain(_told_by_system(error))
        return REFUSED
    except Exception as error:
        if not isinstance(error, _expected()):
            raise
        if debug:
            traceback.print_exc()
        else:
            _complain(_told(error))
        return REFUSED


class _TerminatedError(BaseException):
    """A signal asks us to go; like KeyboardInterrupt it must pass every ``except Exception``."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Unwind on SIGTERM and SIGHUP, so that every ``with`` makes its instruments safe."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise _TerminatedError(number)

    def ask_again(swallowed: "sys.UnraisableHookArgs") -> None:
        # Raised inside a finalizer or a weak reference's callback, where nothing can pass it on.
        if not isinstance(swallowed.exc_value, _TerminatedError | KeyboardInterrupt):
            tell(swallowed)
            return
        number = getattr(swallowed.exc_value, "number", signal.SIGINT)
        threading.Timer(0.05, os.kill, (os.getpid(), number)).start()

    tell = sys.unraisablehook
    sys.unraisablehook = ask_again
    before: dict[int, Any] = {}
    # Signals reach the main thread only; elsewhere they are somebody else's business.
    if threading.current_thread() is threading.main_thread():
        for asked in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(asked) is not signal.SIG_IGN:  # ignored: by nohup, for example
                before[asked] = signal.signal(asked, terminate)
    try:
        yield
    finally:
        sys.unraisablehook = tell
        for number, handler in before.items():
            signal.signal(number, handler)


def _expected() -> tuple[type[Exception], ...]:
    """Return the errors that tell a user all there is to tell."""
    from instruments.errors import InstrumentError
    from operando.catalog import CatalogError
    from operando.configuration import ConfigurationError
    from operando.export import ExportError
    from operando.history import HistoryError
    from operando.journal import JournalError
    from operando.rerun import RerunError
    from operando.search import SearchError
    from operando.settings import NoDataFolderError
    from operando.simulation import SimulationError

    expected: list[type[Exception]] = [
        InstrumentError,
        CatalogError,
        ConfigurationError,
        ExportError,
        HistoryError,
        JournalError,
        NoDataFolderError,
        RerunError,
        SearchError,
        SimulationError,
        _NoSuchRunError,
    ]
    # It is slow to import, and can only have come from where it has been.
    resuming = sys.modules.get("operando.resume")
    if resuming is not None:
        expected.append(resuming.ResumeError)
    return tuple(expected)


class _NoSuchRunError(Exception):
    """No run, or more than one, is meant by what was typed."""


def _told(error: BaseException) -> str:
    notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
    return f"{error}{notes}"


def _told_by_system(error: OSError) -> str:
    from operando.journal import told
    from operando.settings import data_dir

    if not error.filename:  # a message of our own, or nothing that has a path
        return f"{error} (OPERANDO_DEBUG=1 shows where this was raised)"
    path = Path(os.fsdecode(error.filename))
    in_record = data_dir() in (path, *path.parents)
    return told(error, path) + (", or point OPERANDO_DATA at another folder" * in_record)


def _say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _complain(text: str) -> None:
    sys.stderr.write(f"operando: {text}\n")
    sys.stderr.flush()


# -- the command line


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command ``operando``; the reference is made from it."""
    parser = argparse.ArgumentParser(
        prog="operando",
        description="Plate and strip metal anodes while camera, Raman spectrometer and gas "
        "chromatograph watch. Data go to $OPERANDO_DATA, by default ./data.",
        epilog="A first experiment without hardware: operando run zinc-operando --simulate",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str, command: Callable[[argparse.Namespace], int], help: str, more: str = ""
    ) -> argparse.ArgumentParser:
        description = f"{help[0].upper()}{help[1:]}. {more}".strip()
        sub = commands.add_parser(name, help=help, description=description)
        sub.set_defaults(command=command)
        return sub

    sub = add(
        "run",
        _run,
        "run a protocol on a cell, watched by every instrument of the bench",
        "Rows are shown as they come and kept from the first one on. Ctrl-C ends the run: the "
        "cell is opened, the laser switched off, and what was measured stays.",
    )
    sub.add_argument("protocol", metavar="FILE", help="a protocol file, or a name in protocols/")
    _add_bench(sub)
    sub.add_argument(
        "--set-cell", metavar="CELL", help="run on this cell instead of the protocol's own"
    )

    sub = add(
        "rerun",
        _rerun,
        "run the protocol of a recorded run once more, on another sample",
        "Technique, schedule and the protocol's limits come from the record, not from today's "
        "protocol file; the new run says whose re-run it is.",
    )
    _add_run(sub)
    sub.add_argument(
        "--cell", metavar="CELL", help="run on this cell instead of the recorded sample"
    )
    _add_bench(sub)

    sub = add(
        "resume",
        _resume,
        "go on with an experiment that was interrupted",
        "What the instrument did alone is collected from its log, the cell is looked at (open "
        "circuit potential, series resistance), and what is left runs as a new run. Where "
        "something is not certain nothing is driven, and the message says what can be decided.",
    )
    _add_run(sub)
    _add_bench_file(sub)
    sub.add_argument(
        "--accept-check",
        action="store_true",
        help="go on although the cell is not as it was left; recorded",
    )
    sub.add_argument(
        "--assume-charge",
        type=_not_negative,
        metavar="MAH_CM2",
        help="the charge that had passed in the interrupted half-cycle, where the record cannot "
        "tell; recorded",
    )
    sub.add_argument(
        "--trust-log",
        action="store_true",
        help="the instrument lost its power, and its log ends where that happened; recorded",
    )
    sub.add_argument(
        "--same-cell",
        action="store_true",
        help="go on although other runs were made on the cell or the potentiostat since; recorded",
    )
    sub.set_defaults(simulate=None)

    sub = add(
        "shell",
        _shell,
        "IPython with the bench connected: RE, devices, plans, catalog",
        "Without --bench, and with no simulator running, one is started.",
    )
    _add_bench(sub)

    sub = add(
        "safe",
        _safe,
        "open the cell, switch laser and lamp off, whatever was running",
        "For the moment after a crash: a program on an instrument outlives the computer's. "
        "Instruments that another session holds are named and left alone.",
    )
    sub.add_argument(
        "--bench", metavar="NAME", help="a bench file, or a name in the configuration folder"
    )
    sub.set_defaults(only=None, simulate=None)

    sub = add(
        "sim",
        _sim,
        "serve a simulated bench until Ctrl-C",
        "One simulated cell seen by a potentiostat, a relay board, a camera and a Raman "
        "spectrometer, on real wires (pseudo-terminals, USB frames, files).",
    )
    sub.add_argument("--cell", metavar="NAME", default=DEFAULT_CELL, help="which (%(default)s)")
    _add_replayed(sub)
    _add_factor(sub)
    sub.add_argument(
        "--seed", type=int, default=0, help="another cell and other instrument errors (0)"
    )
    sub.add_argument("--dir", type=Path, help="where the addresses are published")
    sub.add_argument("--list-cells", action="store_true", help="list the cells and end")

    _add_runs(
        add(
            "runs",
            _runs,
            "find what has been recorded, newest first",
            "Conditions add up. An experiment that was resumed is one line, named by its first "
            "run. Metrics are those of the report, stored when a report or the end of a run has "
            "computed them; --where and --columns compute what is missing, once.",
        )
    )

    sub = add(
        "report",
        _report,
        "the numbers of a run: efficiencies, overpotentials, resistances, ...",
        "What cannot be told from a run is shown as missing, with the reason. An experiment that "
        "was resumed is one, whichever of its runs is named.",
    )
    _add_run(sub)
    _add_alone(sub)
    sub.add_argument(
        "--recompute",
        action="store_true",
        help="compute the numbers anew, also where those of the finished run are stored",
    )
    sub.add_argument("--json", action="store_true", help="as one object")
    sub.add_argument("--figure", type=Path, metavar="FILE", help="also draw the run (png, pdf)")
    _add_source(sub)

    sub = add(
        "replay",
        _replay,
        "see a recorded run happen again, then its numbers",
        "Nothing is written: neither journal nor catalog is touched.",
    )
    _add_run(sub)
    sub.add_argument(
        "--speed",
        type=_positive,
        metavar="N",
        help="times real time of the recording; by default as fast as it can be read",
    )
    sub.add_argument(
        "--cycle", type=int, metavar="N", help="begin with the first row of this cycle"
    )
    _add_alone(sub)
    _add_source(sub)
    sub.add_argument("--json", action="store_true", help="only the numbers, as report --json")
    sub.add_argument("--figure", type=Path, metavar="FILE", help="also draw the run (png, pdf)")

    sub = add(
        "export",
        _export,
        "write a run in another format: bdf, nexus, parquet, csv, rocrate",
        "A run that continues others is exported with them; one that still grows as far as it has "
        "come. Nothing is overwritten, and nothing half-done is left.",
    )
    _add_run(sub)
    sub.add_argument(
        "--to", required=True, choices=("bdf", "nexus", "parquet", "csv", "rocrate"), help="which"
    )
    sub.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="where to: a file for nexus (.nxs), a folder otherwise; a .bdf.csv, .bdf.parquet or "
        "a crate's .zip is a file, too (by default a name of its own in the working folder)",
    )
    sub.add_argument("--force", action="store_true", help="replace what exists")
    sub.add_argument("--table", choices=("csv", "parquet"), help="bdf: which kind of table (csv)")
    sub.add_argument(
        "--institution",
        metavar="CODE",
        default=os.environ.get("OPERANDO_INSTITUTION"),
        help="bdf, rocrate: the institution's code in the table's name ($OPERANDO_INSTITUTION)",
    )
    sub.add_argument(
        "--license",
        metavar="SPDX",
        help="rocrate: an SPDX identifier like CC-BY-4.0, or an address",
    )
    sub.add_argument(
        "--author",
        metavar="NAME, ORCID, AFFILIATION",
        type=_author,
        action="append",
        default=[],
        help="rocrate, nexus: who made the data; may be given several times",
    )
    sub.add_argument(
        "--link",
        action="store_true",
        help="nexus: point at the files of frames and spectra instead of copying them",
    )

    sub = add(
        "demo",
        _demo,
        "the whole way on simulated instruments, beside published values",
    )

    sub = add(
        "catalog",
        _catalog,
        "the searchable copy of the journals, for databroker",
        "verify compares runs with their journals, every row and every value, and ends with 1 if "
        "anything differs. repair closes runs whose process died, takes in anew what differs, and "
        "begins a damaged catalog anew; it may be used at any time.",
    )
    sub.add_argument(
        "verb",
        choices=("status", "start", "stop", "verify", "repair", "rebuild"),
        help="status: does it serve, is it complete; rebuild: make it anew from the journals",
    )
    sub.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        help="verify, repair: a uid, the beginning of one, or last; by default last for verify, "
        "all for repair",
    )
    sub.add_argument("--all", action="store_true", help="verify, repair: all runs of the folder")
    sub.add_argument("--json", action="store_true", help="status, verify, repair: as JSON")

    add("version", _version, "versions of operando and of what it stands on")
    return parser


def _add_bench_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bench",
        metavar="NAME",
        default=os.environ.get("OPERANDO_BENCH"),
        help="a bench file, or a name in the configuration folder ($OPERANDO_BENCH, else sim)",
    )
    parser.add_argument(
        "--only",
        metavar="NAMES",
        help="connect only these instruments, separated by commas: potentiostat,camera",
    )


def _add_bench(parser: argparse.ArgumentParser) -> None:
    _add_bench_file(parser)
    parser.add_argument(
        "--simulate",
        nargs="?",
        const="",
        metavar="CELL_PRESET",
        help="start a simulated bench for this command; the preset (operando sim --list-cells) "
        "is by default the one called like the cell",
    )
    _add_replayed(parser)
    _add_factor(parser)


def _add_replayed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--replay",
        metavar="RUN",
        help="serve a recorded run (a uid, the beginning of one, last) or a history file as the "
        "simulated cell",
    )


def _add_factor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--factor",
        type=_positive,
        default=100.0,
        metavar="N",
        help="simulated cell seconds per second at most (%(default)g)",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", metavar="RUN", nargs="?", default="last", help="a uid, the beginning of one, or last"
    )


def _add_alone(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--alone",
        action="store_true",
        help="of this run alone, without those it continues or that continue it",
    )


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="source",
        choices=("journal", "catalog"),
        default="journal",
        help="where the run is read from; both hold the same (%(default)s)",
    )


def _add_runs(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--sample", metavar="TEXT", help="name of the sample; texts may hold * and ?")
    sub.add_argument("--electrode", metavar="TEXT", help="material of one of the electrodes")
    sub.add_argument("--electrolyte", metavar="TEXT", help="composition of the electrolyte")
    sub.add_argument("--technique", metavar="TEXT", help="type of technique: plate_strip_cycle")
    sub.add_argument("--protocol", metavar="TEXT", help="name of the protocol or plan")
    sub.add_argument(
        "--status", metavar="STATUS", help="success, abort, fail, running or unfinished"
    )
    sub.add_argument(
        "--since", metavar="WHEN", help="2026-11-26, '2026-11-26 14:30', yesterday, '7 days'"
    )
    sub.add_argument("--until", metavar="WHEN", help="the same; a date means its end")
    sub.add_argument(
        "--where",
        metavar="CONDITION",
        action="append",
        default=[],
        help="a condition on a metric, 'ce_mean_pct > 99.5'; of a list .first, .last or .mean; "
        "may be repeated",
    )
    sub.add_argument(
        "--columns",
        metavar="NAMES",
        action="append",
        default=[],
        help="metrics to show, separated by commas",
    )
    sub.add_argument("-n", "--newest", type=_count, metavar="N", help="so many, else 50")
    sub.add_argument("--all", action="store_true", help="all that are found")
    sub.add_argument("--recompute", action="store_true", help="compute stored metrics anew")
    sub.add_argument(
        "--damaged",
        action="store_true",
        help="with --where: also runs whose record is damaged, by the numbers of what is left",
    )
    sub.add_argument("--json", action="store_true", help="all as a list of objects")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not (value >= 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"must be greater than 0, got {text}")
    return value


def _author(text: str) -> "Author":
    from operando.export import Author

    try:
        return Author.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


# -- commands that touch instruments


def _run(arguments: argparse.Namespace) -> int:
    from operando.configuration import load_cell, load_protocol, protocol_path

    # All files are read before anything is started or connected.
    path = protocol_path(arguments.protocol)
    protocol = load_protocol(path)
    cell_name = arguments.set_cell or protocol.cell
    cell = load_cell(cell_name, beside=None if arguments.set_cell else path.parent)

    def run(session: "Session") -> str:
        return session.run_protocol(protocol, cell=cell)

    return _carry_out(arguments, protocol, cell, Path(cell_name).stem, run)


def _rerun(arguments: argparse.Namespace) -> int:
    from operando.configuration import ConfigurationError, load_cell
    from operando.rerun import recorded, rerun
    from operando.settings import existing_data_dir

    folder = existing_data_dir()
    uid = _resolve(folder, arguments.run)
    asked = recorded(uid, folder)
    cell = asked.cell if arguments.cell is None else load_cell(arguments.cell)
    if arguments.simulate == "" and arguments.cell is None and arguments.replay is None:
        raise ConfigurationError(
            "which simulated cell? The record tells only the label of the sample, "
            f"{cell.cell_id!r}: give --simulate CELL_PRESET (operando sim --list-cells), or --cell"
        )
    preset = "" if arguments.cell is None else Path(arguments.cell).stem

    def run(session: "Session") -> str:
        return rerun(session, uid, cell=cell)

    _say(f"Running {asked.protocol.name} of run {asked.uid[:8]} again, on {cell.cell_id}.")
    return _carry_out(arguments, asked.protocol, cell, preset, run)


def _carry_out(
    arguments: argparse.Namespace,
    protocol: "Protocol",
    cell: "Cell",
    preset: str,
    run: "Callable[[Session], str]",
) -> int:
    """Check ``protocol``, connect the bench, ``run`` and tell what became of it."""
    from operando.configuration import check_technique

    bench = _bench_file(arguments)
    check_technique(bench, cell, protocol)

    from operando.journal import check_writable
    from operando.session import RunFailedError, Session
    from operando.settings import data_dir

    check_writable(data_dir())
    with contextlib.ExitStack() as stack:
        simulated = None
        if arguments.simulate is not None or arguments.replay is not None:
            preset = arguments.simulate or preset
            simulated = _simulate(stack, bench, preset, arguments, protocol)
        session = stack.enter_context(Session(bench, out=sys.stdout))
        _say_instruments(session)
        try:
            uid = run(session)
        except RunFailedError as error:
            if simulated is not None and not simulated.alive:
                error.add_note(f"The simulator ended; it said: {simulated.errors() or '(nothing)'}")
            _complain(f"{_told(error)}\nIts numbers: operando report {error.uid[:8]}")
            return FAILED if session.stop_signal is None else 128 + session.stop_signal
    _say(f"Recorded as {uid} in {session.data_dir}. Its numbers: operando report {uid[:8]}")
    from operando.search import evaluate

    evaluate(session.data_dir, uid)
    return OK


def _resume(arguments: argparse.Namespace) -> int:
    from operando.journal import check_writable
    from operando.resume import Decisions, continue_experiment, interrupted_experiment
    from operando.session import RunFailedError, Session
    from operando.settings import existing_data_dir

    folder = existing_data_dir()
    bench = _bench_file(arguments)
    decisions = Decisions(
        accept_check=arguments.accept_check,
        assume_charge_mah_cm2=arguments.assume_charge,
        trust_log=arguments.trust_log,
        same_cell=arguments.same_cell,
    )
    uid = _resolve(folder, arguments.run)
    check_writable(folder)
    # Refused before anything is connected: connecting ends whatever runs on the instrument.
    with interrupted_experiment(folder, uid, decisions) as experiment:
        _say(experiment.told)
        with Session(bench, out=sys.stdout) as session:
            _say_instruments(session)
            try:
                new = continue_experiment(session, experiment, decisions, _say)
            except RunFailedError as error:
                _complain(f"{_told(error)}\nIts numbers: operando report {error.uid[:8]}")
                return FAILED if session.stop_signal is None else 128 + session.stop_signal
    _say(
        f"Recorded as {new} in {session.data_dir}, which continues {experiment.tip.uid[:8]}. "
        f"The numbers of the experiment: operando report {new[:8]}"
    )
    return OK


def _safe(arguments: argparse.Namespace) -> int:
    from instruments.bench import Bench, BenchConnectionError

    bench = Bench(_bench_file(arguments))
    try:
        bench.connect()  # this alone ends what ran
        bench.safe_state()
    except BenchConnectionError as error:
        _complain(f"{error}\nThe other instruments are safe: cell open, laser and lamp off.")
        return FAILED
    finally:
        bench.close()
    _say(f"Safe: cell open, laser and lamp off ({', '.join(bench.devices)}).")
    return OK


def _shell(arguments: argparse.Namespace) -> int:
    import IPython
    from IPython.terminal.interactiveshell import TerminalInteractiveShell
    from traitlets.config import Config

    bench = _bench_file(arguments)

    from operando.journal import check_writable
    from operando.settings import data_dir

    check_writable(data_dir())
    # It takes a second, in which a simulator starts on another core.
    threading.Thread(
        target=importlib.import_module, args=("operando.session",), daemon=True
    ).start()
    with contextlib.ExitStack() as stack:
        nobody_serves = arguments.bench is None and not _simulator_serves()
        if arguments.simulate is not None or arguments.replay is not None or nobody_serves:
            _simulate(stack, bench, arguments.simulate or DEFAULT_CELL, arguments, None)

        from operando.rerun import rerun
        from operando.resume import resume
        from operando.session import Session

        session = stack.enter_context(Session(bench, out=sys.stdout, interactive=True))
        config = Config()
        config.TerminalInteractiveShell.banner1 = _banner(session)
        config.TerminalInteractiveShell.banner2 = ""
        config.TerminalIPythonApp.display_banner = True
        if hasattr(TerminalInteractiveShell, "enable_tip"):  # IPython 9
            config.TerminalInteractiveShell.enable_tip = False
        names = {
            "rerun": functools.partial(rerun, session),
            "resume": functools.partial(resume, session, say=_say),
            **session.namespace(),
        }
        IPython.start_ipython(argv=[], user_ns=names, config=config)
    return OK


def _sim(arguments: argparse.Namespace) -> int:
    from operando import simulation

    if arguments.list_cells:
        _say("\n".join(simulation.cell_presets()))
        return OK
    with contextlib.ExitStack() as stack:
        cell: str | Path = arguments.cell
        instruments: Collection[str] = simulation.INSTRUMENTS
        told = f"the cell {cell}"
        if arguments.replay is not None:
            cell, held, of = _history(stack, arguments.replay)
            # The board is served for the lamp also where there are no chromatograms.
            instruments = tuple(n for n in instruments if n in held or n == "relay_board")
            told = f"the recorded cell of {of} ({', '.join(held)} recorded)"
        simulated = stack.enter_context(
            simulation.SimulatedBench(
                cell,
                factor=arguments.factor,
                seed=arguments.seed,
                directory=arguments.dir,
                instruments=instruments,
            )
        )
        _say(
            f"A simulated bench with {told} serves in {simulated.directory} "
            f"(process {simulated.pid}).\nIn another terminal:"
        )
        if arguments.dir is not None:
            _say(f"    export {simulation.VARIABLE}={simulated.directory}")
        _say("    operando shell\n    operando run zinc-operando\nCtrl-C ends it.")
        while simulated.alive:
            time.sleep(0.2)
        raise simulation.SimulationError(f"the simulator ended; it said:\n{simulated.errors()}")


def _bench_file(arguments: argparse.Namespace) -> "BenchFile":
    from operando.configuration import ConfigurationError, load_bench
    from operando.settings import simulator_dir

    # Where `operando sim` publishes unless told otherwise.
    os.environ.setdefault("OPERANDO_SIM", str(simulator_dir()))
    bench = load_bench(arguments.bench or DEFAULT_BENCH)
    if arguments.only:
        try:
            bench = bench.only({name.strip() for name in arguments.only.split(",")})
        except ValueError as error:
            raise ConfigurationError(f"--only {arguments.only}: {error}") from error
    return bench


def _simulate(
    stack: contextlib.ExitStack,
    bench: "BenchFile",
    preset: str,
    arguments: argparse.Namespace,
    protocol: "Protocol | None",
) -> "SimulatedBench":
    """Start what serves the instruments of ``bench`` until ``stack`` is left."""
    import tempfile

    from operando.history import GROUPS as HISTORIC
    from operando.history import HistoryError
    from operando.simulation import INSTRUMENTS, SimulatedBench

    kinds = {entry.kind for entry in bench.instruments.values()}
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="operando-sim-"))
    cell: str | Path = preset
    if arguments.replay is None:
        _say(f"Starting a simulated bench with the cell {preset} ...")
    else:
        cell, held, of = _history(stack, arguments.replay, only=kinds)
        lacking = sorted(kinds & set(HISTORIC) - set(held))
        if lacking:
            rest = ",".join(n for n, e in bench.instruments.items() if e.kind not in lacking)
            raise HistoryError(
                "; ".join(f"{kind}: not recorded in this run ({of})" for kind in lacking)
                + f". Leave out what is not there: --only {rest}"
            )
        _say(
            f"Starting a simulated bench with the recorded cell of {of}; its instruments add no "
            "errors of their own ..."
        )
    return stack.enter_context(
        SimulatedBench(
            cell,
            factor=arguments.factor,
            instruments=[name for name in INSTRUMENTS if name in kinds],
            directory=Path(folder),
            tolerance_s=10.0 if protocol is None else protocol.every.tolerance_s,
        )
    )


def _history(
    stack: contextlib.ExitStack, text: str, only: "Collection[str] | None" = None
) -> "tuple[Path, tuple[str, ...], str]":
    """Return a history file, what can be served from it, and whose it is; see `--replay`."""
    import tempfile

    from operando.history import held_in, write_history
    from operando.runs import Run
    from operando.settings import existing_data_dir

    given = Path(text)
    if given.suffix and given.is_file():
        return given, held_in(given), given.name
    data = existing_data_dir()
    uid = _resolve(data, text)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="operando-history-"))
    path = Path(folder) / f"{uid}.h5"
    held = write_history(Run.from_journal(uid, data), path, only=only)
    return path, held, f"run {uid[:8]}"


def _simulator_serves() -> bool:
    from operando.settings import simulator_dir
    from operando.simulation import serving_process

    return serving_process(simulator_dir()) is not None


def _instrument_lines(session: "Session") -> Iterator[str]:
    file = session.bench.file
    told = session.RE.md.get("bench", {}).get("instruments", {})
    for name, entry in file.instruments.items():
        address = str(getattr(entry, "address", "") or getattr(entry, "results", ""))
        simulated = "simulated" if address.startswith("published:") else "real"
        identity = told.get(name, {}).get("identity") or {}
        known = ", ".join(str(value) for key, value in identity.items() if key != "address")
        yield f"    {name:<18} {simulated:<10} {known or address}"


def _say_instruments(session: "Session") -> None:
    _say(f"Bench {session.bench.file.name}:")
    for line in _instrument_lines(session):
        _say(line)


def _banner(session: "Session") -> str:
    devices = ", ".join(session.devices)
    return "\n".join(
        [
            f"operando: bench {session.bench.file.name}, data in {session.data_dir}",
            *_instrument_lines(session),
            "",
            'zinc = protocol("zinc-operando"); sample = cell("zn-bare-half")',
            f"RE(operando_plating_stripping({devices.replace('relay_board, ', '')}, "
            "protocol=zinc, cell=sample))",
            'runs()   print(report("last"))   rerun("last", cell="zn-bare-half")   cat[-1]',
            "RE.abort() after Ctrl-C twice",
            "",
            "",
        ]
    )


# -- commands that read


def _runs(arguments: argparse.Namespace) -> int:
    from operando.search import find_runs, runs_table
    from operando.settings import existing_data_dir

    limit = arguments.newest
    if limit is None and not (arguments.all or arguments.json):
        limit = SHOWN_RUNS
    asked = ("sample", "electrode", "electrolyte", "technique", "protocol", "status")
    folder = existing_data_dir()
    found = find_runs(
        folder,
        **{name: getattr(arguments, name) for name in asked},
        since=arguments.since,
        until=arguments.until,
        where=arguments.where,
        columns=[name for each in arguments.columns for name in each.split(",") if name],
        limit=limit,
        recompute=arguments.recompute,
        damaged=arguments.damaged,
        tell=_complain,
    )
    for note in found.notes:
        _complain(note)
    if arguments.json:
        _say(json.dumps([run.as_json() for run in found], indent=2, allow_nan=False))
        return OK
    if found:
        _say(runs_table(found))
        if found.left_out:
            _say(f"... and {found.left_out} older (--all)")
        return OK
    filters = [*(getattr(arguments, name) for name in asked), arguments.since, arguments.until]
    if arguments.where or any(filters):
        _say(f"No runs in {folder} are like this.")
    else:
        _say(f"No runs in {folder} yet.")
    return OK


def _report(arguments: argparse.Namespace) -> int:
    from operando.analysis import metrics
    from operando.runs import Run
    from operando.search import store_metrics, stored_metrics
    from operando.settings import existing_data_dir

    folder = existing_data_dir()
    uid = _resolve(folder, arguments.run)
    if arguments.source == "catalog":
        _wait_for_catalog(folder, uid, alone=arguments.alone)
        run = Run.from_catalog(uid, folder, chain=not arguments.alone)
    else:
        run = Run.from_journal(uid, folder, chain=not arguments.alone)
    numbers = None if arguments.recompute else stored_metrics(folder, run)
    if numbers is None:
        numbers = metrics(run)
        store_metrics(folder, run, numbers)
    return _say_numbers(run, numbers, arguments)


def _say_numbers(run: "Run", numbers: "Mapping[str, Metric]", arguments: argparse.Namespace) -> int:
    """Show a run's numbers; return the exit status, which tells if they are of the whole run."""
    _say_report(run, numbers, as_json=arguments.json)
    if arguments.figure is not None:
        from operando.plots import run_figure

        arguments.figure.parent.mkdir(parents=True, exist_ok=True)
        run_figure(run, numbers).savefig(arguments.figure, dpi=150)
        if not arguments.json:
            _say(f"Drawn in {arguments.figure}")
    if arguments.json:
        for sentence in run.damage:
            _complain(sentence)
    return FAILED if run.damage else OK


def _replay(arguments: argparse.Namespace) -> int:
    from operando.analysis import metrics
    from operando.journal import journal_path
    from operando.live import LiveTable
    from operando.replay import replay
    from operando.runs import RunBuilder, join, told_damage
    from operando.settings import existing_data_dir

    folder = existing_data_dir()
    uid = _resolve(folder, arguments.run)
    builders: list[RunBuilder] = []

    def build(name: str, doc: "Mapping[str, Any]") -> None:
        if name == "start":
            builders.append(RunBuilder())
        builders[-1](name, doc)

    callbacks: list[Callable[[str, Mapping[str, Any]], object]] = [build]
    if not arguments.json:
        callbacks.append(LiveTable(sys.stdout))
    if arguments.source == "catalog":
        _wait_for_catalog(folder, uid, alone=arguments.alone)
    try:
        replay(
            uid,
            folder,
            callbacks,
            speed=arguments.speed,
            source=arguments.source,
            from_cycle=arguments.cycle,
            chain=not arguments.alone,
        )
    except LookupError as error:  # no such cycle
        raise _NoSuchRunError(str(error)) from error
    runs = [builder.run for builder in builders]
    if arguments.source == "journal":
        whole = arguments.cycle is None
        runs = [told_damage(run, journal_path(folder, run.uid), whole=whole) for run in runs]
    run = join(runs)
    return _say_numbers(run, metrics(run), arguments)


def _export(arguments: argparse.Namespace) -> int:
    from operando.export import export_run
    from operando.settings import existing_data_dir

    folder = existing_data_dir()
    written = export_run(
        _resolve(folder, arguments.run),
        folder,
        to=arguments.to,
        output=arguments.output,
        force=arguments.force,
        table=arguments.table,
        institution=arguments.institution,
        license=arguments.license,
        authors=arguments.author,
        link=arguments.link,
    )
    for path in written:
        _say(str(path))
    return OK


def _wait_for_catalog(folder: Path, uid: str, *, alone: bool) -> None:
    from operando.catalog import wait_until_ingested
    from operando.journal import chain_of

    for member in (uid,) if alone else chain_of(folder, uid):
        wait_until_ingested(folder, member)


def _resolve(folder: Path, text: str) -> str:
    from operando.journal import resolve_uid

    try:
        return resolve_uid(folder, text)
    except LookupError as error:
        raise _NoSuchRunError(str(error)) from error


def _say_report(run: "Run", numbers: "Mapping[str, Metric]", *, as_json: bool) -> None:
    from operando.report import json_report, text_report

    _say(json_report(run, numbers) if as_json else text_report(run, numbers))


def _demo(arguments: argparse.Namespace) -> int:
    from operando import demo

    return demo.main(sys.stdout)


def _catalog(arguments: argparse.Namespace) -> int:
    from operando import catalog
    from operando.settings import data_dir, existing_data_dir

    reads = arguments.verb in ("status", "verify", "repair")
    folder = existing_data_dir() if reads else data_dir()
    match arguments.verb:
        case "start":
            service = catalog.ensure_service(folder, wait_s=120.0)
            # Another folder may have taken the name since the service started.
            catalog.write_profile(folder)
            _say(f"The catalog of {folder} serves at {service.uri} (process {service.pid}).")
        case "stop":
            stopped = catalog.stop_service(folder)
            _say("Stopped." if stopped else "It did not run.")
        case "rebuild":
            service = catalog.rebuild_catalog(folder)
            _say(f"A new catalog serves at {service.uri}; runs enter it from the journals.")
            for uid, why in service.kept.items():
                _say(f"{uid[:8]}  {why}")
            if service.aside:
                _say(
                    f"The old one is {service.aside}: delete it when `operando catalog verify "
                    "--all` finds no difference."
                )
        case "verify":
            return _verify_catalog(arguments, folder)
        case "repair":
            return _repair_catalog(arguments, folder)
        case _:
            told = catalog.status(folder)
            if arguments.json:
                _say(json.dumps(dataclasses.asdict(told), indent=2))
            else:
                _say_catalog(told, folder)
    return OK


def _verify_catalog(arguments: argparse.Namespace, folder: Path) -> int:
    from operando.catalog import verify_runs
    from operando.journal import list_runs

    if arguments.all or not arguments.runs:
        uids = [run.uid for run in list_runs(folder)]
        if not uids:
            _say("[]" if arguments.json else f"No runs in {folder} yet.")
            return OK
    if not arguments.all:
        uids = [_resolve(folder, text) for text in arguments.runs or ["last"]]
    outcomes = []
    for outcome in verify_runs(uids, folder):
        outcomes.append(outcome)
        if not arguments.json:
            rows = sum(outcome.rows.values())
            frames = sum(outcome.frames.values())
            verdict = "same" if outcome.same else "DIFFERS"
            lasts = ", still being written" * outcome.lasts
            _say(f"{outcome.uid[:8]}  {verdict:7}  {rows:>10} rows  {frames:>8} in files{lasts}")
            for difference in outcome.damage + outcome.differences:
                _say(f"          {difference}")
    differing = sum(not outcome.same for outcome in outcomes)
    if arguments.json:
        told = [{**dataclasses.asdict(outcome), "same": outcome.same} for outcome in outcomes]
        _say(json.dumps(told, indent=2))
    elif differing:
        differ = "run differs" if len(outcomes) == 1 else "runs differ"
        _say(f"{differing} of {len(outcomes)} {differ}. Cure: operando catalog repair")
    elif len(outcomes) == 1:
        _say("The run is the same in journal and catalog.")
    else:
        _say(f"{len(outcomes)} runs are the same in journal and catalog.")
    return FAILED if differing else OK


def _repair_catalog(arguments: argparse.Namespace, folder: Path) -> int:
    from operando.catalog import repair

    uids = None
    if arguments.runs and not arguments.all:
        uids = [_resolve(folder, text) for text in arguments.runs]
    done = []
    for repaired in repair(folder, uids):
        done.append(repaired)
        if not arguments.json:
            what = repaired.uid[:8] or "catalog"
            _say(f"{what:8}  {repaired.found}\n          -> {repaired.done}")
    if arguments.json:
        _say(json.dumps([dataclasses.asdict(repaired) for repaired in done], indent=2))
    elif not done:
        _say("Nothing was wrong.")
    return OK if all(repaired.cured for repaired in done) else FAILED


def _say_catalog(status: "CatalogStatus", folder: Path) -> None:
    service = "serves" if status.ready else "is starting" if status.running else "does not run"
    _say(f"data folder    {folder} ({status.free_bytes / 1e9:.1f} GB free)")
    _say(f"service        {service}")
    if status.shared:
        _say(f"shared catalog {status.shared}")
    if status.away:
        _say(f"  does not answer: {status.away}")
    _say(f"journals       {_runs_told(status.runs)}, {status.journal_bytes / 1e6:.1f} MB")
    _say(f"catalog        {_runs_told(status.ingested)} whole, {status.catalog_bytes / 1e6:.1f} MB")
    for uid, missing in status.behind.items():
        _say(f"  {uid[:8]} is behind by {missing} bytes")
    for uid, error in status.errors.items():
        _say(f"  {uid[:8]} cannot be taken in: {error}")
    for uid in status.unfinished:
        _say(f"  {uid[:8]} was never closed: its process died")
    for uid in status.damaged:
        _say(f"  {uid[:8]} has a damaged journal: operando catalog verify {uid[:8]}")
    for cut in status.cuts:
        _say(f"  {cut} was cut off a damaged journal")
    for uid in status.more:
        _say(f"  {uid[:8]} has more rows in the catalog than in its journal; both are kept")
    _say(f"in Python      databroker.catalog[{_profile(folder)!r}]")


def _runs_told(count: int) -> str:
    return f"{count} run" + "s" * (count != 1)


def _profile(folder: Path) -> str:
    from operando.catalog import profile_name

    return profile_name(folder)


def _version(arguments: argparse.Namespace) -> int:
    import importlib.metadata
    import platform

    from operando import __version__

    _say(f"operando {__version__}")
    _say(f"python {platform.python_version()}")
    for name in _foundations():
        _say(f"{name} {importlib.metadata.version(name)}")
    return OK


def _foundations() -> Iterable[str]:
    return ("bluesky", "ophyd", "databroker", "tiled", "event-model")


if __name__ == "__main__":
    sys.exit(main())
