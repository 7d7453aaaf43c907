"""Looking at every place where results appear for those that are in no run yet."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from operando.attachments._files import Late
from operando.attachments._write import (
    AlreadyAttachedError,
    AttachmentError,
    SourceFile,
    attach,
    attached_to,
    has_grown,
)
from operando.journal import JournalError, select_runs, summaries
from operando.readers import ReaderError
from operando.runs import Run

STATE = "attachments.json"
UNEXPECTED = "unexpected"
# A result may be begun a little before its run is recorded, or just after its last row.
_AROUND_S = 60.0
# Of the runs begun before a result so many are asked.
_CANDIDATES = 5

Outcome = Literal["attached", "present", "waiting", "unexpected", "unreadable", "older"]
# What is never looked at again while the file's size stays the same.
_SETTLED = {"attached", "present", "older"}
# What is not told a second time to who did not ask.
_TOLD = {"unexpected", "unreadable"}


class LateResults(Protocol):
    """A place where results of one instrument appear."""

    instrument: str
    address: str
    clock_offset_s: float

    def keys(self) -> Mapping[str, int]:
        """Return the complete results there are, name -> size or 0.

        Raises AttachmentError if the place cannot be looked at.
        """
        ...

    def fetch(self, key: str) -> Late:
        """Return one of them; raises ReaderError or AttachmentError if it cannot be read."""
        ...


@dataclass(frozen=True)
class Collected:
    """What became of one result.

    Attributes:
        instrument: Whose.
        name: Its name.
        outcome: ``attached``; ``present``: it is among the rows of its run already; ``waiting``:
            its run goes on; ``unexpected``: it belongs to no run of this folder, and is kept;
            ``unreadable``; ``older``: it was begun before the first run of this folder.
        uid: The run it belongs to; empty if it belongs to none.
        reason: Why, in a sentence, and in place of what; empty where that is plain.
    """

    instrument: str
    name: str
    outcome: Outcome
    uid: str = ""
    reason: str = ""


def collect(
    data_dir: Path | str, places: Sequence[LateResults], *, again: bool = True
) -> tuple[list[Collected], list[str]]:
    """Attach every result that belongs to a run that has ended and is not among its rows.

    What was settled before is not read again. A result that nobody expected is copied to
    ``state/unexpected`` and told each time until its run is there.

    Args:
        data_dir: The data folder.
        places: Where results appear.
        again: Whether to look again at what nobody expected, or nobody could read, before.

    Returns:
        What became of each result that is new or not settled, and what could not be looked at, in
        sentences.
    """
    data_dir = Path(data_dir).expanduser().resolve()
    state = _State(data_dir)
    found: list[Collected] = []
    troubles: list[str] = []
    runs: dict[str, Run] = {}
    for place in places:
        try:
            keys = place.keys()
        except AttachmentError as error:
            troubles.append(str(error))
            continue
        for key, size in keys.items():
            if state.settled(place, key, size, again=again):
                continue
            one = _collected(data_dir, place, key, runs, state.attached(place, key))
            state.remember(place, key, size, one)
            found.append(one)
    state.save()
    return found, troubles


def _collected(
    data_dir: Path, place: LateResults, key: str, runs: dict[str, Run], before: str
) -> Collected:
    """Settle one result, of which an earlier form was attached to the run ``before``, if any."""
    try:
        late = place.fetch(key)
    except (ReaderError, AttachmentError) as error:
        return Collected(place.instrument, key, "unreadable", reason=str(error))
    outcome, uid, reason = _belongs(data_dir, place, late, runs)
    untold = not (late.told or {}).get("started")
    if before and uid != before and untold and has_grown(data_dir, before, late.source):
        # When it was last written, which is all that tells its time, is later than it was.
        _run(data_dir, before, runs)
        outcome, uid, reason = "attached", before, ""
    if outcome != "attached":
        if outcome == "unexpected":
            _keep(data_dir, late.source)
        return Collected(place.instrument, key, outcome, uid, reason)
    try:
        parts = late.parts(runs[uid])
        if not parts:
            return Collected(place.instrument, key, "present", uid)
        attached = attach(
            data_dir,
            uid,
            parts,
            late.source,
            kind=late.kind,
            instrument=place.instrument,
            clock_offset_s=place.clock_offset_s,
            told={"told": dict(late.told or {})},
        )
    except AlreadyAttachedError as error:
        return Collected(place.instrument, key, "present", uid, str(error))
    except AttachmentError as error:
        _keep(data_dir, late.source)
        return Collected(place.instrument, key, "unexpected", uid, str(error))
    if late.among_rows:
        runs.pop(uid)  # it has a row more now
    return Collected(place.instrument, key, "attached", uid, _in_place_of(data_dir, uid, attached))


def _in_place_of(data_dir: Path, uid: str, attached: str) -> str:
    all_of_them = attached_to(data_dir, uid, superseded=True)
    (start,) = (one for one in all_of_them if one["uid"] == attached)
    before = start["attachment"].get("supersedes", "")
    return f"it takes the place of {before[:8]}, which held less of it" if before else ""


def _belongs(
    data_dir: Path, place: LateResults, late: Late, runs: dict[str, Run]
) -> tuple[Outcome, str, str]:
    """Return whether a result can be attached, to which run, and else why not."""
    if late.uid:
        told = summaries(data_dir, [late.uid]).get(late.uid)
        if told is None:
            return "unexpected", "", f"it names run {late.uid}, which is not in {data_dir}"
        if told.exit_status in ("running", "unfinished"):
            return "waiting", late.uid, f"run {late.uid[:8]} is {told.exit_status}"
        _run(data_dir, late.uid, runs)
        return "attached", late.uid, ""
    if late.started is None:
        return "unexpected", "", "nothing tells when it was begun"
    candidates = select_runs(
        data_dir,
        "attachment_of = '' AND time <= ?",
        (late.started + _AROUND_S,),
        _CANDIDATES,
    )
    if not candidates:
        return "older", "", "it was begun before the first run here"
    # First the run in which it was begun; then one that it missed by little.
    for around_s in (0.0, _AROUND_S):
        for one in candidates:
            if late.started < one.time - around_s:
                continue
            if one.exit_status == "running":
                return "waiting", one.uid, f"run {one.uid[:8]} goes on"
            run = _run(data_dir, one.uid, runs)
            instruments = (run.start.get("bench") or {}).get("instruments") or {}
            if run.stop is None or place.instrument not in instruments:
                continue
            if late.started <= run.stop["time"] + around_s:
                return "attached", one.uid, ""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(late.started))
    return "unexpected", "", f"it was begun at {when}, in no run with {place.instrument}"


def _run(data_dir: Path, uid: str, runs: dict[str, Run]) -> Run:
    if uid not in runs:
        try:
            runs[uid] = Run.from_journal(uid, data_dir, chain=False)
        except JournalError:
            runs[uid] = Run({}, None, {})
    return runs[uid]


def _keep(data_dir: Path, source: SourceFile) -> None:
    """Copy a file that nobody expected, so that it is not lost with its folder."""
    kept = data_dir / "state" / UNEXPECTED / f"{source.sha256[:12]}-{Path(source.name).name}"
    if not kept.exists():
        source.copy_to(kept)


class _State:
    """What is known of results that were looked at, in ``state/attachments.json``."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "state" / STATE
        self._changed = False
        try:
            told = json.loads(self._path.read_text(encoding="utf-8"))
            self._known: dict[str, dict[str, Any]] = told if isinstance(told, dict) else {}
        except (OSError, ValueError):
            self._known = {}  # it is a memory only: everything is looked at again

    def settled(self, place: LateResults, key: str, size: int, *, again: bool) -> bool:
        known = self._known.get(f"{place.instrument} {place.address}", {}).get(key) or {}
        outcome = known.get("outcome")
        # Where no size tells whether it has changed, what could not be read may be read now.
        told = not again and outcome in _TOLD and (size or outcome != "unreadable")
        return known.get("size") == size and bool(outcome in _SETTLED or told)

    def attached(self, place: LateResults, key: str) -> str:
        """Return the run that a result was attached to when it was looked at last; else nothing."""
        known = self._known.get(f"{place.instrument} {place.address}", {}).get(key) or {}
        return str(known.get("uid") or "") if known.get("outcome") == "attached" else ""

    def remember(self, place: LateResults, key: str, size: int, one: Collected) -> None:
        self._known.setdefault(f"{place.instrument} {place.address}", {})[key] = {
            "size": size,
            "outcome": one.outcome,
            "uid": one.uid,
            "reason": one.reason,
            "time": time.time(),
        }
        self._changed = True

    def save(self) -> None:
        if not self._changed:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        part.write_text(json.dumps(self._known, indent=1), encoding="utf-8")
        part.replace(self._path)
