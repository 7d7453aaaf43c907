"""What is fuzzed, how it is judged, and what came of it."""

import gc
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.fuzz.mutations import damaged

# A frame that takes longer hangs: all of them are short, and computers busy.
LONGEST_S = 15.0
# What a long run may hold more than a short one: caches, and what the allocator keeps.
_GROWTH_BYTES = 24 << 20
_FEW = 12


class Frame(NamedTuple):
    """What is read: ``of`` says which answer or file it is, where there are several."""

    of: str
    data: bytes


class Hang(BaseException):
    """A frame was not read in time."""


@dataclass(frozen=True)
class Target:
    """A reader of frames.

    Attributes:
        name: what it is called on the command line.
        what: what it reads, for the table.
        frames: whole frames, each of which must be accepted.
        read: reads one; what it cannot, it must refuse with one of ``refusals``.
        wrong: says why a value is none that the frame tells; empty if it is one.
        refusals: the errors of ours that are the right ones.
        seal: makes checksums and lengths right again, so that damage gets further; half of the
            frames are sealed. ``None``: the language has none.
    """

    name: str
    what: str
    frames: Sequence[Frame]
    read: Callable[[Frame], Any]
    wrong: Callable[[Frame, Any], str]
    refusals: tuple[type[Exception], ...]
    seal: Callable[[bytes], bytes] | None = None


@dataclass
class Found:
    """What came of a target's frames, numbered from ``begun`` on.

    Attributes:
        refused: frames refused with the right error.
        accepted: frames accepted as what they say.
        wrong: frames of which a value was taken that they do not tell.
        others: other exceptions.
        hangs: frames that took too long.
        leaks: what was not given back.
        examples: some of what was wrong, in words and bytes.
        took_s: how long it took.
    """

    frames: int = 0
    refused: int = 0
    accepted: int = 0
    wrong: int = 0
    others: int = 0
    hangs: int = 0
    leaks: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    took_s: float = 0.0

    def add(self, more: "Found") -> None:
        """Add what came of other frames of the same target."""
        for key in ("frames", "refused", "accepted", "wrong", "others", "hangs", "took_s"):
            setattr(self, key, getattr(self, key) + getattr(more, key))
        self.leaks += more.leaks
        self.examples += more.examples

    @property
    def held(self) -> bool:
        """Return whether all was as it has to be."""
        return not (self.wrong or self.others or self.hangs or self.leaks)


def frame_of(target: Target, seed: int, number: int) -> Frame:
    """Return the damaged frame of a number; the same for the same seed."""
    chance = random.Random(f"{seed}/{target.name}/{number}")
    frame = chance.choice(target.frames)
    data = damaged(frame.data, [other.data for other in target.frames], chance)
    if target.seal is not None and chance.random() < 0.5:
        data = target.seal(data)
    return Frame(frame.of, data)


def verdict(target: Target, frame: Frame) -> str:
    """Read a frame; return ``refused``, ``accepted``, or what is wrong with what came of it."""
    try:
        with _bounded():
            value = target.read(frame)
    except target.refusals:
        return "refused"
    except Hang:
        return f"hang: longer than {LONGEST_S:g} s"
    except Exception as error:  # what must not come
        return f"other: {_told(error)}"
    wrong = target.wrong(frame, value)
    return f"wrong: {wrong}" if wrong else "accepted"


def fuzz(
    target: Target,
    seed: int,
    numbers: range,
    told: Callable[[int, Found], None] = lambda number, found: None,
) -> Found:
    """Return what comes of the frames of these numbers.

    ``told`` hears each number before its frame is read, and what was found in those before.
    """
    found = Found()
    for frame in target.frames:
        if (came := verdict(target, frame)) != "accepted":
            raise ValueError(
                f"{target.name}: a whole frame is not accepted: {came}: {frame!r:.400}"
            )
    began = time.monotonic()
    kinds: Counter[str] = Counter()
    before = (0, 0, 0)
    settled = numbers.start + len(numbers) // 3
    for number in numbers:
        found.took_s = time.monotonic() - began
        told(number, found)
        if number == settled:
            before = _held()
        frame = frame_of(target, seed, number)
        came = verdict(target, frame)
        found.frames += 1
        kind = came.partition(":")[0]
        match kind:
            case "refused":
                found.refused += 1
            case "accepted":
                found.accepted += 1
            case "wrong":
                found.wrong += 1
            case "other":
                found.others += 1
            case _:
                found.hangs += 1
        if kind not in ("refused", "accepted"):
            kinds[came[:80]] += 1
            if kinds[came[:80]] == 1 and len(found.examples) < _FEW:
                found.examples.append(f"{number}: {came}: {frame!r:.600}")
    if len(numbers) > 100:
        found.leaks = _leaks(before, _held())
    found.took_s = time.monotonic() - began
    return found


@contextmanager
def _bounded() -> Iterator[None]:
    """Raise Hang in what takes too long; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def hang(number: int, frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, hang)
    timer = signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)  # of whoever waits for a test


def _told(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__} at {where}: {error!s:.120}"


def _held() -> tuple[int, int, int]:
    """Return bytes of memory, open files and threads."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return (
        pages * os.sysconf("SC_PAGE_SIZE"),
        len(os.listdir("/proc/self/fd")),
        len(threading.enumerate()),
    )


def _leaks(before: tuple[int, int, int], after: tuple[int, int, int]) -> list[str]:
    leaks = []
    if after[0] - before[0] > _GROWTH_BYTES:
        leaks.append(f"{(after[0] - before[0]) / 1e6:.0f} MB of memory")
    for name, one, other in zip(("files", "threads"), before[1:], after[1:], strict=True):
        if other > one:
            leaks.append(f"{other - one} {name}")
    return leaks
