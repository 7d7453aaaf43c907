"""Start a simulated bench: ``python -m sim_devices --publish DIR --cell zn-zro2``.

It runs until its standard input ends (its owner has gone), or until SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from sim_devices.bench import INSTRUMENTS, Bench, Fault
from sim_devices.cell import NAMES
from sim_devices.mounting import MountRefusedError, ask_for_mount
from sim_devices.served import SERVED
from sim_devices.wire_faults import list_faults

# After this the process ends even if an instrument does not.
_CLOSING_S = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Run a bench; return the process's exit status."""
    options = _parser().parse_args(arguments)
    if options.list_faults:
        sys.stdout.write(json.dumps(list_faults(), indent=2) + "\n")
        return 0
    if options.mount is not None:
        return _mount(options)
    if options.publish is None or (options.cell is None and options.history is None):
        _parser().error("give --publish, and --cell or --history")
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        try:
            os.write(wake_write, b"\0")
        except BlockingIOError:
            pass  # it is stopping already

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        bench = Bench(
            options.publish,
            options.cell,
            history=options.history,
            instrument_errors=options.instrument_errors,
            factor=options.factor,
            tolerance_s=options.tolerance,
            seed=options.seed,
            instruments=options.instruments,
            truth=options.truth,
            faults=options.fault,
            prefer_pty=not options.no_pty,
            wires=options.wires,
        )
    except ValueError as error:
        sys.stderr.write(f"sim_devices: {error}\n")
        return 2
    sys.stdout.write(f"simulated bench ready in {options.publish}, process {os.getpid()}\n")
    sys.stdout.flush()
    _wait(wake_read, watch_input=not options.foreground)
    last_resort = threading.Timer(_CLOSING_S, os._exit, (1,))
    last_resort.daemon = True
    last_resort.start()
    bench.close()
    last_resort.cancel()
    return 0


def _mount(options: argparse.Namespace) -> int:
    """Have another cell put into the leads of a bench that runs."""
    if options.publish is None:
        _parser().error("give --publish: the folder of the simulated bench that runs")
    try:
        number = ask_for_mount(options.publish, options.mount, options.seed)
    except (MountRefusedError, OSError) as error:
        sys.stderr.write(f"sim_devices: {error}\n")
        return 2
    sys.stdout.write(f"cell {number} of this bench: {options.mount}, seed {options.seed}\n")
    return 0


def _wait(wake: int, *, watch_input: bool) -> None:
    """Return when a signal came or, if watched, when standard input has ended."""
    with selectors.SelectSelector() as selector:
        selector.register(wake, selectors.EVENT_READ)
        if watch_input:
            selector.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == wake or not os.read(0, 4096):
                    return


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sim_devices", description=__doc__)
    add = parser.add_argument
    add("--publish", type=Path, help="folder for the instruments' addresses")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--cell", choices=list(NAMES), metavar="PRESET", help=", ".join(NAMES))
    what.add_argument(
        "--history", type=Path, metavar="FILE", help="serve a cell that was measured before"
    )
    add(
        "--mount",
        choices=list(NAMES),
        metavar="PRESET",
        help="put another cell (with --seed) into the leads of the bench that runs in the folder "
        "of --publish, whose instruments stay on; refused while its potentiostat drives a cell",
    )
    add(
        "--instrument-errors",
        action="store_true",
        default=None,
        help="give the potentiostat errors and noise of its own also on top of a history",
    )
    add("--factor", type=float, default=100.0, help="cell seconds per second (%(default)s)")
    add("--seed", type=int, default=0, help="of every random stream (%(default)s)")
    add(
        "--instruments",
        type=lambda text: [name.strip() for name in text.split(",") if name.strip()],
        default=list(INSTRUMENTS),
        help=f"comma separated, of {', '.join(INSTRUMENTS)} (all of these), {', '.join(SERVED)}",
    )
    add(
        "--tolerance",
        type=float,
        default=10.0,
        help="how late followers may be, cell seconds; caps the factor (%(default)s)",
    )
    add("--truth", type=Path, help="folder for what really happened (DIR/sim_truth)")
    add(
        "--fault",
        type=Fault.from_text,
        action="append",
        default=[],
        metavar="INSTRUMENT:FAULT[@CELL_SECONDS][:NAME=NUMBER...]",
        help="break something, e.g. potentiostat:garble@3600:count=2; may be repeated",
    )
    add(
        "--list-faults",
        action="store_true",
        help="print as JSON what can be broken at each instrument, and what cannot, and why",
    )
    add("--no-pty", action="store_true", help="serial instruments listen on TCP")
    add("--wires", action="store_true", help="write down what passes on serial lines")
    add("--foreground", action="store_true", help="do not exit when standard input ends")
    return parser


if __name__ == "__main__":
    sys.exit(main())
