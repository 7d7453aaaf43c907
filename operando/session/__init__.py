"""A session: a bench connected to a RunEngine whose documents are kept before anything else.

``Session`` is what the command line, the shell, notebooks and the demonstration use. The order of
its callbacks is the promise: the journal first and alone on the RunEngine's thread, everything
that only shows something after it and beside it.
"""

from operando.run_failed import RunFailedError
from operando.session._engine import INTERRUPTED, LEADER, SIGN_CONVENTION
from operando.session._records import LazyCatalog
from operando.session._requests import PendingRequest, RequestBox, RequestRefusedError
from operando.session._session import ABORT_TIMEOUT_S, ABORTED_BY_HAND, Session
from operando.session._signals import CONFIRM_WITHIN_S

__all__ = [
    "ABORTED_BY_HAND",
    "ABORT_TIMEOUT_S",
    "CONFIRM_WITHIN_S",
    "INTERRUPTED",
    "LEADER",
    "SIGN_CONVENTION",
    "LazyCatalog",
    "PendingRequest",
    "RequestBox",
    "RequestRefusedError",
    "RunFailedError",
    "Session",
]
