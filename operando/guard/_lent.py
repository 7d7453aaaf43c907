"""The owner's side of shared instruments: each loan is told to the guard before it is used."""

import threading
from collections.abc import Callable, Collection
from typing import Any

from instruments.lending import LONGEST_S, Lease, Lender

from ._loans import told_of


class Lent:
    """Lends what another lender lends, and knows which loans there are.

    Args:
        lender: who lends.
        unsafe: tells whether something of a shared instrument was not left safe, by its name.

    Attributes:
        names: of the instruments that are lent for each use.
        loans: numbers of the loans there are, by what they are of; also of what was given back
            without being left safe.
        changed: called when that has changed, before the instrument is used.
    """

    def __init__(self, lender: Lender, unsafe: Callable[[str], bool]) -> None:
        self.names: Collection[str] = ()
        self.loans: dict[str, int] = {}
        self.changed: Callable[[], None] = lambda: None
        self._lender = lender
        self._unsafe = unsafe
        self._lock = threading.Lock()

    @property
    def told(self) -> dict[str, Any]:
        """Return what a guard is told at its start."""
        return {"lender": told_of(self._lender), "lent": sorted(self.names)}

    def borrow(
        self,
        name: str,
        *,
        timeout_s: float,
        longest_s: float = LONGEST_S,
        called_off: Callable[[], bool] = lambda: False,
    ) -> Lease:
        """As `instruments.lending.Lender`."""
        lease = self._lender.borrow(
            name, timeout_s=timeout_s, longest_s=longest_s, called_off=called_off
        )
        self._change(name, lease.number)
        return _ToldLease(lease, lambda: self._given_back(name, lease.number))

    def _given_back(self, name: str, number: int) -> None:
        if self.loans.get(name) == number and not self._unsafe(name):
            self._change(name, None)

    def _change(self, name: str, number: int | None) -> None:
        with self._lock:
            others = {x: n for x, n in self.loans.items() if x != name}
            self.loans = others if number is None else {**others, name: number}
        self.changed()


class _ToldLease:
    def __init__(self, lease: Lease, over: Callable[[], None]) -> None:
        self._lease = lease
        self._over = over
        self.number = lease.number
        self.waited_s = lease.waited_s

    def held(self) -> bool:
        return self._lease.held()

    def give_back(self) -> bool:
        ours = self._lease.give_back()
        self._over()
        return ours
