"""The same five-column record through a RunEngine into different sinks, and back."""

from collections.abc import Callable, Iterator, Mapping
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
from event_model import DataKey, PartialEventPage, compose_run
from ophyd import Signal
from ophyd.sim import NullStatus
from tiled.client.constructors import from_context
from tiled.client.context import Context
from tiled.server.app import build_app_from_config

from benchmarks import peers
from benchmarks.table import Row, Section, interleaved, seconds
from instruments._columns import Columns, described
from operando.journal import JournalWriter, documents, journal_path
from operando.replay import replay
from operando.runs import Run

COLUMNS = ("t", "potential", "current", "charge", "temperature")
PAGE_ROWS = 100
PAGED_ROWS = 20_000  # one repeat of what travels in pages
TRIGGERED_ROWS = 1_000  # one repeat of what travels point by point
UNBATCHED_ROWS = 40  # the same, one write to the catalog per point
JOURNAL_ROWS = 200_000
BLOCK_ROWS = 1_000  # of columns in a file; ten such blocks a second are 10,000 rows/s
BLOCKED_ROWS = 500_000
PEERS_ROWS = {"QCoDeS": 20_000, "PyMeasure": 100_000}

EXPORTER = "bluesky_tiled_plugins.exporters:json_seq_exporter"

Callback = Callable[[str, dict[str, Any]], object]


class PagedDevice:
    """A flyer that hands out ``rows`` rows of five columns in pages of ``PAGE_ROWS``."""

    name = "potentiostat"
    parent = None

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def kickoff(self) -> NullStatus:
        """Begin; the rows are there at once."""
        return NullStatus()

    def complete(self) -> NullStatus:
        """End."""
        return NullStatus()

    def describe_collect(self) -> dict[str, DataKey]:
        """Return the five columns."""
        return {
            key: DataKey(source="benchmark", dtype="number", dtype_numpy="<f8", shape=[], units="")
            for key in COLUMNS
        }

    def collect_pages(self) -> Iterator[PartialEventPage]:
        """Yield all rows."""
        for first in range(0, self._rows, PAGE_ROWS):
            stamps = [1e9 + row for row in range(first, first + PAGE_ROWS)]
            yield {
                "time": stamps,
                "data": {key: _values(first) for key in COLUMNS},
                "timestamps": dict.fromkeys(COLUMNS, stamps),
            }


class BlockDevice:
    """A flyer that puts a block of rows into the columns of a file with every collection."""

    name = "potentiostat"
    parent = None

    def __init__(self, folder: Path) -> None:
        self._columns = Columns(folder, self.name, dict.fromkeys(COLUMNS, ""))
        self._first = 0

    def kickoff(self) -> NullStatus:
        """Begin; the rows are there at once."""
        return NullStatus()

    def complete(self) -> NullStatus:
        """End."""
        return NullStatus()

    def describe_collect(self) -> dict[str, DataKey]:
        """Return the five columns and the rows' time."""
        return described(self.name, dict.fromkeys(COLUMNS, ""))

    def get_index(self) -> int:
        """Return how many rows can be read."""
        return self._columns.rows

    def collect_asset_docs(self, index: int | None = None) -> Iterator[StreamAsset]:
        """Write a block and announce it."""
        rows = 0.001 * np.arange(self._first, self._first + BLOCK_ROWS)
        self._first += BLOCK_ROWS
        self._columns.write(np.stack([1e9 + rows, *[rows] * len(COLUMNS)], axis=1))
        yield from self._columns.documents(index)

    def close(self) -> None:
        """Close the file."""
        self._columns.close()


def _values(first: int) -> list[float]:
    return [0.001 * row for row in range(first, first + PAGE_ROWS)]


@bpp.run_decorator(md={"sample": "benchmark"})
def paged(rows: int) -> MsgGenerator:
    """Record ``rows`` rows as event pages."""
    device = PagedDevice(rows)
    yield from bps.declare_stream(device, name="potentiostat", collect=True)
    yield from bps.kickoff(device, wait=True)
    yield from bps.complete(device, wait=True)
    yield from bps.collect(device, name="potentiostat")


