"""The guard: a process of its own that makes a bench safe when its owner is gone.

The session starts it and tells it, ten times a second, that it is alive. When that ends, the guard
ends the owner for good, does with each instrument what the bench file declares, and writes what it
did into the journal of the run that was open.
"""

from ._hand_over import Taken, guards_of, let_go_on, settle, take_back
from ._lent import Lent
from ._owner import Guard, wanted
from ._places import GuardError

__all__ = [
    "Guard",
    "GuardError",
    "Lent",
    "Taken",
    "guards_of",
    "let_go_on",
    "settle",
    "take_back",
    "wanted",
]
