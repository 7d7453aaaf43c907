"""The same five-column record through a RunEngine into different sinks, and back."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
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
from event_model import DocumentNames, PartialEventPage, compose_run, schema_validators
from ophyd import Signal
from tiled.client.constructors import from_context
from tiled.client.context import Context
from tiled.server.app import build_app_from_config

from benchmarks import peers
from benchmarks.flyers import COLUMNS, STREAM, ColumnFlyer, PageFlyer, begun
from benchmarks.table import Row, Section, interleaved, seconds
from instruments._columns import Columns
from operando import page_validation
from operando.journal import JournalWriter, documents, journal_path
from operando.replay import replay
from operando.runs import Run

PAGE_ROWS = 100
PAGED_ROWS = 100_000  # one repeat of what travels in pages
STOCK_PAGED_ROWS = 20_000  # the same where each cell is validated, or written to a catalog
SINGLE_ROWS = 2_000  # one repeat of a page a row
TRIGGERED_ROWS = 1_000  # one repeat of trigger and read
UNBATCHED_ROWS = 40  # the same, one write to the catalog per point
JOURNAL_ROWS = 200_000
BLOCK_ROWS = 1_000  # of columns in a file; ten such blocks a second are 10,000 rows/s
BLOCKED_ROWS = 500_000
PYMEASURE_ROWS = 100_000
QCODES_ROWS = {1: 20_000, PAGE_ROWS: 200_000, BLOCK_ROWS: 500_000}  # by rows per add_result

EXPORTER = "bluesky_tiled_plugins.exporters:json_seq_exporter"

Callback = Callable[[str, dict[str, Any]], object]


class PagedDevice(PageFlyer):
    """A flyer that hands out pages of five columns, some with each collection."""

    def __init__(self, page_rows: int, pages: int) -> None:
        self._page_rows, self._pages = page_rows, pages
        self._first = 0

    def collect_pages(self) -> Iterator[PartialEventPage]:
        """Yield the next pages."""
        for _ in range(self._pages):
            first, self._first = self._first, self._first + self._page_rows
            stamps = [1e9 + row for row in range(first, self._first)]
            yield {
                "time": stamps,
                "data": {key: _values(first, self._first) for key in COLUMNS},
                "timestamps": dict.fromkeys(COLUMNS, stamps),
            }


class BlockDevice(ColumnFlyer):
    """A flyer that puts a block of rows into the columns of a file with every collection."""

    def __init__(self, folder: Path) -> None:
        self._columns = Columns(folder, self.name, dict.fromkeys(COLUMNS, ""))
        self._first = 0

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


def _values(first: int, end: int) -> list[float]:
    return [0.001 * row for row in range(first, end)]


@bpp.run_decorator(md={"sample": "benchmark"})
def paged(rows: int) -> MsgGenerator:
    """Record ``rows`` rows as event pages, collected at once."""
    device = PagedDevice(PAGE_ROWS, rows // PAGE_ROWS)
    yield from begun(device)
    yield from bps.collect(device, name=STREAM, return_payload=False)


@bpp.run_decorator(md={"sample": "benchmark"})
def single(rows: int) -> MsgGenerator:
    """Record ``rows`` rows as pages of one row, each collected by itself."""
    device = PagedDevice(1, 1)
    yield from begun(device)
    for _ in range(rows):
        yield from bps.collect(device, name=STREAM, return_payload=False)


def blocks(folder: Path, rows: int) -> MsgGenerator:
    """Record ``rows`` rows as columns of a file below ``folder``."""
    device = BlockDevice(folder / "assets")

    @bpp.run_decorator(md={"sample": "benchmark"})
    def run() -> MsgGenerator:
        yield from begun(device)
        for _ in range(rows // BLOCK_ROWS):
            yield from bps.collect(device, name=STREAM, return_payload=False)

    yield from run()
    device.close()


@bpp.run_decorator(md={"sample": "benchmark"})
def triggered(rows: int) -> MsgGenerator:
    """Record ``rows`` rows by trigger and read, as bluesky's own plans do."""
    signals = [Signal(name=key, value=1.0) for key in COLUMNS]
    for _ in range(rows):
        yield from bps.trigger_and_read(signals, name=STREAM)


