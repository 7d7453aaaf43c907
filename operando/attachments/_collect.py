"""Looking at every place where results appear for those that are in no run yet."""

import json
import logging
import math
import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from operando.attachments._belonging import (
    Belongs,
    Outcome,
    belonging,
    ended_run,
    within,
)
from operando.attachments._files import Late
from operando.attachments._write import (
    ROWS_BETWEEN,
    WITHDRAWN,
    AlreadyAttachedError,
    AttachmentError,
    SourceFile,
    attach,
    attached_to,
)
from operando.readers import ReaderError
from operando.runs import Run

_log = logging.getLogger(__name__)

STATE = "attachments.json"
UNEXPECTED = "unexpected"

# What is never looked at again while the file and what is declared of it stay the same.
_SETTLED = {"attached", "present", "older"}
# What somebody should know, and is not told a second time to who did not ask.
TOLD = {"unexpected", "unreadable"}


class LateResults(Protocol):
    """A place where results of one instrument appear."""

    instrument: str
    address: str
    clock_offset_s: float
    # All that is declared of how its results are read and placed in time.
    declared: Mapping[str, Any]

    def keys(self, known: Mapping[str, object] | None = None) -> Mapping[str, int | str]:
        """Return the complete results there are, name -> what changes with the content, or 0.

        ``known`` is what it returned when they were looked at before. Raises AttachmentError if
        the place cannot be looked at.
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

    What was settled before is not read again, unless it was written again or what is declared of
    its instrument was corrected: then all of its results are placed anew, as if none had been, and
    one that is of no injection any more is withdrawn. A result that nobody expected is copied to
    ``state/unexpected`` and told each time until its run is there. One that goes wrong keeps no
    other from its run.

    Args:
        data_dir: The data folder.
        places: Where results appear.
        again: Whether to look again at what nobody expected, or nobody could read, before.

    Returns:
        What became of each result that is new or not settled, and what could not be looked at, in
        sentences. A table that several runs have rows of is told once for each.
    """
    data_dir = Path(data_dir).expanduser().resolve()
    state = _State(data_dir)
    found: list[Collected] = []
    troubles: list[str] = []
    runs: dict[str, Run] = {}
    try:
        for place in places:
            try:
                keys = place.keys(state.known(place))
            except AttachmentError as error:
                troubles.append(str(error))
                continue
            except Exception as error:
                _log.exception("%s: its place could not be looked at", place.instrument)
                troubles.append(f"{place.instrument}: {error!r}")
                continue
            for key, stamp in keys.items():
                if state.settled(place, key, stamp, again=again):
                    continue
                try:
                    told = _collected(data_dir, place, key, keys, runs, state.attached(place, key))
                    state.remember(place, key, stamp, told)
                except Exception as error:
                    # The next may be better, and this one is tried again.
                    _log.exception("%s: %s", place.instrument, key)
                    told = [Collected(place.instrument, key, "unreadable", reason=repr(error))]
                found += told
    finally:
        state.save()
    return found, troubles