def blocks(folder: Path, rows: int) -> MsgGenerator:
    """Record ``rows`` rows as columns of a file below ``folder``."""
    device = BlockDevice(folder / "assets")

    @bpp.run_decorator(md={"sample": "benchmark"})
    def run() -> MsgGenerator:
        yield from bps.declare_stream(device, name="potentiostat", collect=True)
        yield from bps.kickoff(device, wait=True)
        yield from bps.complete(device, wait=True)
        for _ in range(rows // BLOCK_ROWS):
            yield from bps.collect(device, name="potentiostat", return_payload=False)

    yield from run()
    device.close()


@bpp.run_decorator(md={"sample": "benchmark"})
def triggered(rows: int) -> MsgGenerator:
    """Record ``rows`` rows by trigger and read, as bluesky's own plans do."""
    signals = [Signal(name=key, value=1.0) for key in COLUMNS]
    for _ in range(rows):
        yield from bps.trigger_and_read(signals, name="potentiostat")


def recording(folder: Path, scale: float = 1.0) -> Section:
    """Measure rows/s of a RunEngine with different sinks, and of others, every row counted."""
    engine = RunEngine({})
    client = embedded_catalog(folder / "tiled")

    def rate(plan: Callable[[int], MsgGenerator], rows: int, sink: str) -> float:
        rows = _scaled(rows, scale)
        callback, count = _sink(sink, folder, client)
        token = engine.subscribe(callback) if callback is not None else None
        took = seconds(lambda: engine(plan(rows)))
        if token is not None:
            engine.unsubscribe(token)
        if count is not None and count() != rows:
            raise AssertionError(f"{sink}: {count()} rows came back of {rows}")
        return rows / took

    def peer(name: str) -> float:
        return peers.rows_per_s(name, _scaled(PEERS_ROWS[name], scale))

    triggered_ours = "trigger_and_read, our journal"
    pages_ours = "pages of 100, our journal"
    blocks_ours = "columns of a file in blocks of 1000, our journal"
    works = {
        "pages of 100, no sink": partial(rate, paged, PAGED_ROWS, "none"),
        pages_ours: partial(rate, paged, PAGED_ROWS, "journal"),
        blocks_ours: partial(rate, partial(blocks, folder), BLOCKED_ROWS, "journal and files"),
        "pages of 100, TiledWriter as it comes": partial(rate, paged, PAGED_ROWS, "tiled"),
        "trigger_and_read, no sink": partial(rate, triggered, TRIGGERED_ROWS, "none"),
        triggered_ours: partial(rate, triggered, TRIGGERED_ROWS, "journal"),
        "trigger_and_read, TiledWriter as it comes": partial(
            rate, triggered, TRIGGERED_ROWS, "tiled"
        ),
        "trigger_and_read, TiledWriter(batch_size=1)": partial(
            rate, triggered, UNBATCHED_ROWS, "tiled, no batch"
        ),
        "QCoDeS, add_result per point": partial(peer, "QCoDeS"),
        "PyMeasure, Worker and Results": partial(peer, "PyMeasure"),
    }
    wanted = {pages_ours: ">= 12,000", blocks_ours: ">= 300,000"}
    repeats = {name: 3 if "Tiled" in name else 5 for name in works}
    values = interleaved(works, repeats)
    rows = [Row(name, values[name], "rows/s") for name in works]
    pages, columns = rows[1], rows[2]
    told = [
        Row(
            row.what,
            row.values,
            row.unit,
            "" if row in (pages, columns) else _ratios(pages, columns, row),
            wanted.get(row.what, ""),
        )
        for row in rows
    ]
    return Section(
        "The same five-column record, one run: through the RunEngine, and by others",
        "python -m benchmarks recording",
        told,
        "Wanted beside the rates: at least twice QCoDeS and 20 times trigger_and_read. Each clock "
        "runs from the opening of the run until it is in its store. TiledWriter writes to an "
        "embedded tiled with SQLite for catalog and tables; as it comes it keeps up to 10,000 "
        "points in memory, which die with the process, batch_size=1 keeps none. QCoDeS writes its "
        "SQLite every 5 s, PyMeasure a line of CSV per row; neither has a catalog. What each keeps "
        f"of a killed run is in the next table. Peers: {peers.versions()}.",
    )


def _scaled(rows: int, scale: float) -> int:
    """Return a number of rows, whole pages and blocks where there are any."""
    unit = BLOCK_ROWS if rows >= BLOCK_ROWS else 1
    return max(unit, round(rows * scale / unit) * unit)


def _ratios(pages: Row, columns: Row, other: Row) -> str:
    return (
        f"our pages {pages.median / other.median:.3g} times, "
        f"our columns {columns.median / other.median:.3g} times as fast"
    )


def _sink(kind: str, folder: Path, client: Any) -> tuple[Callback | None, Callable[[], int] | None]:
    """Return a callback for the RunEngine, and what counts the rows it kept."""
    if kind == "none":
        return None, None
    uids: list[str] = []

    def noted(callback: Callback) -> Callback:
        def call(name: str, doc: dict[str, Any]) -> None:
            if name == "start":
                uids.append(doc["uid"])
            callback(name, doc)

        return call

    if kind == "journal":
        return noted(JournalWriter(folder)), lambda: count_rows(journal_path(folder, uids[-1]))
    if kind == "journal and files":
        return noted(JournalWriter(folder)), lambda: len(
            Run.from_journal(uids[-1], folder).streams["potentiostat"]
        )
    writer = TiledWriter(client) if kind == "tiled" else TiledWriter(client, batch_size=1)
    return noted(writer), lambda: len(client[uids[-1]]["potentiostat"].read()["t"])


def embedded_catalog(root: Path) -> Any:
    """Return a client of a tiled server inside this process, on SQLite."""
    (root / "data").mkdir(parents=True, exist_ok=True)
    tree = {
        "uri": f"sqlite:///{root}/catalog.db",
        "writable_storage": [str(root / "data"), f"sqlite:///{root}/tables.db"],
        "init_if_not_exists": True,
        "specs": [{"name": "CatalogOfBlueskyRuns", "version": "3.0"}],
    }
    application = build_app_from_config(
        {
            "authentication": {"allow_anonymous_access": True, "single_user_api_key": "local"},
            "trees": [{"path": "/", "tree": "catalog", "args": tree}],
            # What databroker's documents() asks for.
            "media_types": {"BlueskyRun": {"application/json-seq": EXPORTER}},
        }
    )
    return from_context(Context.from_app(application))


def count_rows(journal: Path) -> int:
    """Return the number of rows in a journal's pages and events."""
    count = 0
    for name, doc in documents(journal):
        if name == "event_page":
            count += len(doc["seq_num"])
        elif name == "event":
            count += 1
    return count


def journal_alone(folder: Path, scale: float = 1.0) -> Section:
    """Measure the journal without a RunEngine: writing, reading and replaying."""
    written: list[str] = []
    journal_rows = _scaled(JOURNAL_ROWS, scale)

    def write() -> float:
        start, pages, stop = _documents(journal_rows)

        def feed() -> None:
            with JournalWriter(folder) as journal:
                for name, doc in (*start, *pages, stop):
                    journal(name, doc)

        took = seconds(feed)
        written.append(str(start[0][1]["uid"]))
        return journal_rows / took

    def read() -> float:
        path = journal_path(folder, written[-1])
        counts: list[int] = []
        took = seconds(lambda: counts.append(count_rows(path)))
        if counts != [journal_rows]:
            raise AssertionError(f"{counts} rows came back of {journal_rows}")
        return journal_rows / took

    def play() -> float:
        took = seconds(lambda: replay(written[-1], folder, lambda name, doc: None))
        return journal_rows / took

    works = {
        "write, on the disk at the end": write,
        "read and count": read,
        "replay into an empty callback": play,
    }
    values = interleaved(works, dict.fromkeys(works, 5))
    return Section(
        "The journal alone, pages of 100 rows of five columns",
        "python -m benchmarks journal",
        [Row(name, values[name], "rows/s") for name in works],
    )


def _documents(
    rows: int,
) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]], tuple[str, Any]]:
    run = compose_run(metadata={"sample": "benchmark"})
    key = {"source": "benchmark", "dtype": "number", "shape": [], "units": ""}
    stream = run.compose_descriptor(
        name="potentiostat", data_keys={name: dict(key) for name in COLUMNS}
    )
    pages: list[tuple[str, Any]] = []
    for first in range(0, rows, PAGE_ROWS):
        stamps = [1e9 + row for row in range(first, first + PAGE_ROWS)]
        page: Mapping[str, Any] = stream.compose_event_page(
            data={name: _values(first) for name in COLUMNS},
            timestamps=dict.fromkeys(COLUMNS, stamps),
            seq_num=list(range(first + 1, first + PAGE_ROWS + 1)),
            time=stamps,
            validate=False,
        )
        pages.append(("event_page", page))
    start = [("start", run.start_doc), ("descriptor", stream.descriptor_doc)]
    return start, pages, ("stop", run.compose_stop())
