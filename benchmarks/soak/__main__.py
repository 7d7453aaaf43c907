"""Run a soak: ``python -m benchmarks.soak --stations 9 --items 225 --hours 1000 --faults 10``."""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.soak.faults import Cost, Faults
from benchmarks.soak.operator import Operator, records_of
from benchmarks.soak.world import World, make, use
from operando.queueing import _redis
from operando.queueing.control import Control
from operando.queueing.errors import QueueError
from operando.queueing.ledger import Account, account, told
from operando.queueing.model import ENDED
from operando.queueing.queue import Queue
from operando.queueing.sanitise import pending
from operando.queueing.seen import experiments
from operando.queueing.store import Store

PAGE = Path(__file__).parents[2] / "docs" / "measured" / "soak.md"
_LOOKS_EVERY_S, _COSTS_EVERY_S = 1.0, 5.0
# Nothing has ended for so long: it hangs.
_STUCK_S = 600.0


def main() -> int:
    """Run a soak and print the account; 1 if something does not add up, or something is open."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    folder = Path(options.folder or tempfile.mkdtemp(prefix="soak-", dir="/tmp"))
    if any(folder.glob("*")):
        sys.stderr.write(f"{folder} is not empty\n")
        return 2
    hours, items = options.hours, options.items
    world = make(folder, options.stations, items, hours, options.factor, options.seed)
    use(world)
    say(f"{options.stations} stations x {hours:g} h, {items} items, in {folder}")
    faults = Faults(world, options.seed)
    began = time.monotonic()
    try:
        outcome, report = _run(world, faults, options.faults)
    finally:
        try:
            Control(world.data).stop_all(abort=True, by="soak", say=lambda text: None)
        except QueueError as error:
            say(f"  the stations could not be stopped in order: {error}")
        faults.end_all()
    lasted_s = time.monotonic() - began
    counted = Counter(one.kind for one in faults.done)
    text = told(outcome, items=options.list_items, faults=dict(sorted(counted.items())))
    report += [f"{lasted_s / 60:.1f} min of machine time"]
    say("\n" + text + "\n\n" + "\n".join(report))
    if options.write:
        _write(options, text, report)
    good = not outcome.findings and not outcome.open_items and len(outcome.lines) == items
    if not good:
        say(f"\nThe record stays in {folder}")
        return 1
    if options.folder is None:
        shutil.rmtree(folder)
    return 0


def _run(world: World, faults: Faults, count: int) -> tuple[Account, list[str]]:
    control = Control(world.data)
    control.start(world.stations)
    for station in world.stations:
        shown = control.wait_until_open(station)
        say(f"  {station}: {shown.told}, {world.presets[station]}")
    store = Store(_redis.client(_redis.address(world.data)))
    queue = Queue(world.data)
    began = time.monotonic()
    for station, items in world.items.items():
        for item in items:
            queue.add(item.protocol, item.sample, station, label=item.label, by="soak")
    total = sum(map(len, world.items.values()))
    say(f"  {total} items added, {(time.monotonic() - began) / total * 1e3:.0f} ms each")
    ours, simulators = Cost(), Cost()
    ours.look(faults.processes())
    before_mb = ours.megabytes[0]
    say(f"  before the first cell: {before_mb:.0f} MB in {len(ours.seconds)} processes")
    idle_s, began = ours.total_s, time.monotonic()
    operator = Operator(world, store)
    operator.start()
    looked_at = 0.0
    try:
        for _ in _until_all_ended(world, store, faults, count, total):
            if time.monotonic() - looked_at > _COSTS_EVERY_S:
                looked_at = time.monotonic()
                ours.look(faults.processes())
                simulators.look(faults.processes(simulators=True))
    finally:
        operator.stop()
    lasted_s = time.monotonic() - began
    cores = (ours.total_s - idle_s) / lasted_s
    middle = ours.megabytes[len(ours.megabytes) // 2]
    report = [
        f"{cores:.2f} cores without the simulators, which used {simulators.total_s / lasted_s:.2f}",
        f"Memory of all processes but the simulators: {before_mb:.0f} MB before the first cell, "
        f"{middle:.0f} MB in the middle, {ours.megabytes[-1]:.0f} MB at the end",
        *(f"Fault {one.kind} ({one.station}): {one.told}" for one in faults.done),
        *(f"Operator: {one.partition(' ')[2]}" for one in operator.done),
    ]
    records = records_of(store, world)
    return account(records, experiments(world.data), world.stations), report


def _until_all_ended(
    world: World, store: Store, faults: Faults, count: int, total: int
) -> Iterator[None]:
    """Go on until nothing is open any more, and break something every so many items."""
    every = total / (count + 1) if count else float("inf")
    ended, ended_at = -1, time.monotonic()
    while True:
        yield
        time.sleep(_LOOKS_EVERY_S)
        faults.keep_supervised()
        try:
            records = records_of(store, world)
            waiting = sum(len(pending(store, station)) for station in world.stations)
            running = [x for x in world.stations if _runs(store, x)]
        except QueueError:
            continue  # its Redis is being started again
        now = sum(record.state in ENDED for record in records)
        if now != ended:
            ended, ended_at = now, time.monotonic()
            say(f"  {ended} of {total} ended, {waiting} wait")
        if not waiting and len(records) >= total and ended == len(records):
            return
        if len(faults.done) < count and ended >= every * (len(faults.done) + 1) and running:
            done = faults.next(running)
            say(f"  FAULT {done.kind} ({done.station}): {done.told}")
        if time.monotonic() - ended_at > _STUCK_S:
            say(f"  nothing has ended for {_STUCK_S:.0f} s: it is given up")
            return


def _runs(store: Store, station: str) -> bool:
    state = store.station(station)
    return state is not None and state.state == "running"


def _write(options: argparse.Namespace, text: str, report: list[str]) -> None:
    names = ("stations", "items", "hours", "faults", "factor", "seed")
    told_by = " ".join(f"--{name} {getattr(options, name):g}" for name in names)
    command = f"python -m benchmarks.soak {told_by}"
    head = (
        "# A soak of unattended stations\n\n"
        f"`{command}`: {options.stations} stations of {options.hours:g} h of cell time each, "
        f"{options.items} items, {options.faults} faults, in compressed time and recorded "
        "sparsely. Cells are simulated; everything else is what runs on a bench.\n"
    )
    lines = "\n".join(f"- {one}" for one in report)
    PAGE.write_text(f"{head}\n```\n{text}\n```\n\n{lines}\n", encoding="utf-8")


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    add = parser.add_argument
    add("--stations", type=int, default=9, help="how many; the ninth's cells die (%(default)s)")
    add("--items", type=int, default=225, help="in all (%(default)s)")
    add("--hours", type=float, default=1000.0, help="of cell time per station (%(default)s)")
    add("--faults", type=int, default=10, help="how many, spread over the items (%(default)s)")
    add(
        "--factor", type=float, default=5000.0, help="cell seconds per second at most (%(default)s)"
    )
    add("--seed", type=int, default=1, help="of cells and faults (%(default)s)")
    add("--folder", help="an empty one; by default a new one, which goes if all adds up")
    add("--list-items", action="store_true", help="list each item")
    add("--write", action="store_true", help="also write docs/measured/soak.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