def _collected(
    data_dir: Path,
    place: LateResults,
    key: str,
    keys: Collection[str],
    runs: dict[str, Run],
    before: Sequence[str],
) -> list[Collected]:
    """Settle one result of ``keys``; an earlier form of it was attached to ``before``, if any."""
    try:
        late = place.fetch(key)
    except (ReaderError, AttachmentError) as error:
        return [Collected(place.instrument, key, "unreadable", reason=str(error))]
    belongs = belonging(data_dir, place.instrument, late, runs)
    earlier = [
        one
        for run in before
        for one in attached_to(data_dir, run)
        if one["attachment_of"] == run
        and _is_of(place, one["attachment"])
        and WITHDRAWN not in one["attachment"]
    ]
    whole = [one for one in earlier if late.source.continues(one["attachment"]["source"])]
    untold = not (late.told or {}).get("started")
    if whole and untold and whole[0]["attachment_of"] not in {one.uid for one in belongs}:
        # When it was last written, which is all that tells its time, is later than it was.
        ended_run(data_dir, whole[0]["attachment_of"], runs)
        belongs = [Belongs("attached", whole[0]["attachment_of"])]
    wanted = {one.uid for one in belongs}
    stale = [
        one
        for one in earlier
        if one["attachment"]["source"]["sha256"] == late.source.sha256
        and one["attachment_of"] not in wanted
    ]
    told = []
    for one in belongs:
        if one.outcome == "unexpected":
            _keep(data_dir, late.source)
        if one.outcome != "attached":
            told.append(Collected(place.instrument, key, one.outcome, one.uid, one.reason))
            continue
        if _has_them_all(place, late, one, earlier):
            told.append(Collected(place.instrument, key, "present", one.uid))
            continue
        if late.among_rows:
            run = _without_misplaced(data_dir, place, keys, one.uid, runs)
        else:
            run = runs[one.uid]
        told.append(_attached(data_dir, place, key, late, one, run, stale))
        if told[-1].outcome in ("unexpected", "present"):
            # Also where the run's own row has it: what stands elsewhere is a second one.
            stale += [
                each
                for each in earlier
                if late.among_rows
                and each["attachment_of"] == one.uid
                and each["attachment"]["source"]["sha256"] == late.source.sha256
                and _is_misplaced(place, each["attachment"])
            ]
        if late.among_rows and told[-1].outcome == "attached":
            runs.pop(one.uid, None)  # it has a row more now
    if stale and late.among_rows:
        names = ", ".join(each["attachment_of"][:8] for each in stale)
        for each in stale:
            _withdraw(data_dir, place, late, each)
            runs.pop(each["attachment_of"], None)
        reason = "; ".join(filter(None, (told[0].reason, f"it is no row of run {names} any more")))
        told[0] = replace(told[0], reason=reason)
    elif stale:
        names = ", ".join(f"{one['attachment_of'][:8]} (as {one['uid'][:8]})" for one in stale)
        reason = "; ".join(filter(None, (told[0].reason, f"it is still attached to run {names}")))
        told[0] = replace(told[0], reason=reason)
    return told


def _is_of(place: LateResults, attachment: Mapping[str, Any]) -> bool:
    """Return whether a place's results were attached so, by nobody's hand."""
    return attachment["instrument"] == place.instrument and not attachment.get("by_hand")


def _is_misplaced(place: LateResults, attachment: Mapping[str, Any]) -> bool:
    """Return whether something else was declared when it was attached, as far as it tells."""
    return attachment.get("declared") not in (None, dict(place.declared))


def _without_misplaced(
    data_dir: Path, place: LateResults, keys: Collection[str], uid: str, runs: Mapping[str, Run]
) -> Run:
    """Return a run without rows that will be placed anew, for what is declared was corrected.

    Else each result would find its injection taken by one that was placed wrongly.
    """
    misplaced = [
        str(one["uid"])
        for one in attached_to(data_dir, uid)
        if one["attachment_of"] == uid
        and _is_of(place, one["attachment"])
        and _is_misplaced(place, one["attachment"])
        and one["attachment"]["source"]["name"] in keys
    ]
    return (
        Run.from_journal(uid, data_dir, chain=False, without=misplaced) if misplaced else runs[uid]
    )


def _withdraw(data_dir: Path, place: LateResults, late: Late, attached: Mapping[str, Any]) -> None:
    """Attach no rows in place of some that are none of that run; the record keeps both."""
    attach(
        data_dir,
        str(attached["attachment_of"]),
        [],
        late.source,
        kind=late.kind,
        instrument=place.instrument,
        clock_offset_s=place.clock_offset_s,
        told={
            "told": dict(late.told or {}),
            "declared": dict(place.declared),
            WITHDRAWN: True,
        },
        by_hand=False,
        instead_of=str(attached["uid"]),
    )


def _has_them_all(
    place: LateResults, late: Late, one: Belongs, earlier: Sequence[Mapping[str, Any]]
) -> bool:
    """Return whether a run has its rows of a table that has since gone on behind them."""
    if one.between is None or one.between[1] == math.inf:
        return False
    attachments = [each["attachment"] for each in earlier if each["attachment_of"] == one.uid]
    return any(
        each.get(ROWS_BETWEEN) == _told(one.between)
        and each.get("declared") == dict(place.declared)
        and late.source.continues(each["source"])
        for each in attachments
    )