def recording(folder: Path, scale: float = 1.0) -> Section:
    """Measure rows/s of a RunEngine with different sinks, and of others, every row counted."""
    engine = RunEngine({})
    client = embedded_catalog(folder / "tiled")

    def rate(
        plan: Callable[[int], MsgGenerator], rows: int, sink: str, *, stock: bool = False
    ) -> float:
        rows = _scaled(rows, scale)
        callback, count = _sink(sink, folder, client)
        token = engine.subscribe(callback) if callback is not None else None
        with _stock_validation() if stock else nullcontext():
            took = seconds(lambda: engine(plan(rows)))
        if token is not None:
            engine.unsubscribe(token)
        if count is not None and count() != rows:
            raise AssertionError(f"{sink}: {count()} rows came back of {rows}")
        return rows / took

    def qcodes(block: int) -> float:
        return peers.rows_per_s("QCoDeS", _scaled(QCODES_ROWS[block], scale), block)

    point, page = "point by point:", f"in blocks of {PAGE_ROWS}:"
    block = f"in blocks of {BLOCK_ROWS:,}:"
    our_points = f"{point} pages of one row, our journal"
    our_pages = f"{page} pages, our journal"
    our_columns = f"{block} columns of a file, our journal"
    triggers = f"{point} trigger_and_read, no sink"
    their_points = f"{point} QCoDeS, add_result of numbers"
    their_pages = f"{page} QCoDeS, add_result of arrays"
    their_blocks = f"{block} QCoDeS, add_result of arrays"
    pymeasure = f"{point} PyMeasure, Worker and Results"
    works: dict[str, Callable[[], float]] = {
        our_points: partial(rate, single, SINGLE_ROWS, "journal"),
        f"{point} trigger_and_read, our journal": partial(
            rate, triggered, TRIGGERED_ROWS, "journal"
        ),
        triggers: partial(rate, triggered, TRIGGERED_ROWS, "none"),
        f"{point} trigger_and_read, TiledWriter as it comes": partial(
            rate, triggered, TRIGGERED_ROWS, "tiled"
        ),
        f"{point} trigger_and_read, TiledWriter(batch_size=1)": partial(
            rate, triggered, UNBATCHED_ROWS, "tiled, no batch"
        ),
        their_points: partial(qcodes, 1),
        pymeasure: lambda: peers.rows_per_s("PyMeasure", _scaled(PYMEASURE_ROWS, scale)),
        our_pages: partial(rate, paged, PAGED_ROWS, "journal"),
        f"{page} pages, no sink": partial(rate, paged, PAGED_ROWS, "none"),
        f"{page} pages, no sink, event_model validating each cell": partial(
            rate, paged, STOCK_PAGED_ROWS, "none", stock=True
        ),
        f"{page} pages, TiledWriter as it comes, each cell validated": partial(
            rate, paged, STOCK_PAGED_ROWS, "tiled", stock=True
        ),
        their_pages: partial(qcodes, PAGE_ROWS),
        our_columns: partial(rate, partial(blocks, folder), BLOCKED_ROWS, "journal and files"),
        their_blocks: partial(qcodes, BLOCK_ROWS),
    }
    repeats = {name: 3 if "Tiled" in name else 5 for name in works}
    page_validation.use()
    values = interleaved(works, repeats)
    wanted = {our_pages: ">= 12,000", our_columns: ">= 300,000"}

    def times(what: str, ours: str, other: str, wanted: str = "") -> Row:
        told = " over ".join(name.partition(": ")[2] for name in (ours, other))
        ratios = [a / b for a, b in zip(values[ours], values[other], strict=False)]
        return Row(what, ratios, "times", told, wanted)

    return Section(
        "The same five-column record, one run: through the RunEngine, and by others",
        "python -m benchmarks recording",
        [
            *(Row(name, values[name], "rows/s", "", wanted.get(name, "")) for name in works),
            times("like with like, points: QCoDeS", our_points, their_points, ">= 2"),
            times("like with like, points: trigger_and_read", our_points, triggers, ">= 20"),
            times("like with like, points: PyMeasure", our_points, pymeasure),
            times(f"like with like, blocks of {PAGE_ROWS}: QCoDeS", our_pages, their_pages, ">= 2"),
            times(
                f"like with like, blocks of {BLOCK_ROWS:,}: QCoDeS",
                our_columns,
                their_blocks,
                ">= 2",
            ),
            times("our blocks, their points: QCoDeS", our_pages, their_points, ">= 2"),
            times("our blocks, their points: trigger_and_read", our_pages, triggers, ">= 20"),
        ],
        "The aim was set as at least twice QCoDeS and 20 times trigger_and_read, for pages; the "
        "last two lines are that comparison. It puts our blocks beside points, so the lines before "
        "ask the same of what is alike: a row collected by itself beside a point, a block beside "
        "an array of as many. A ratio is that of runs measured one after the other. Each clock "
        "runs from the opening of the run until it is in its store. TiledWriter writes to an "
        "embedded tiled with SQLite for catalog and tables; as it comes it keeps up to 10,000 "
        "points in memory, which die with the process, batch_size=1 keeps none. QCoDeS writes its "
        "SQLite every 5 s, PyMeasure a line of CSV per row; neither has a catalog. What each keeps "
        f"of a killed run is in the next table. Peers: {peers.versions()}.",
    )


@contextmanager
def _stock_validation() -> Iterator[None]:
    """Have event_model validate event pages as it does without operando."""
    ours = schema_validators[DocumentNames.event_page]
    schema_validators[DocumentNames.event_page] = ours.kept
    try:
        yield
    finally:
        schema_validators[DocumentNames.event_page] = ours


def _scaled(rows: int, scale: float) -> int:
    """Return a number of rows, whole pages and blocks where there are any."""
    unit = BLOCK_ROWS if rows >= BLOCK_ROWS else 1
    return max(unit, round(rows * scale / unit) * unit)


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
            Run.from_journal(uids[-1], folder).streams[STREAM]
        )
    writer = TiledWriter(client) if kind == "tiled" else TiledWriter(client, batch_size=1)
    return noted(writer), lambda: len(client[uids[-1]][STREAM].read()["t"])


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
            data={name: _values(first, first + PAGE_ROWS) for name in COLUMNS},
            timestamps=dict.fromkeys(COLUMNS, stamps),
            seq_num=list(range(first + 1, first + PAGE_ROWS + 1)),
            time=stamps,
            validate=False,
        )
        pages.append(("event_page", page))
    start = [("start", run.start_doc), ("descriptor", stream.descriptor_doc)]
    return start, pages, ("stop", run.compose_stop())
