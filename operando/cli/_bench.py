"""Commands that serve a bench or stand at one: shell, safe, sim."""

import argparse
import contextlib
import functools
import importlib
import os
import sys
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ._arguments import AddCommand, add_bench, add_factor, add_replayed
from ._run_names import resolve_run
from ._safe import safe
from ._terminal import FAILED, OK, complain, say

if TYPE_CHECKING:
    from instruments.bench_file import BenchFile
    from operando.session import Session
    from operando.simulation import SimulatedBench
    from techniques import Cell, Protocol

DEFAULT_BENCH = "sim"
DEFAULT_CELL = "zn-bare-half"


def declare(add: AddCommand) -> None:
    """Add the commands."""
    sub = add(
        "shell",
        _shell,
        "IPython with the bench connected: RE, devices, plans, catalog",
        "Without --bench, and with no simulator running, one is started.",
    )
    add_bench(sub)

    sub = add(
        "safe",
        safe,
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
    add_replayed(sub)
    add_factor(sub)
    sub.add_argument(
        "--seed", type=int, default=0, help="another cell and other instrument errors (0)"
    )
    sub.add_argument("--dir", type=Path, help="where the addresses are published")
    sub.add_argument("--list-cells", action="store_true", help="list the cells and end")


def _shell(arguments: argparse.Namespace) -> int:
    import IPython
    from IPython.terminal.interactiveshell import TerminalInteractiveShell
    from traitlets.config import Config

    bench = bench_file(arguments)

    from operando.journal import check_writable
    from operando.settings import data_dir

    check_writable(data_dir())
    # It takes a second, in which a simulator starts on another core.
    threading.Thread(
        target=importlib.import_module, args=("operando.session",), daemon=True
    ).start()
    with contextlib.ExitStack() as stack:
        nobody_serves = arguments.bench is None and not _simulator_serves()
        starts = arguments.simulate is not None or nobody_serves
        refuse_seed_of_nothing(arguments, starts=starts)
        if starts or arguments.replay is not None:
            simulate(stack, bench, arguments.simulate or DEFAULT_CELL, arguments, None)

        from operando.queueing.queue import Queue
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
            "queue": stack.enter_context(Queue(session.data_dir)),
            "rerun": functools.partial(rerun, session),
            "resume": functools.partial(resume, session, say=say),
            **session.namespace(),
        }
        IPython.start_ipython(argv=[], user_ns=names, config=config)
    return left_safe(session)


def _banner(session: "Session") -> str:
    return "\n".join(
        [
            f"operando: bench {session.bench.file.name}, data in {session.data_dir}",
            *_instrument_lines(session),
            "",
            'zinc = protocol("zinc-operando"); sample = cell("zn-bare-half")',
            f"RE(operando_plating_stripping({_instruments_of(session)}, "
            "protocol=zinc, cell=sample))",
            'runs()   print(report("last"))   rerun("last", cell="zn-bare-half")   cat[-1]',
            'queue   queue.add("zinc-operando", "zn-bare-half")   queue.history()',
            "RE.abort() after Ctrl-C twice",
            "",
            "",
        ]
    )


def _instruments_of(session: "Session") -> str:
    """Return the arguments of a plan that uses every instrument of the bench, as one types them."""
    from plans import followers_among

    told = ["potentiostat"]
    for name, device in followers_among(session.devices).items():
        if name == "sensors":
            told.append(f"sensors=[{', '.join(sensor.name for sensor in device)}]")
        else:
            told.append(f"{name}={name}")
    return ", ".join(told)


def _simulator_serves() -> bool:
    from operando.settings import simulator_dir
    from operando.simulation import serving_process

    return serving_process(simulator_dir()) is not None


def _sim(arguments: argparse.Namespace) -> int:
    from operando import simulation

    if arguments.list_cells:
        say("\n".join(simulation.cell_presets()))
        return OK
    with contextlib.ExitStack() as stack:
        cell: str | Path = arguments.cell
        instruments: Collection[str] = simulation.all_of(cell)
        told = f"the cell {cell}"
        if arguments.replay is not None:
            cell, held, of = _history(stack, arguments.replay)
            # The board is served for the lamp also where there are no chromatograms.
            instruments = tuple(
                n for n in simulation.INSTRUMENTS if n in held or n == "relay_board"
            )
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
        say(
            f"A simulated bench with {told} serves in {simulated.directory} "
            f"(process {simulated.pid}).\nIn another terminal:"
        )
        if arguments.dir is not None:
            say(f"    export {simulation.VARIABLE}={simulated.directory}")
        say("    operando shell\n    operando run zinc-operando\nCtrl-C ends it.")
        while simulated.alive:
            time.sleep(0.2)
        raise simulation.SimulationError(f"the simulator ended; it said:\n{simulated.errors()}")