def _told(between: tuple[float, float]) -> list[float | None]:
    return [moment if math.isfinite(moment) else None for moment in between]


def _attached(
    data_dir: Path,
    place: LateResults,
    key: str,
    late: Late,
    one: Belongs,
    run: Run,
    stale: list[dict[str, Any]],
) -> Collected:
    """Attach a result to one run; it takes the place of the first that is ``stale``, if any."""
    try:
        parts = within(late.parts(run), one.between)
        if not parts:
            return Collected(place.instrument, key, "present", one.uid)
        told: dict[str, Any] = {"told": dict(late.told or {}), "declared": dict(place.declared)}
        if one.between is not None:
            told[ROWS_BETWEEN] = _told(one.between)
        instead_of = str(stale[0]["uid"]) if stale else ""
        uid = attach(
            data_dir,
            one.uid,
            parts,
            late.source,
            kind=late.kind,
            instrument=place.instrument,
            clock_offset_s=place.clock_offset_s,
            told=told,
            by_hand=False,
            instead_of=instead_of,
        )
    except AlreadyAttachedError as error:
        return Collected(place.instrument, key, "present", one.uid, str(error))
    except AttachmentError as error:
        _keep(data_dir, late.source)
        return Collected(place.instrument, key, "unexpected", one.uid, str(error))
    if instead_of:
        stale.pop(0)
    reasons = [one.reason, _in_place_of(data_dir, one.uid, uid, late.source)]
    return Collected(place.instrument, key, "attached", one.uid, "; ".join(filter(None, reasons)))


def _in_place_of(data_dir: Path, uid: str, attached: str, source: SourceFile) -> str:
    told = {str(one["uid"]): one for one in attached_to(data_dir, uid, superseded=True)}
    before = told[attached]["attachment"].get("supersedes", "") if attached in told else ""
    if not before:
        return ""
    held = told.get(before, {}).get("attachment", {}).get("source", {})
    why = "was placed or read in another way" if held.get("sha256") in (
        source.sha256, None) else "held less of it"  # fmt: skip
    return f"it takes the place of {before[:8]}, which {why}"


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

    def known(self, place: LateResults) -> dict[str, object]:
        """Return what results were when they were looked at last."""
        return {key: one.get("size") for key, one in self._of(place).items()}

    def settled(self, place: LateResults, key: str, stamp: int | str, *, again: bool) -> bool:
        known = self._of(place).get(key) or {}
        outcome = known.get("outcome")
        # Where nothing tells whether it has changed, what could not be read may be read now.
        told = not again and outcome in TOLD and (stamp or outcome != "unreadable")
        alike = known.get("declared") in (None, dict(place.declared))
        return alike and known.get("size") == stamp and bool(outcome in _SETTLED or told)

    def attached(self, place: LateResults, key: str) -> list[str]:
        """Return the runs that a result was attached to when it was looked at last."""
        known = self._of(place).get(key) or {}
        only = [known["uid"]] if known.get("outcome") == "attached" and known.get("uid") else []
        return [str(uid) for uid in known.get("attached_to", only)]

    def remember(
        self, place: LateResults, key: str, stamp: int | str, told: Sequence[Collected]
    ) -> None:
        # What is not settled yet counts most.
        first = min(told, key=lambda one: one.outcome in _SETTLED)
        runs = {one.uid for one in told if one.outcome in ("attached", "present")}
        runs |= {uid for uid in self.attached(place, key) if first.outcome not in _SETTLED}
        self._of(place)[key] = {
            "size": stamp,
            "declared": dict(place.declared),
            "outcome": first.outcome,
            "uid": first.uid,
            "attached_to": sorted(runs),
            "reason": first.reason,
            "time": time.time(),
        }
        self._changed = True

    def _of(self, place: LateResults) -> dict[str, Any]:
        found: dict[str, Any] = self._known.setdefault(f"{place.instrument} {place.address}", {})
        return found

    def save(self) -> None:
        if not self._changed:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        part.write_text(json.dumps(self._known, indent=1), encoding="utf-8")
        part.replace(self._path)
