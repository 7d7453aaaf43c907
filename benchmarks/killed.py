"""What is left of a run whose process is killed: each recorder at 100 rows/s, then SIGKILL.

``python -m benchmarks.killed KIND FOLDER ROWS_PER_S NOTES`` is the process to be killed. It notes
how many rows it has handed over; what others can read afterwards is compared with that.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.protocols import StreamAsset
from bluesky.run_engine import RunEngine
from bluesky.utils import MsgGenerator
from bluesky_tiled_plugins import TiledWriter
from event_model import PartialEventPage
from ophyd import Signal

from benchmarks import peers
from benchmarks.flyers import COLUMNS, STREAM, ColumnFlyer, PageFlyer, begun
from benchmarks.recording import embedded_catalog
from benchmarks.table import Row, Section
from instruments._columns import Columns
from operando import page_validation
from operando.journal import JournalWriter, list_runs
from operando.runs import Run

ROWS_PER_S = 100.0
# When each repeat is killed, after the first row [s]: QCoDeS writes every 5 s.
KILLED_AFTER_S = (6.0, 7.5, 9.0)
COLLECT_EVERY_S = 0.1
AT_ONCE = 2  # two cores, and most of a trial is waiting
# What a trial may take on a busy computer; three to ten seconds are usual for each.
FIRST_ROW_WITHIN_S = 60.0
READ_WITHIN_S = 60.0

# Of a folder and a file for notes: what is to be run there.
Command = Callable[[Path, Path], list[str]]


class PacedRows:
    """Rows that have become due since the last time they were asked for."""

    def __init__(self, rows_per_s: float, notes: Path) -> None:
        self._rate = rows_per_s
        self._began = time.time()
        self._taken = 0
        self._notes = os.open(notes, os.O_CREAT | os.O_WRONLY)

    def take(self) -> tuple[range, list[float]]:
        """Return the new rows' numbers and when each became due (epoch s)."""
        due = int((time.time() - self._began) * self._rate)
        rows = range(self._taken, due)
        self._taken = due
        return rows, [self._began + row / self._rate for row in rows]

    def handed_over(self, rows: int | None = None) -> None:
        """Note that so many rows are in the recorder's hands, by default all that were taken."""
        told = self._taken if rows is None else rows
        os.pwrite(self._notes, f"{told:12d}".encode("ascii"), 0)


class PacedPages(PageFlyer):
    """A flyer of paced rows as event pages."""

    def __init__(self, rows: PacedRows) -> None:
        self.rows = rows

    def collect_pages(self) -> Iterator[PartialEventPage]:
        """Yield what became due as one page."""
        rows, stamps = self.rows.take()
        if rows:
            values = [0.001 * row for row in rows]
            yield {
                "time": stamps,
                "data": {key: list(values) for key in COLUMNS},
                "timestamps": dict.fromkeys(COLUMNS, stamps),
            }


class PacedBlocks(ColumnFlyer):
    """A flyer of paced rows in the columns of a file."""

    def __init__(self, rows: PacedRows, folder: Path) -> None:
        self.rows = rows
        self._columns = Columns(folder, self.name, dict.fromkeys(COLUMNS, ""))

    def get_index(self) -> int:
        """Return how many rows can be read."""
        return self._columns.rows

    def collect_asset_docs(self, index: int | None = None) -> Iterator[StreamAsset]:
        """Write and announce what became due."""
        rows, stamps = self.rows.take()
        values = 0.001 * np.array(rows)
        self._columns.write(np.stack([np.array(stamps), *[values] * len(COLUMNS)], axis=1))
        yield from self._columns.documents(index)


def collected(device: PacedPages | PacedBlocks, seconds: float = 1e9) -> MsgGenerator:
    """Record a device's rows, collecting ten times a second."""

    @bpp.run_decorator(md={"sample": "benchmark"})
    def run() -> MsgGenerator:
        yield from begun(device)
        ends = time.time() + seconds
        while time.time() < ends:
            yield from bps.sleep(COLLECT_EVERY_S)
            yield from bps.collect(device, name=STREAM, return_payload=False)
            device.rows.handed_over()

    yield from run()


@bpp.run_decorator(md={"sample": "benchmark"})
def triggered(rows: PacedRows) -> MsgGenerator:
    """Record point by point for ever, as fast as the rows become due and the engine can."""
    signals = [Signal(name=key, value=1.0) for key in COLUMNS]
    while True:
        due, _ = rows.take()
        for row in due:
            yield from bps.trigger_and_read(signals, name=STREAM)
            rows.handed_over(row + 1)
        yield from bps.sleep(0.001)


def record(kind: str, folder: Path, rows_per_s: float, notes: Path) -> None:
    """Record until killed."""
    engine = RunEngine({})
    if kind.startswith("TiledWriter"):
        client = embedded_catalog(folder / "tiled")
        writer = TiledWriter(client, batch_size=1) if "1" in kind else TiledWriter(client)
        engine.subscribe(writer)
        engine(triggered(PacedRows(rows_per_s, notes)))
        return
    page_validation.use()
    engine.subscribe(JournalWriter(folder))
    rows = PacedRows(rows_per_s, notes)
    device = PacedBlocks(rows, folder / "assets") if kind == "columns" else PacedPages(rows)
    engine(collected(device))


