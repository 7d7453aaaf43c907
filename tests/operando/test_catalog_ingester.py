"""What the ingester leaves behind wherever it ends, and what it takes up again: every row once."""

import os
import subprocess
import sys

import pytest

from operando.catalog._files import prepare_files
from operando.catalog._ingester import Ingester
from operando.catalog._places import Places, append_ingested, ingested_uids
from operando.catalog._run_writer import RunWriter
from operando.catalog._tables import Tables
from operando.catalog.service import configuration
from operando.journal import documents, journal_path
from operando.journal._lock import take_lock

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


def test_a_run_taken_again_is_removed_first_and_taken_off_the_list(catalog, record_run):
    places, _ = catalog
    uid = record_run(places.data_dir, 60)
    running = ingest(catalog, uid)
    running.take_again(uid)
    assert not running.is_finished(uid)
    for _ in range(20):
        running.step()
    assert running.is_finished(uid)
    assert numbers(catalog, uid) == list(range(1, 61))
    assert places.ingested.read_text().split()[-3:] == [uid, f"-{uid}", uid]
    with pytest.raises(LookupError):
        running.take_again("no-such-run")


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
    for _ in range(20):
        running.step()
    assert running.is_finished(later)
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
        assert take_lock(lock, timeout_s=1)
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
