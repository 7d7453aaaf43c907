"""What the ingester leaves behind wherever it ends, and what it takes up again: every row once."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.run_engine import RunEngineInterrupted
from event_model import compose_run

from operando.catalog import _ingester
from operando.catalog._files import prepare_files
from operando.catalog._ingester import Ingester
from operando.catalog._places import Places, append_ingested, ingested_uids
from operando.catalog._run_writer import RunWriter
from operando.catalog._tables import Tables
from operando.catalog.service import configuration
from operando.journal import (
    JournalWriter,
    damage_of,
    documents,
    inspect,
    journal_path,
    take_lock,
)

pytestmark = [
    # Of the configuration tiled hands to alembic, when the tables are made in this process.
    pytest.mark.filterwarnings("ignore:No path_separator found:DeprecationWarning"),
    # Of what tiled uses to serve within a process.
    pytest.mark.filterwarnings("ignore:Using .httpx. with .starlette.testclient."),
]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """A data folder, and a client of its catalog served within this process."""
    from tiled.client import from_context
    from tiled.client.context import Context
    from tiled.server.app import build_app_from_config

    places = Places(tmp_path_factory.mktemp("ingester") / "data")
    prepare_files(places)
    with Context.from_app(build_app_from_config(configuration(places, "key"))) as context:
        yield places, from_context(context)


def ingester(catalog):
    places, client = catalog
    return Ingester(
        places.data_dir, lambda: client, places.ingested, tables=Tables(places.tables_db)
    )


def ingest(catalog, *uids):
    """Let a new ingester take in what there is, as a service that just began."""
    new = ingester(catalog)
    for _ in range(200):
        new.step()
        if all(new.is_finished(uid) for uid in uids):
            return new
    raise AssertionError(new.progress)


def numbers(catalog, uid):
    table = catalog[1][uid].base["potentiostat"].base["internal"].read()
    return table["seq_num"].tolist()


POINTS = ["start", "descriptor", "table", "append", "append again", "stop"]


@pytest.mark.parametrize("point", POINTS)
def test_wherever_an_ingester_ends_the_next_one_writes_every_row_once(catalog, record_run, point):
    places, client = catalog
    uid = record_run(places.data_dir, 1500)
    writer = RunWriter(
        client.include_data_sources(), begun_before=False, tables=Tables(places.tables_db)
    )
    pages = 0
    for name, doc in documents(journal_path(places.data_dir, uid)):
        writer(name, doc)
        if name == point:
            break
        if name == "event_page":
            pages += 1
            if point == "table":
                node = writer._desc_nodes["potentiostat"]
                schema = writer._streams["potentiostat"].schema
                node.create_appendable_table(schema=schema, key="internal")
                break
            if (point, pages) in (("append", 1), ("append again", 2)):
                writer.flush()
                break
    # Nothing is on the list of whole runs: the process ended before it got there.
    assert uid not in ingested_uids(places.ingested)
    new = ingest(catalog, uid)
    assert numbers(catalog, uid) == list(range(1, 1501))
    assert client[uid].metadata["stop"]["exit_status"] == "success"
    assert new.progress.errors == {}
    assert uid in ingested_uids(places.ingested)


class Counter:
    """A device whose readings count up."""

    name, parent, hints = "counter", None, {}

    def __init__(self):
        self.count = 0

    def read(self):
        self.count += 1
        return {"n": {"value": self.count, "timestamp": 1.7e9 + self.count}}

    def describe(self):
        return {"n": {"source": "test", "dtype": "integer", "shape": []}}

    def read_configuration(self):
        return {}

    def describe_configuration(self):
        return {}


def paused_run(folder, look):
    """Record a plan that pauses and goes on; ``look`` is called as it pauses."""
    engine = RunEngine(call_returns_result=True)
    counter = Counter()

    def plan():
        yield from bps.open_run()
        for _ in range(2):
            yield from bps.checkpoint()
            for _ in range(3):
                yield from bps.create("potentiostat")
                yield from bps.read(counter)
                yield from bps.save()
            yield from bps.pause()
        yield from bps.close_run()

    with JournalWriter(folder) as writer:
        engine.subscribe(writer)
        with pytest.raises(RunEngineInterrupted):
            engine(plan())
        look()
        with pytest.raises(RunEngineInterrupted):
            engine.resume()
        look()
        (uid,) = engine.resume().run_start_uids
    return uid


@pytest.mark.parametrize("how", ["live", "backlog", "attached"])
def test_rows_whose_numbers_are_given_again_after_a_pause_are_all_there(catalog, how):
    places, _ = catalog
    running = ingester(catalog)

    def look():
        if how == "backlog":
            return
        for _ in range(3):
            running.step()
            for journal in running._journals.values():
                journal.flushed_at = 0
        if how == "attached":  # as by a service that was killed
            running.__init__(
                *(places.data_dir, lambda: catalog[1], places.ingested),
                tables=Tables(places.tables_db),
            )

    uid = paused_run(places.data_dir, look)
    step_until(running, lambda: running.is_finished(uid))
    events = [doc for name, doc in documents(journal_path(places.data_dir, uid)) if name == "event"]
    told = [doc["seq_num"] for doc in events]
    assert len(told) > len(set(told)), "the RunEngine gives no number twice any more"
    table = catalog[1][uid].base["potentiostat"].base["internal"].read()
    assert table["seq_num"].tolist() == told
    assert table["n"].tolist() == [doc["data"]["n"] for doc in events]
    assert uid not in ingested_uids(places.ingested, "+")


def test_a_catalog_that_is_ahead_of_its_journal_keeps_its_rows_and_says_so(
    catalog, record_run, monkeypatch
):
    # A busy computer is not to be taken for a run that is quiet.
    monkeypatch.setattr(_ingester, "QUIET_BEFORE_CLOSING_S", 3600.0)
    places, _ = catalog
    uid = record_run(places.data_dir, 1200, stop=False)
    running = ingester(catalog)
    size = journal_path(places.data_dir, uid).stat().st_size
    step_until(running, lambda: running.progress.open.get(uid) == size)
    assert numbers(catalog, uid) == list(range(1, 1201))
    # The power fails: the last page had not reached the disk.
    path = journal_path(places.data_dir, uid)
    os.truncate(path, path.stat().st_size - 100)
    running = ingester(catalog)
    running.step()
    for journal in running._journals.values():  # nobody is copying it, and time has passed
        journal.grew_at, journal.seen_alive = -1e9, True
    step_until(running, lambda: running.is_finished(uid))
    assert inspect(path).clean
    assert numbers(catalog, uid) == list(range(1, 1201))
    assert uid in ingested_uids(places.ingested, "+")
    running.take_again(uid)
    step_until(running, lambda: running.is_finished(uid))
    assert numbers(catalog, uid) == list(range(1, 1001))
    assert uid not in ingested_uids(places.ingested, "+")


def test_rows_behind_damage_are_taken_in_once_by_a_service_that_begins_anew(catalog, record_run):
    places, client = catalog
    uid = record_run(places.data_dir, 2000)
    path = journal_path(places.data_dir, uid)
    writer = RunWriter(
        client.include_data_sources(), begun_before=False, tables=Tables(places.tables_db)
    )
    pages = []
    for name, doc in documents(path):
        if name == "event_page":
            pages.append(doc)
        if len(pages) == 3:
            break
        writer(name, doc)
    writer.flush()
    assert numbers(catalog, uid) == list(range(1, 1001))
    # The second page, whose rows the catalog has, is damaged when the next service begins.
    whole = bytearray(path.read_bytes())
    at = whole.index(pages[1]["uid"][250].encode())
    whole[at] ^= 1
    path.write_bytes(whole)
    ingest(catalog, uid)
    assert numbers(catalog, uid) == list(range(1, 2001))
    for mark in "+!":
        assert uid in ingested_uids(places.ingested, mark)


def test_an_array_that_was_made_and_not_filled_is_filled_by_the_next_service(catalog):
    from tiled.structures.array import ArrayStructure, BuiltinDtype
    from tiled.structures.core import StructureFamily
    from tiled.structures.data_source import DataSource

    places, client = catalog
    run = compose_run()
    uid = run.start_doc["uid"]
    key = {"source": "test", "dtype": "array", "shape": [2], "dtype_numpy": "<f8"}
    with JournalWriter(places.data_dir) as write:
        write("start", run.start_doc)
        stream = run.compose_descriptor(name="vectors", data_keys={"vector": key})
        write("descriptor", stream.descriptor_doc)
        for row in range(5):
            write(
                "event",
                stream.compose_event(data={"vector": [row, 0.5]}, timestamps={"vector": 1.0}),
            )
        write("stop", run.compose_stop())
    writer = RunWriter(
        client.include_data_sources(), begun_before=False, tables=Tables(places.tables_db)
    )
    for name, doc in documents(journal_path(places.data_dir, uid)):
        if name != "stop":
            writer(name, doc)
    writer._flush_table("vectors", writer._streams["vectors"])
    made = ArrayStructure(
        shape=(3, 2),
        chunks=((3,), (2,)),
        dims=("vector_row", "vector_1"),
        data_type=BuiltinDtype.from_numpy_dtype(np.dtype("f8")),
    )
    writer._desc_nodes["vectors"].new(
        StructureFamily.array,
        [DataSource(structure=made, structure_family=StructureFamily.array)],
        key="vector",
    )
    ingest(catalog, uid)
    stored = client[uid].base["vectors"].base["vector"].read()
    assert stored.tolist() == [[float(row), 0.5] for row in range(5)]


def test_a_run_taken_again_is_removed_first_and_taken_off_the_list(catalog, record_run):
    places, _ = catalog
    uid = record_run(places.data_dir, 60)
    running = ingest(catalog, uid)
    running.take_again(uid)
    assert not running.is_finished(uid)
    step_until(running, lambda: running.is_finished(uid))
    assert numbers(catalog, uid) == list(range(1, 61))
    assert places.ingested.read_text().split()[-3:] == [uid, f"-{uid}", uid]
    with pytest.raises(LookupError):
        running.take_again("no-such-run")


@pytest.mark.long
def test_runs_that_may_be_there_are_asked_for_together(catalog, record_run, monkeypatch):
    places, client = catalog
    uids = [record_run(places.data_dir, 5) for _ in range(12)]
    asked = []
    search = type(client).search

    def counting(self, query):
        asked.append(query)
        return search(self, query)

    monkeypatch.setattr(type(client), "search", counting)
    running = ingest(catalog, *uids)
    assert len(asked) == 1
    # What appears later was begun by nobody before, and is not asked for at all.
    later = record_run(places.data_dir, 5)
    running._folders.clear()
    step_until(running, lambda: running.is_finished(later))
    assert len(asked) == 1
    assert all(numbers(catalog, uid) == [1, 2, 3, 4, 5] for uid in [*uids, later])


def test_the_rows_of_every_kind_of_stream_are_indexed(catalog, record_run):
    places, _ = catalog
    uid = record_run(places.data_dir, 5)
    ingest(catalog, uid)
    tables = Tables(places.tables_db)
    tables._ask('CREATE TABLE IF NOT EXISTS "table_x" (_dataset_id INTEGER, _partition_id INTEGER)')
    tables.index()
    indexed = {name for (name,) in tables._ask("SELECT tbl_name FROM sqlite_master")}
    every = {name for (name,) in tables._ask("SELECT name FROM sqlite_master WHERE type='table'")}
    assert {"table_x", *(name for name in every if name.startswith("table_"))} <= indexed


def test_a_list_of_whole_runs_is_read_to_its_last_whole_line(tmp_path):
    path = tmp_path / "catalog" / "ingested"
    for line in ("a", "b", "-a", "c"):
        append_ingested(path, line)
    assert ingested_uids(path) == {"b", "c"}
    append_ingested(path, "a")
    assert ingested_uids(path) == {"a", "b", "c"}
    assert ingested_uids(tmp_path / "none") == set()


def test_a_second_service_on_a_folder_refuses(tmp_path):
    places = Places(tmp_path / "data")
    places.state.mkdir(parents=True)
    lock = os.open(places.lock, os.O_CREAT | os.O_RDWR)
    try:
        assert take_lock(lock, timeout_s=60)
        second = subprocess.run(
            [sys.executable, "-m", "operando.catalog.service", str(places.data_dir)],
            capture_output=True,
            text=True,
        )
    finally:
        os.close(lock)
    assert second.returncode == 3
    assert f"another catalog service has {places.data_dir}" in second.stderr
    assert not places.catalog.exists()


def step_until(running, reached):
    give_up = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < give_up
        running.step()
        time.sleep(0.02)


def test_rows_behind_damage_are_taken_in_and_the_run_is_not_closed_again(catalog, record_run):
    places, client = catalog
    uid = record_run(places.data_dir, 1500)
    path = journal_path(places.data_dir, uid)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    lost = sum(damage.rows for damage in damage_of(path))
    assert 0 < lost < 1500
    ingest(catalog, uid)
    told = [
        number for name, doc in documents(path) if name == "event_page" for number in doc["seq_num"]
    ]
    assert numbers(catalog, uid) == told
    assert len(told) == 1500 - lost
    assert client[uid].metadata["stop"]["exit_status"] == "success"
    assert path.read_bytes() == content


def test_a_run_seen_alive_is_closed_soon_after_its_writer_is_gone(catalog, record_run, monkeypatch):
    monkeypatch.setattr(_ingester, "QUIET_BEFORE_CLOSING_S", 0.2)
    places, client = catalog
    uid = record_run(places.data_dir, 50, stop=False)
    path = journal_path(places.data_dir, uid)
    running = ingester(catalog)
    with path.open("rb") as file:
        assert take_lock(file.fileno(), timeout_s=60)
        running.step()
        time.sleep(0.3)
        running.step()
        size = path.stat().st_size
    step_until(running, lambda: running.is_finished(uid))
    assert path.stat().st_size > size
    assert client[uid].metadata["stop"]["exit_status"] == "fail"
    assert client[uid].metadata["stop"]["num_events"] == {"potentiostat": 50}


def test_a_journal_nobody_was_seen_to_write_is_closed_only_when_it_is_old(
    catalog, record_run, monkeypatch
):
    monkeypatch.setattr(_ingester, "QUIET_BEFORE_CLOSING_S", 0.2)
    places, _ = catalog
    uid = record_run(places.data_dir, 50, stop=False)
    path = journal_path(places.data_dir, uid)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)  # a copy
    running = ingester(catalog)
    for _ in range(3):
        running.step()
        time.sleep(0.2)
    assert path.read_bytes() == content
    os.utime(path, (1.7e9, 1.7e9))
    step_until(running, lambda: running.is_finished(uid))
    assert path.read_bytes()[: len(content)] == content