def find_simulator() -> None:
    """Say where `operando sim` publishes, unless the environment does."""
    from operando.settings import simulator_dir

    os.environ.setdefault("OPERANDO_SIM", str(simulator_dir()))


def bench_file(arguments: argparse.Namespace) -> "BenchFile":
    from operando.configuration import ConfigurationError, load_bench

    find_simulator()
    bench = load_bench(arguments.bench or DEFAULT_BENCH)
    if arguments.only:
        try:
            bench = bench.only({name.strip() for name in arguments.only.split(",")})
        except ValueError as error:
            raise ConfigurationError(f"--only {arguments.only}: {error}") from error
    return bench


def simulate(
    stack: contextlib.ExitStack,
    bench: "BenchFile",
    preset: str,
    arguments: argparse.Namespace,
    protocol: "Protocol | None",
    sample: "Cell | None" = None,
) -> "SimulatedBench":
    """Start what serves the instruments of ``bench`` until ``stack`` is left.

    All that is random is decided by ``--seed``, else by the label of ``sample``: runs on cells of
    several labels are of several cells.
    """
    import tempfile

    from operando.history import GROUPS as HISTORIC
    from operando.history import HistoryError
    from operando.simulation import SimulatedBench, seed_of, served_for

    kinds = {entry.kind for entry in bench.instruments.values()}
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="operando-sim-"))
    cell: str | Path = preset
    seed: int = seed_of(sample.cell_id) if sample is not None else 0
    if arguments.seed is not None:
        seed = arguments.seed
    if arguments.replay is None:
        say(f"Starting a simulated bench with the cell {preset}, seed {seed} ...")
    else:
        cell, held, of = _history(stack, arguments.replay, only=kinds)
        lacking = sorted(kinds & set(HISTORIC) - set(held))
        if lacking:
            rest = ",".join(n for n, e in bench.instruments.items() if e.kind not in lacking)
            raise HistoryError(
                "; ".join(f"{kind}: not recorded in this run ({of})" for kind in lacking)
                + f". Leave out what is not there: --only {rest}"
            )
        say(
            f"Starting a simulated bench with the recorded cell of {of}; its instruments add no "
            "errors of their own ..."
        )
    return stack.enter_context(
        SimulatedBench(
            cell,
            factor=arguments.factor,
            seed=seed,
            instruments=served_for(bench.addresses()),
            directory=Path(folder),
            tolerance_s=10.0 if protocol is None else protocol.every.tolerance_s,
        )
    )


def refuse_seed_of_nothing(arguments: argparse.Namespace, *, starts: bool) -> None:
    """Raise ConfigurationError if there is a ``--seed`` and no simulated cell that has one.

    Args:
        arguments: Of the command.
        starts: Whether it starts a simulated bench.
    """
    from operando.configuration import ConfigurationError

    if arguments.seed is not None and (not starts or arguments.replay is not None):
        raise ConfigurationError(
            f"--seed {arguments.seed} is of the cell that --simulate starts: a real one, a "
            "recorded one and one that is served already (operando sim --seed) have theirs"
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
    uid = resolve_run(data, text)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="operando-history-"))
    path = Path(folder) / f"{uid}.h5"
    held = write_history(Run.from_journal(uid, data), path, only=only)
    return path, held, f"run {uid[:8]}"


def left_safe(session: "Session") -> int:
    """Say what a session that is over could not leave safe; return the command's exit status."""
    if not session.bench.left_unsafe:
        return OK
    complain(
        "Runs are recorded, BUT NOT EVERYTHING WAS LEFT SAFE:\n  "
        + "\n  ".join(session.bench.left_unsafe)
        + (
            f"\nThe guard (process {session.guard_left}) goes on trying."
            if session.guard_left
            else ""
        )
    )
    return FAILED


def say_instruments(session: "Session") -> None:
    say(f"Bench {session.bench.file.name}:")
    for line in _instrument_lines(session):
        say(line)


def _instrument_lines(session: "Session") -> Iterator[str]:
    from instruments.abilities import software_only

    file = session.bench.file
    told = session.RE.md.get("bench", {}).get("instruments", {})
    for name, entry in file.instruments.items():
        address = str(getattr(entry, "address", "") or getattr(entry, "results", ""))
        simulated = "simulated" if address.startswith("published:") else "real"
        identity = told.get(name, {}).get("identity") or {}
        known = ", ".join(str(value) for key, value in identity.items() if key != "address")
        yield f"    {name:<18} {simulated:<10} {known or address}"
        note = software_only(entry.driver_class())
        if note:
            yield f"    {'':<18} SOFTWARE ONLY: {note}"
