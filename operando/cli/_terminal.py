"""What a command says and writes, and the status it ends with."""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from operando.harmless import printable

OK, FAILED, REFUSED = 0, 1, 2
INTERRUPTED = 128 + signal.SIGINT


def say(text: str = "") -> None:
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def columns() -> int | None:
    """Return how wide the terminal is that is written to; ``None``: it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def complain(text: str) -> None:
    sys.stderr.write(f"operando: {printable(text)}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def whoever_interrupts_is_told(text: str) -> Iterator[None]:
    """Have Ctrl-C tell what goes on all the same."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.add_note(text)
        raise


def message_of(error: BaseException) -> str:
    notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
    return f"{error}{notes}"


def system_message_of(error: OSError) -> str:
    from operando.journal import told
    from operando.settings import data_dir

    if not error.filename:  # a message of our own, or nothing that has a path
        return f"{error} (OPERANDO_DEBUG=1 shows where this was raised)"
    path = Path(os.fsdecode(error.filename))
    in_record = data_dir() in (path, *path.parents)
    return told(error, path) + (", or point OPERANDO_DATA at another folder" * in_record)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole, or as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
