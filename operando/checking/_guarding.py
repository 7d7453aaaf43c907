"""The guard of a bench while it is checked: where there is an interlock it holds that closed."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from instruments.bench import Bench
from operando.checking._report import Item, failed
from operando.guard import Guard, GuardError, let_go_on, settle, take_back, wanted

_WHAT = "guard"


def guard_item(state: Mapping[str, Any] | None) -> Item:
    """Return what a guard tells of itself as an item.

    Args:
        state: ``pid``, whether it is ``ready``, why it ``ended``; ``None``: there is none to ask.
    """
    if state is None:
        return Item("guard", "not checked", "none watches: it starts with a session")
    if state.get("ended"):
        return Item(
            "guard",
            "failed",
            f"it has ended: {state['ended']}",
            "connect the bench anew; without it nobody acts when this program dies",
        )
    if not state.get("ready"):
        return Item("guard", "warning", "it does not watch yet", "wait a second and check again")
    return Item("guard", "ok", f"watches (process {state.get('pid')})")


class Guarding:
    """What became of the guard of a check; ``item`` tells it when it has been asked to `wait`.

    Attributes:
        unsafe: what a guard of a dead owner had not made safe yet, by name.
    """

    def __init__(self, guard: Guard | None, item: Item) -> None:
        self._guard = guard
        self.item = item
        self.unsafe: frozenset[str] = frozenset()

    def wait(self, *, cell_open: bool) -> None:
        """Wait until it watches, or has told why it cannot; see `Guard.wait`."""
        guard = self._guard
        if guard is None:
            return
        try:
            guard.wait(cell_open=cell_open)
        except GuardError as error:
            self.item = failed(_WHAT, error, "without it nobody acts when this program dies")
        else:
            self.item = guard_item(guard.state())

    def now(self) -> Item:
        """Return how it is now: it may have ended since."""
        if self._guard is None or self.item.status == "failed":
            return self.item
        return guard_item(self._guard.state())


@contextmanager
def guarding(bench: Bench, data_dir: Path) -> Iterator[Guarding]:
    """Have a guard of a dead owner let the bench go, and one of our own watch over it meanwhile."""
    taken = take_back(bench.file, data_dir)
    try:
        with contextmanager(_guarding)(bench, data_dir) as guard:
            guard.unsafe = frozenset(name for one in taken for name in one.unsafe)
            yield guard
    finally:
        safe = [x for x in taken if bench.left_safe.issuperset(x.unsafe)]
        strange = settle(safe, bench.marks())
        let_go_on(x for x in taken if x in strange or x not in safe)


def _guarding(bench: Bench, data_dir: Path) -> Iterator[Guarding]:
    try:
        watched = wanted()
    except GuardError as error:
        yield Guarding(None, failed(_WHAT, error))
        return
    if not watched:
        held = [name for name, x in bench.file.instruments.items() if x.kind == "interlock"]
        if held:
            told = f"OPERANDO_GUARD is off, and nobody holds the interlock {held[0]} closed"
            yield Guarding(None, Item(_WHAT, "failed", told, "unset OPERANDO_GUARD"))
            return
        yield Guarding(None, Item(_WHAT, "not checked", "OPERANDO_GUARD is off"))
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="check-loop", daemon=True)
    thread.start()
    guard = Guard(bench.file, data_dir, loop, lambda why: None, bench.answered_for)
    try:
        try:
            guard.start()
        except (GuardError, OSError) as error:
            yield Guarding(None, failed(_WHAT, error))
            return
        yield Guarding(guard, guard_item(guard.state()))
    finally:
        guard.close(bench.unsafe)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5.0)
        loop.close()
