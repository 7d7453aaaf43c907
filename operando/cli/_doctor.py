"""The command doctor: a support bundle."""

import argparse
import os
import time
from pathlib import Path

from ._arguments import AddCommand
from ._bench import DEFAULT_BENCH, find_simulator
from ._run_names import resolve_run
from ._terminal import OK, say


def declare(add: AddCommand) -> None:
    """Add the command."""
    sub = add(
        "doctor",
        _doctor,
        "write a support bundle: what somebody needs to see to help with a bench",
        "Versions, the bench file without secrets, ports, settings, the ends of logs, why the last "
        "runs ended. It is a file on this computer and is sent nowhere; nothing is overwritten.",
    )
    sub.add_argument(
        "--bench",
        metavar="NAME",
        default=os.environ.get("OPERANDO_BENCH"),
        help="a bench file, or a name in the configuration folder ($OPERANDO_BENCH, else sim)",
    )
    sub.add_argument(
        "--to",
        type=Path,
        metavar="FILE",
        help="the file (by default operando-doctor-TIME.zip in the working folder)",
    )
    sub.add_argument(
        "--run",
        metavar="RUN",
        help="also the documents of this run, without its rows: a uid, its beginning, or last",
    )
    sub.add_argument(
        "--record",
        action="store_true",
        help="also connect the bench, write down what each instrument says then, and leave it "
        "safe; a program that still runs on an instrument is ended by that",
    )


def _doctor(arguments: argparse.Namespace) -> int:
    from operando.doctor import write_bundle
    from operando.settings import data_dir

    find_simulator()
    folder = data_dir()
    run = None if arguments.run is None else resolve_run(folder, arguments.run)
    target = arguments.to or Path(time.strftime("operando-doctor-%Y%m%d-%H%M%S.zip"))
    bundle = write_bundle(
        target,
        bench=arguments.bench or DEFAULT_BENCH,
        data_dir=folder,
        run=run,
        record=arguments.record,
    )
    for name, size, about in bundle.parts:
        say(f"{size:>9} bytes  {name:<24} {about}")
    say(
        f"Written: {bundle.path}\nNothing was sent anywhere. Secrets are masked as far as they can "
        "be known: look through it before you hand it on."
    )
    return OK
