"""What the runs of a data folder show of the items of queues, for their account."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from operando.analysis.endings import PlannedHalfCycles
from operando.analysis.segments import PLATE, STRIP, HalfCycle, recorded_half_cycles
from operando.configuration import load_stations
from operando.journal import JournalError, chain_of, start_documents
from operando.queueing._redis import address, client
from operando.queueing.ledger import Account, ExperimentSeen, HalfSeen, account
from operando.queueing.store import Store
from operando.runs import Run
from techniques import Cell

_LEADER = "potentiostat"
_LOOK = "look_at_cell"
# What was asked of a run while it went on.
_REQUESTS = "requests"


def experiments(data_dir: Path) -> Iterator[ExperimentSeen]:
    """Yield the experiments that items of queues began, the oldest first.

    Runs without an item are nobody's of a queue, and looks at a cell are no experiment.
    """
    starts: dict[str, Mapping[str, Any]] = {}
    roots: dict[str, list[str]] = {}
    for summary, start in start_documents(data_dir, "attachment_of = ''"):
        if isinstance(start.get("queue"), Mapping) and start["queue"].get("item"):
            starts[summary.uid] = start
            roots.setdefault(summary.root, []).append(summary.uid)
    for uids in reversed(roots.values()):
        uids.reverse()  # the oldest first
        left = list(uids)
        while left:
            chain = chain_of(data_dir, left[0])
            own = tuple(uid for uid in chain if uid in left)
            left = [uid for uid in left if uid not in own]
            if starts[own[0]].get("plan_name") != _LOOK:
                yield _experiment(data_dir, own, starts[own[0]])


def _experiment(data_dir: Path, runs: tuple[str, ...], start: Mapping[str, Any]) -> ExperimentSeen:
    queue: Mapping[str, Any] = start["queue"]
    sample: Mapping[str, Any] = start.get("sample") or {}
    told: dict[str, Any] = {
        "item": str(queue["item"]),
        "station": str(queue.get("station", "")),
        "cell_id": str(sample.get("cell_id", "")),
        "runs": runs,
    }
    try:
        run = Run.from_journal(runs[-1], data_dir)
        return _seen(run, sample, told)
    except (JournalError, LookupError, OSError, ValueError) as error:
        return ExperimentSeen(**told, trouble=str(error))


def _seen(run: Run, sample: Mapping[str, Any], told: Mapping[str, Any]) -> ExperimentSeen:
    stop = run.stop or {}
    halves: tuple[HalfCycle, ...] = ()
    if _LEADER in run.streams and len(run.streams[_LEADER]):
        cell = Cell.model_validate(sample)
        halves = recorded_half_cycles(
            run, area_cm2=cell.area_cm2, metal_electrode=cell.metal_electrode
        )
    planned = PlannedHalfCycles(run.start.get("technique"), run.changes)
    skipped = _asked(run, "skip_step") | set(run.skipped)
    ran_in = _runs_of(run)
    waited = run.streams.get("leases")
    return ExperimentSeen(
        **told,
        exit_status=str(stop.get("exit_status", "")),
        halves=tuple(
            HalfSeen(
                number=half.number,
                role=half.role,
                whole=half.ended,
                runs=ran_in.get(half.number, ()),
                charge_mah_cm2=half.capacity_mah_cm2,
                most_mah_cm2=planned.most_charge_mah_cm2(half.number),
                unrecorded_mah_cm2=half.unrecorded_mah_cm2,
                skipped=half.number in skipped,
            )
            for half in halves
        ),
        planned=_ended_by_a_change(run, stop) or planned.count,
        ended_early=bool(stop.get("end_of_life") or _asked(run, "stop"))
        or _ended_by_rule(run)
        or bool(halves and halves[-1].ended_by == "guard"),
        waited_s=0.0 if waited is None else float(np.nansum(waited.columns["leases_waited"])),
        missed=0
        if waited is None
        else int(np.count_nonzero(waited.columns["leases_outcome"] != "used")),
    )


def _runs_of(run: Run) -> dict[int, tuple[str, ...]]:
    """Return by half-cycle the runs that have rows of it."""
    stream = run.streams.get(_LEADER)
    if stream is None:
        return {}
    number = stream.columns[f"{_LEADER}_half_cycle"]
    role = stream.columns[f"{_LEADER}_role"]
    begins = [*(stream.begins or (0,)), len(stream)]
    found: dict[int, tuple[str, ...]] = {}
    for uid, begin, end in zip(run.chain, begins[:-1], begins[1:], strict=True):
        working = np.isin(role[begin:end], (PLATE, STRIP))
        for one in np.unique(number[begin:end][working]).astype(int).tolist():
            found[one] = (*found.get(one, ()), uid)
    return found


def _ended_by_rule(run: Run) -> bool:
    """Return whether a rule opened the cell before the program was over."""
    rules = run.streams.get("rules")
    if rules is None or not len(rules):
        return False
    return any("open_cell" in str(actions) for actions in rules.columns["rules_actions"])


def _ended_by_a_change(run: Run, stop: Mapping[str, Any]) -> int | None:
    """Return behind which half-cycle a protocol that has no more ended the run; ``None``: none."""
    made = [int(one["half_cycle"]) for one in stop.get("amendments") or ()]
    went_on = {one.half_cycle for one in run.amendments}
    return made[-1] - 1 if made and made[-1] not in went_on else None


def _asked(run: Run, what: str) -> set[int]:
    """Return in which half-cycles something was asked of the run while it went on."""
    stream = run.streams.get(_REQUESTS)
    if stream is None or not len(stream):
        return set()
    columns = stream.columns
    asked = np.asarray([str(one) == what for one in columns["requests_request"]])
    return {int(one) for one in columns["requests_half_cycle"][asked] if np.isfinite(one)}


def account_of(data_dir: Path) -> Account:
    """Return the account of a data folder's queues; raises QueueError if Redis is gone."""
    stations = load_stations()
    store = Store(client(address(data_dir, stations)))
    # Runs first: an item whose run is seen has its record by then.
    seen = list(experiments(data_dir))
    names = [one.name for one in stations.stations]
    records = [
        record
        for name in dict.fromkeys([*names, *store.record_stations()])
        for record in store.records(name)
    ]
    return account(records, seen, names)
