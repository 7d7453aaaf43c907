"""What is done when a worker died or hung: the cell first, then the item."""

import contextlib
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from operando.queueing.errors import QueueError
from operando.queueing.model import Attempt, Record
from techniques import StationEntry
from techniques.queueing import OnDeath

from ._ends import ended_early
from ._files import DISK_S, HUNG_S, StationFiles
from ._journal import LastRun
from ._processes import Process
from ._simulators import environment_of

_log = logging.getLogger(__name__)

GUARD_ACTS_WITHIN_S = 10.0
_SAFE_WITHIN_S = 120.0
_LOOK_S = 0.1
_TAIL_BYTES = 1_000_000
# So many deaths of one item in an hour, and somebody has to look at it.
DEATHS_AT_MOST, WITHIN_S = 3, 3600.0
LOOK_FIRST = "look first"
_LEADER = "potentiostat"
# The attempt after which an item is held until the mains are back.
MAINS = "mains"


class NotEndedError(QueueError):
    """A worker lives on although it was killed; the message says what to do."""


def noticed(files: StationFiles, worker: Process | None) -> str:
    """Return what is wrong with a worker, in words; empty: it lives, or there is none."""
    if worker is None:
        return ""
    if not worker.alive:
        return f"the worker (process {worker.pid}) has died"
    silent_s = files.silent_s()
    if silent_s <= HUNG_S or (silent_s <= DISK_S and files.waits_for_disk(worker)):
        return ""
    return f"the worker (process {worker.pid}) has not beaten for {silent_s:.1f} s"


def secure(
    data_dir: Path, entry: StationEntry, folder: Path, worker: Process, run: LastRun | None
) -> str:
    """See to it that the worker has ended and the bench is safe; return who did what, in words.

    The session's guard does it by itself; where it does not, or there is none any more, it is done
    here. Blocks for some seconds, at an instrument that does not answer for two minutes. Where
    nobody confirmed that the bench is safe, the words have a ``NOT``.

    Raises:
        NotEndedError: The worker cannot be ended, so it may still drive: open none beside it.
    """
    told, acts = _guards_word(data_dir, worker, run)
    ended = worker.kill()
    done = told if acts else f"{told}; {make_safe(data_dir, entry, folder)}"
    if not ended:
        raise NotEndedError(
            f"the worker (process {worker.pid}) cannot be ended: it waits for a device or a disk; "
            f"{done}. Nothing is opened beside it: look at its cables, or start the computer anew"
        )
    return done


def _guards_word(data_dir: Path, worker: Process, run: LastRun | None) -> tuple[str, bool]:
    """Wait until a guard of this worker has acted; return what it tells, in words.

    And whether the bench is to be left to it: it has confirmed that all is safe, or it goes on.
    """
    from operando.guard import GuardError
    from operando.guard._places import announced

    give_up = time.monotonic() + GUARD_ACTS_WITHIN_S
    since, guards = time.time() - GUARD_ACTS_WITHIN_S, set[int]()
    noted = (run.stop or {}).get("guard") if run is not None else None
    noted = noted if isinstance(noted, Mapping) else {}
    unsafe = noted.get("not_safe", ())
    of_run = dict.fromkeys(unsafe, ("not confirmed", False))
    of_run |= {x: (str(y), x not in unsafe) for x, y in dict(noted.get("instruments", {})).items()}
    while True:
        found = dict(of_run)
        there = set[int]()
        with contextlib.suppress(GuardError):
            there = {int(x["pid"]) for x in announced(data_dir) if x.get("owner") == worker.pid}
        guards |= there
        for line in _guards_log(data_dir):
            if "instrument" not in line:
                continue
            mine = run is not None and line.get("run") == run.uid
            if mine or (line.get("guard") in guards and float(line.get("time", 0.0)) >= since):
                became = str(line.get("became") or "nothing is told of it")
                found[str(line["instrument"])] = became, line.get("safe") is True
        if not there or time.monotonic() > give_up:
            break
        time.sleep(_LOOK_S)
    if not found and noted == {}:
        return _sessions_word(run) or "no guard acted", False
    told = "; ".join(f"{name}: {became}" for name, (became, _) in sorted(found.items()))
    if there:
        return f"NOT KNOWN TO BE SAFE, its guard is at it ({told})", True
    # Of an instrument that it was still trying when it went it may have said nothing.
    if _LEADER in found and all(safe for _, safe in found.values()):
        return f"its guard acted ({told})", True
    return f"its guard has left ({told or 'it tells nothing'})", False


