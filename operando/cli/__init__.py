"""The command ``operando``.

Importing this package is fast: what a command needs is imported when it runs.
"""

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from operando.harmless import printable

from ._parser import command_line
from ._run_names import NoSuchRunError
from ._signals import TerminatedError, terminable
from ._terminal import FAILED, INTERRUPTED, OK, REFUSED, complain, message_of, system_message_of

__all__ = ["FAILED", "INTERRUPTED", "OK", "REFUSED", "command_line", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status.

    0: done. 1: a run began and failed (its data are kept), a check or a comparison did not hold, or
    what was shown or exported is of a damaged record.
    2: refused or impossible; one message on standard error says why. 128 + N: stopped by signal N
    (130: Ctrl-C), after everything was made safe. With ``OPERANDO_DEBUG=1`` errors show where they
    were raised.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = command_line(*words[:1]).parse_args(words)
    debug = os.environ.get("OPERANDO_DEBUG") == "1"
    logging.basicConfig(level=logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Harmless("operando: %(levelname)s: %(message)s"))
    if not debug:
        # It logs the traceback of what we are about to tell in one sentence.
        logging.getLogger("bluesky").setLevel(logging.CRITICAL)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        with terminable():
            return command(arguments)
    except KeyboardInterrupt as error:
        complain("; ".join(["stopped by Ctrl-C", *getattr(error, "__notes__", ())]))
        return INTERRUPTED
    except TerminatedError as error:
        complain(f"stopped by {error}")
        return 128 + error.number
    except BrokenPipeError:
        # Nobody reads any more (operando runs | head). Keep the interpreter's own flush quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        if debug:
            traceback.print_exc()
        else:
            complain(system_message_of(error))
        return REFUSED
    except Exception as error:
        if not isinstance(error, _expected()):
            raise
        if debug:
            traceback.print_exc()
        else:
            complain(message_of(error))
        return REFUSED


class _Harmless(logging.Formatter):
    """What is logged may hold what an instrument or a file said."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _expected() -> tuple[type[Exception], ...]:
    """Return the errors that tell a user all there is to tell."""
    expected: list[type[Exception]] = [NoSuchRunError]
    # Some are slow to import, and each can only have come from where it has been.
    for module, error in (
        ("instruments.errors", "InstrumentError"),
        ("operando.catalog", "CatalogError"),
        ("operando.configuration", "ConfigurationError"),
        ("operando.export", "ExportError"),
        ("operando.history", "HistoryError"),
        ("operando.journal", "JournalError"),
        ("operando.rerun", "RerunError"),
        ("operando.search", "SearchError"),
        ("operando.settings", "NoDataFolderError"),
        ("operando.simulation", "SimulationError"),
        ("operando.resume", "ResumeError"),
        ("operando.questions", "AnswerError"),
        ("operando.checking", "CheckFailedError"),
        ("operando.comparison", "ComparisonError"),
        ("operando.doctor", "DoctorError"),
        ("operando.attachments", "AttachmentError"),
        ("operando.readers", "ReaderError"),
        ("operando.guard", "GuardError"),
        ("operando.queueing.errors", "QueueError"),
        ("operando.unicycler", "ExchangeError"),
        ("operando.logbook", "NoteError"),
    ):
        loaded = sys.modules.get(module)
        if loaded is not None:
            expected.append(getattr(loaded, error))
    return tuple(expected)