def killed(folder: Path, scale: float = 1.0) -> Section:
    """Kill each recorder and count the rows that it had and that nobody can read.

    A trial that takes too long gives no figure, and the table tells of it.
    """
    of_ours = partial(_own_rows, STREAM)
    works: dict[str, tuple[Command, Callable[[Path], int]]] = {
        "pages, our journal": (partial(_own_command, "pages"), of_ours),
        "columns of a file, our journal": (partial(_own_command, "columns"), of_ours),
        "trigger_and_read, TiledWriter as it comes": (
            partial(_own_command, "TiledWriter"),
            _tiled_rows,
        ),
        "trigger_and_read, TiledWriter(batch_size=1)": (
            partial(_own_command, "TiledWriter 1"),
            _tiled_rows,
        ),
    }
    for peer in peers.PEERS:
        works[peer] = (partial(_peers_command, peer), partial(_peers_rows, peer))
    instants = KILLED_AFTER_S if scale >= 1 else (3.0,)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        trials = {
            what: [pool.submit(_trial, folder, *work, after_s) for after_s in instants]
            for what, work in works.items()
        }
        rows = [_row(what, [trial.result() for trial in some]) for what, some in trials.items()]
    return Section(
        f"What kill -9 takes, at {ROWS_PER_S:g} rows/s",
        "python -m benchmarks killed",
        rows,
        "Lost is what the recorder had been given and no other process can read afterwards. "
        f"Killed {', '.join(f'{x:g}' for x in instants)} s after the first row, {AT_ONCE} of them "
        "at a time. TiledWriter with batch_size=1 cannot take 100 rows/s: it holds up the "
        "acquisition.",
    )


def _trial(
    folder: Path, command: Command, count: Callable[[Path], int], after_s: float
) -> tuple[int, int] | str:
    """Return how many rows the recorder had and how many are left; why not, if it took too long."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        where = Path(name)
        notes = where / "notes"
        try:
            return run_and_kill(command(where, notes), notes, after_s), count(where)
        except TimeoutError as error:
            return str(error)


def _row(what: str, trials: Sequence[tuple[int, int] | str]) -> Row:
    counted = [trial for trial in trials if not isinstance(trial, str)]
    late = [trial for trial in trials if isinstance(trial, str)]
    had = [handed for handed, _ in counted]
    told = [f"of {min(had)} to {max(had)}"] if had else []
    told += [f"no figure: {reason}" for reason in late]
    lost = [float(max(0, handed - left)) for handed, left in counted]
    wanted = "<= 0" if "our" in what else ""
    return Row(what, lost, "rows lost", "; ".join(told), wanted, True, len(late))


def _own_command(kind: str, folder: Path, notes: Path) -> list[str]:
    arguments = [kind, str(folder), str(ROWS_PER_S), str(notes)]
    return [sys.executable, "-m", "benchmarks.killed", *arguments]


def _peers_command(peer: str, folder: Path, notes: Path) -> list[str]:
    return peers.command(peer, "pace", folder, ROWS_PER_S, notes)


def run_and_kill(
    command: list[str],
    notes: Path,
    after_s: float,
    first_row_within_s: float = FIRST_ROW_WITHIN_S,
) -> int:
    """Run a recorder, kill it some time after its first row, and return how many rows it had.

    Raises:
        TimeoutError: if no row had come by then; it is killed all the same.
        RuntimeError: if it ended by itself before its first row.
    """
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as process:
        try:
            give_up = time.monotonic() + first_row_within_s
            while not notes.exists() or not notes.read_bytes():
                if process.poll() is not None:
                    raise RuntimeError(f"{command} ended and recorded nothing")
                if time.monotonic() > give_up:
                    raise TimeoutError(f"not begun within {first_row_within_s:g} s")
                time.sleep(0.05)
            time.sleep(after_s)
        finally:
            process.send_signal(signal.SIGKILL)
    return int(notes.read_bytes())


def _own_rows(stream: str, folder: Path) -> int:
    (run,) = list_runs(folder)
    return len(Run.from_journal(run.uid, folder).streams[stream])


def _tiled_rows(folder: Path) -> int:
    code = (
        "import sys; from pathlib import Path; from benchmarks.recording import embedded_catalog\n"
        "run = embedded_catalog(Path(sys.argv[1])).values().first()\n"
        f"stream = run[{STREAM!r}] if {STREAM!r} in run else ()\n"
        "print(len(stream.read()['t']) if 't' in stream else 0)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(folder / "tiled")]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=READ_WITHIN_S
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"not read within {READ_WITHIN_S:g} s") from error
    if done.returncode:
        raise RuntimeError(done.stderr)
    return int(done.stdout.split()[-1])


def _peers_rows(peer: str, folder: Path) -> int:
    found: dict[str, Any] = peers.asked(peer, "count", folder, within_s=READ_WITHIN_S)
    return int(found["rows"])


if __name__ == "__main__":
    record(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]))