def _sessions_word(run: LastRun | None) -> str:
    """Return what the session itself has done for the cell, in words; empty: that is not known."""
    state = ((run.stop if run is not None else None) or {}).get("end_state")
    opened = isinstance(state, Mapping) and state.get("cell") == "open"
    return "its session had opened the cell" if opened else ""


def _guards_log(data_dir: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with open(data_dir / "state" / "guard.jsonl", "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            if isinstance(told, dict):
                yield told


def make_safe(data_dir: Path, entry: StationEntry, folder: Path) -> str:
    """Make the bench safe as ``operando safe`` does, in a process of its own."""
    environment = environment_of(folder, entry) | {"OPERANDO_DATA": str(data_dir)}
    line = [sys.executable, "-m", "operando", "safe", "--bench", entry.bench]
    try:
        done = subprocess.run(
            line,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SAFE_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"NOT KNOWN TO BE SAFE: the bench did not answer within {_SAFE_WITHIN_S:g} s"
    if done.returncode == 0:
        return "the supervisor made the bench safe"
    return f"NOT SAFE: {(done.stderr or done.stdout).strip()}"


def decided(
    record: Record,
    what: str,
    run: LastRun | None,
    *,
    policy: OnDeath,
    look_first: bool,
    now: float,
    mains: str = "",
) -> Record:
    """Return what becomes of an item whose worker died or hung in it.

    Args:
        record: The item; its last attempt is the one that was lost.
        what: What happened, in words.
        run: The last run of the item; ``None``: none had begun, and nothing was driven.
        policy: What was declared for this: resume, skip or hold.
        look_first: Whether the cell was without its instrument, and is looked at before it goes on.
        now: The time, s of the epoch.
        mains: Why nothing goes on before the mains are back; empty: they are there.
    """
    waits = bool(mains) and policy == "resume"
    lost = record.attempts[-1].model_copy(
        update={
            "ended": now,
            "exit_status": MAINS if waits else "lost",
            "reason": what,
            "run_uid": None if run is None else run.uid,
        }
    )
    attempts = (*record.attempts[:-1], lost)
    record = record.model_copy(update={"attempts": attempts})
    if run is not None and not run.interrupted:
        return _as_recorded(record, run, now)
    recent = [x for x in attempts if x.exit_status == "lost" and now - (x.ended or now) < WITHIN_S]
    if len(recent) > DEATHS_AT_MOST:
        why = f"{what}; that was the {len(recent)}th time within an hour"
        return record.model_copy(update={"state": "held", "reason": why})
    if policy == "hold":
        return record.model_copy(update={"state": "held", "reason": f"{what}; it was to be held"})
    if policy == "skip":
        why = f"{what}; it was to be skipped"
        return record.model_copy(update={"state": "skipped", "reason": why, "ended": now})
    if waits:
        why = what if what.startswith(mains) else f"{mains}; {what}"
        return record.model_copy(update={"state": "held", "reason": why})
    return again(record, run, now=now, look_first=look_first)


def again(
    record: Record,
    run: LastRun | None,
    *,
    now: float,
    look_first: bool = False,
    decisions: Mapping[str, Any] | None = None,
) -> Record:
    """Return an item that is to go on, or to begin where nothing of it had begun."""
    attempt = Attempt(
        kind="run" if run is None else "resume",
        began=now,
        reason=LOOK_FIRST if look_first else "",
        decisions=dict(decisions or {}),
    )
    return record.model_copy(
        update={"state": "starting", "reason": "", "attempts": (*record.attempts, attempt)}
    )


def _as_recorded(record: Record, run: LastRun, now: float) -> Record:
    """Return an item whose run had ended before its worker did."""
    resumed = any(one.kind == "resume" for one in record.attempts)
    early = bool((run.stop or {}).get("stopped") or ended_early(run.stop or {}))
    as_planned = "stopped" if early else "resumed" if resumed else "done"
    states = {"success": as_planned, "abort": "stopped"}
    lost = record.attempts[-1].model_copy(
        update={"exit_status": run.exit_status, "reason": run.reason}
    )
    return record.model_copy(
        update={
            "attempts": (*record.attempts[:-1], lost),
            # Going on was refused, nothing was driven: somebody has to decide.
            "state": "held" if run.refused else states.get(run.exit_status, "failed"),
            "reason": run.reason,
            "ended": None if run.refused else now,
        }
    )
