"""Instruments that benches share: how a guard has them when their owner died.

It must neither switch off what another bench uses by now, nor leave on what nobody uses. So it has
them as anybody has them, for one use at a time; where its owner had them, by that loan as long as
it lasts.
"""

import importlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, cast

from instruments.lending import LONGEST_S, Lease

# How long one attempt waits for it; it is tried again.
_WAIT_S = 2.0


class Heir(Protocol):
    """Who lends shared instruments to the guard of one that died."""

    def inherit(
        self,
        name: str,
        number: int | None,
        *,
        timeout_s: float,
        longest_s: float,
        called_off: Callable[[], bool],
    ) -> Lease | None:
        """Return the dead owner's loan if it lasts, or else another; ``None``: nobody answers.

        Raises LeaseTimeoutError, which tells who has it.
        """
        ...


def told_of(lender: object) -> dict[str, Any] | None:
    """Return by what a guard comes by the same lender; ``None``: it cannot."""
    told = getattr(lender, "told", None)
    return None if told is None else dict(told())


class Loans:
    """The shared instruments of one bench.

    Args:
        told: by what one comes by who lends them, as `told_of` returns it.
        names: of the instruments that are lent for each use.
        held: returns the numbers of the loans that the owner has, by what they are of.
    """

    def __init__(
        self,
        told: Mapping[str, Any] | None,
        names: frozenset[str],
        held: Callable[[], Mapping[str, int]],
    ) -> None:
        self.names = names if told is not None else frozenset[str]()
        self._held = held
        self._heir: Heir | None = None
        if told is not None and self.names:
            module, _, made_by = str(told["by"]).partition(":")
            made = getattr(importlib.import_module(module), made_by)
            self._heir = cast(Heir, made(told["arguments"]))

    def in_use(self, shared: str) -> bool:
        """Return whether the owner had it, or gave it back without leaving it safe."""
        return shared in self._held()

    @contextmanager
    def had(self, shared: str, given_up: threading.Event) -> Iterator[bool]:
        """Have it meanwhile; yields whether who lends it was asked.

        Where nobody answers it is not waited for: a laser that is on is worse than a spectrum that
        is lost. Raises LeaseTimeoutError if another bench has it.
        """
        assert self._heir is not None
        lease = self._heir.inherit(
            shared,
            self._held().get(shared),
            timeout_s=_WAIT_S,
            longest_s=LONGEST_S,
            called_off=given_up.is_set,
        )
        try:
            yield lease is not None
        finally:
            if lease is not None:
                lease.give_back()
