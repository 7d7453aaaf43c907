"""What a forked child lets go of: it has a copy of every port, lock and pipe of its parent.

While a copy is open, a port stays busy and a lock held, also after the death of the parent. A copy
is not closed, which would free its number for another file while an object that knows nothing of
it still has it: it leads nowhere from then on. Nothing is said to whoever is at the other end, who
still speaks with the parent. Processes that are started in the usual way have no copies.
"""

import os
import weakref
from contextlib import suppress
from typing import Protocol


class Holder(Protocol):
    """Has something that is its process's alone."""

    def let_go_in_child(self) -> None:
        """Let it go without a word; called in a forked child, where no other thread is.

        No lock may be taken: a thread that is not there may hold it.
        """


_holders: "weakref.WeakSet[Holder]" = weakref.WeakSet()


def keep_from_children(holder: Holder) -> None:
    """Have a holder let go in every child that is forked from now on, as long as it lives."""
    _holders.add(holder)


def lead_nowhere(fd: int) -> None:
    """Have a file descriptor lead nowhere, whatever it led to; nothing is said there."""
    if fd < 0:
        return
    nowhere = os.open(os.devnull, os.O_RDWR)
    with suppress(OSError):
        os.dup2(nowhere, fd, inheritable=False)
    os.close(nowhere)


def _let_go() -> None:
    for holder in list(_holders):
        # Any: what one does not let go of must not leave the rest with the child.
        with suppress(Exception):
            holder.let_go_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
