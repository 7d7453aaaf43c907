"""A catalog damaged on purpose: verify finds it and repair cures it."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from operando import cli
from operando.catalog import (
    CatalogError,
    read_run,
    rebuild_catalog,
    repair,
    status,
    stop_service,
    verify,
    verify_runs,
    wait_until_ingested,
)
from operando.catalog._places import Places
from operando.catalog._repair import _damage
from operando.journal import JournalWriter, close_dead_run, journal_path, list_runs
from operando.runs import Run
from operando.search import find_runs

ROOT = Path(__file__).parents[2]


def tables(record):
    return closing(sqlite3.connect(Places(record).tables_db, timeout=10))


def rows_of(catalog, uid):
    """Return the table of a run's rows and the number it is known by there."""
    table = catalog[uid].base["potentiostat"].base["internal"]
    parameters = table.data_sources()[0].parameters
    return parameters["table_name"], parameters["dataset_id"]


def damage_rows(statement):
    def damage(record, catalog, uid):
        table, dataset = rows_of(catalog, uid)
        with tables(record) as database, database:
            changed = database.execute(statement.format(table=table), (dataset,)).rowcount
        assert changed > 0

    return damage


def delete_the_run(record, catalog, uid):
    catalog.delete_contents(uid, recursive=True, external_only=False)


def delete_a_stream(record, catalog, uid):
    catalog[uid].base.delete_contents("potentiostat", recursive=True, external_only=False)


def change_the_stop(record, catalog, uid):
    catalog[uid].base.update_metadata({"stop": {"exit_status": "abort"}})


def change_the_descriptor(record, catalog, uid):
    stream = catalog[uid].base["potentiostat"].base
    stream.update_metadata({"hints": {"potentiostat": {"fields": ["cycle"]}}})


def configure_anew(record, catalog, uid):
    stream = catalog[uid].base["potentiostat"].base
    stream.update_metadata({"_config_updates": [{"uid": "u", "time": 1.0, "configuration": {}}]})


def add_an_array(record, catalog, uid):
    stream = catalog[uid].base["potentiostat"].base
    stream.write_array(np.zeros((31, 2)), key="vector")


OF = "WHERE _dataset_id = ?"


def damaged_file(places):
    os.truncate(places.metadata_db, places.metadata_db.stat().st_size // 2)


def no_rows_at_all(places):
    places.tables_db.unlink()


def no_table(places):
    with closing(sqlite3.connect(places.tables_db)) as database, database:
        names = database.execute("SELECT name FROM sqlite_master WHERE name LIKE 'table_%'")
        for (name,) in names.fetchall():
            database.execute(f'DROP TABLE "{name}"')


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_catalog_of_another_version_is_put_aside_and_made_anew(
    record, catalog, record_run, tmp_path
):
    uid = record_run(record, 30)
    assert verify(uid, record, catalog=catalog).same
    stop_service(record)
    for damage, told in (
        (damaged_file, r"catalog\.db: .*malformed"),
        (no_rows_at_all, r"tables\.db is missing"),
        (no_table, r"tables\.db: 1 tables are missing"),
    ):
        copy = Places(tmp_path / damage.__name__)
        shutil.copytree(Places(record).catalog, copy.catalog)
        assert _damage(copy) == ""
        damage(copy)
        assert re.match(told, _damage(copy)), _damage(copy)
    with closing(sqlite3.connect(Places(record).metadata_db)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '8b1c2bb4e5f0'")
    assert all(done.cured for done in repair(record, [uid]))
    assert verify(uid, record, catalog=catalog).same
    (aside,) = record.glob("catalog-unreadable-*")
    assert (aside / "ingested").exists()


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_catalog_damaged_under_its_service_is_made_anew(record, catalog, record_run):
    uid = record_run(record, 30)
    assert verify(uid, record, catalog=catalog).same
    before = set(record.glob("catalog-unreadable-*"))
    pages = Places(record).metadata_db.stat().st_size
    with open(Places(record).metadata_db, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (pages - 4096))
    whole, *_ = repair(record, [uid])
    assert whole.cured
    assert "the catalog is damaged" in whole.found
    assert verify(uid, record, catalog=catalog).same
    (aside,) = set(record.glob("catalog-unreadable-*")) - before
    assert (aside / "ingested").exists()


def flip_a_bit(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))


@pytest.mark.long
@pytest.mark.timeout(120)
def test_rows_that_only_the_catalog_holds_are_neither_deleted_nor_hidden(
    record, catalog, record_run
):
    damaged, cut, sound = (record_run(record, 1200) for _ in range(3))
    assert all(outcome.same for outcome in verify_runs([damaged, cut, sound], record))
    flip_a_bit(journal_path(record, damaged), journal_path(record, damaged).stat().st_size // 2)
    # A power cut took the end of this one, and somebody closed it.
    path = journal_path(record, cut)
    whole = path.read_bytes()
    os.truncate(path, whole.rindex(b"event_page") - 10)
    assert close_dead_run(path)
    outcomes = list(verify_runs([damaged, cut, sound], record))
    assert [outcome.same for outcome in outcomes] == [False, False, True]
    assert re.search("bytes from byte .* are damaged.*; 500 rows are missing", *outcomes[0].damage)
    for outcome, there in zip(outcomes, (700, 1000, 1200), strict=True):
        assert outcome.rows == {"potentiostat": there}
        assert outcome.rows_there == {"potentiostat": 1200}
    done = {one.uid: one for one in repair(record, [damaged, cut, sound])}
    assert set(done) == {damaged, cut}
    assert not any(one.cured for one in done.values())
    assert "the catalog holds 500 rows of potentiostat" in done[damaged].done
    assert "the catalog holds 200 rows of potentiostat" in done[cut].done
    for uid in (damaged, cut):
        assert len(read_run(uid, record, catalog=catalog).streams["potentiostat"]["time"]) == 1200
    # To make the whole catalog anew is to ask for what the journals hold; the old one stays.
    aside = rebuild_catalog(record).aside
    assert (aside / "tables.db").exists()
    after = verify(damaged, record, catalog=catalog)
    assert (after.differences, after.rows_there) == ([], {"potentiostat": 700})
    assert not after.same
    assert damaged in status(record).damaged
    (left,) = repair(record, [damaged])
    assert left.done == "nothing: the catalog holds what can be read of the journal"
    journal_path(record, damaged).unlink()


@pytest.mark.timeout(120)
def test_a_dead_run_with_a_torn_tail_is_closed_with_all_its_rows(record, catalog, record_run):
    stop_service(record)
    uid = record_run(record, 25, stop=False)
    (run,) = [run for run in list_runs(record) if run.uid == uid]
    with open(run.path, "ab") as torn:
        torn.write(b"\x40\x00\x00\x00\x01\x02")
    assert run.exit_status == "unfinished"
    # Nobody saw its writer: it may be a copy that is not complete.
    content = run.path.read_bytes()
    run.path.unlink()
    run.path.write_bytes(content)
    (waiting, *_) = repair(record, [uid])
    assert (waiting.uid, waiting.cured) == (uid, False)
    assert "it may still be copied; repair again in 60 s" in waiting.done
    assert run.path.read_bytes() == content
    os.utime(run.path, (1.7e9, 1.7e9))
    (closed,) = repair(record, [uid])
    assert (closed.uid, closed.cured) == (uid, True)
    outcome = verify(uid, record, catalog=catalog)
    assert outcome.same
    assert outcome.rows == {"potentiostat": 25}


# What is wrong with each run; what differs in its rows is told once, all else beside it.
DAMAGES = [
    [
        (damage_rows(f'DELETE FROM "{{table}}" {OF} AND seq_num > 20'), "row 21 .* is missing"),
        (change_the_stop, "the stop document differs"),
    ],
    [
        (damage_rows(f'DELETE FROM "{{table}}" {OF} AND seq_num = 7'), "row 7 .* is row 8"),
        (change_the_descriptor, "potentiostat: the descriptors differ in hints"),
    ],
    [
        (
            damage_rows(f'INSERT INTO "{{table}}" SELECT * FROM "{{table}}" {OF}'),
            "30 rows in the journal, 60 in the catalog",
        ),
        (configure_anew, "the later descriptors, of devices configured anew, differ"),
    ],
    [
        (
            damage_rows(f'UPDATE "{{table}}" SET potential = 5.5 {OF} AND seq_num = 12'),
            r"potential differs from row 12 on: 4\.0 in the journal, 5\.5 in the catalog",
        ),
        (add_an_array, "vector has 30 rows in the journal, 31 in the catalog"),
    ],
    [
        (
            damage_rows(f'UPDATE "{{table}}" SET ts_cycle = NULL {OF} AND seq_num = 2'),
            "ts_cycle differs from row 2 on",
        )
    ],
    [(delete_the_run, "the run is not in the catalog")],
    [(delete_a_stream, "the stream is missing")],
]


@pytest.mark.timeout(120)
def test_what_was_damaged_is_found_and_taken_in_anew(record, catalog, record_run):
    uids = [record_run(record, 30) for _ in DAMAGES]
    sound = record_run(record, 10)
    for uid in [*uids, sound]:
        wait_until_ingested(record, uid)
    for uid, damages in zip(uids, DAMAGES, strict=True):
        for damage, _ in damages:
            damage(record, catalog, uid)
    *outcomes, beside = verify_runs([*uids, sound], record)
    assert beside.same
    for outcome, damages in zip(outcomes, DAMAGES, strict=True):
        assert not outcome.same
        assert len(outcome.differences) >= len(damages)
        for _, told in damages:
            assert any(re.search(told, one) for one in outcome.differences), outcome
    done = list(repair(record, [*uids, sound]))
    # Cured is what was compared again and is the same.
    assert [(repaired.uid, repaired.cured) for repaired in done] == [(uid, True) for uid in uids]
    assert verify(sound, record, catalog=catalog).same
    # They are on the list of whole runs again, and stay so when the service begins anew.
    assert not set(uids) & set(status(record).behind)


@pytest.mark.long
def test_what_repair_leaves_as_it_is_is_not_called_a_cure(record, filmed, capsys, caplog):
    uid = filmed(record)
    wait_until_ingested(record, uid)
    path = journal_path(record, uid)
    flip_a_bit(path, page_begins(path)[3] + 50)
    assert cli.main(["catalog", "verify", uid]) == cli.FAILED
    told = capsys.readouterr().out
    assert f"operando report {uid[:8]} --from catalog" in told
    assert "Cure" not in told
    assert cli.main(["catalog", "repair", uid]) == cli.FAILED
    assert "read them from the catalog" in capsys.readouterr().out
    # The journal was read several times, and told of its damage once.
    assert sum("what follows is read" in one.message for one in caplog.records) == 1
    assert cli.main(["report", uid[:8], "--from", "catalog"]) == cli.OK
    path.unlink()  # the folder is shared, and its numbers would be found


def numbers_told(source, uid, capsys, command="report"):
    """Return how a command ends, and what it tells as data."""
    ended = cli.main([command, uid, "--from", source, "--json"])
    return ended, json.loads(capsys.readouterr().out)


@pytest.fixture(name="filmed")
def _filmed(synthetic, tmp_path):
    """Record cycles and pictures, in pages of ten rows, in a data folder."""

    def film(folder):
        told = synthetic.RunDocuments(tmp_path, synthetic.HALF_CELL, page=10)
        columns = synthetic.galvanostatic((0.9, 0.95), rows=40)
        rows = len(columns["t"])
        told.documents[0][1]["uid"] = uid = str(uuid.uuid4())
        told.stream("potentiostat", "potentiostat", columns)
        images = np.arange(30.0)[:, None, None] * np.ones((1, 2, 2))
        times = {name: np.arange(30.0) for name in ("t_before", "t_after", "number")}
        told.stream("camera", "camera", times, assets={"image": images})
        told.stop()
        told.documents[-1][1]["num_events"] = {"potentiostat": rows, "camera": 30}
        with JournalWriter(folder) as journal:
            for name, doc in told.documents:
                journal(name, doc)
        return uid

    return film


def page_begins(path):
    """Return where the pages of a journal begin, in its bytes."""
    return [found.start() for found in re.finditer(b"event_page", path.read_bytes())]


def test_the_catalog_of_a_damaged_journal_tells_the_same_as_the_journal(
    record, filmed, capsys, tmp_path
):
    uid = filmed(tmp_path / "elsewhere")
    path = journal_path(tmp_path / "elsewhere", uid)
    pages = page_begins(path)
    for which in (3, len(pages) - 2):  # of the potentiostat, and the second of three of the camera
        flip_a_bit(path, pages[which] + 50)
    there = record / path.relative_to(tmp_path / "elsewhere")
    there.parent.mkdir(parents=True, exist_ok=True)
    path.rename(there)
    for command in ("report", "replay"):
        ended, told = numbers_told("journal", uid, capsys, command)
        assert ended == cli.FAILED
        assert any("10 rows of camera are missing between" in one for one in told["damage"])
        assert numbers_told("catalog", uid, capsys, command) == (ended, told)
    assert find_runs(record, where="ce_mean_pct > 0") == []
    ours, theirs = Run.from_journal(uid, record), Run.from_catalog(uid, record)
    for name, stream in ours.streams.items():
        assert theirs.streams[name].holes == stream.holes
    pictures = theirs.streams["camera"].assets["camera_image"]
    numbers = theirs.streams["camera"].columns["camera_number"]
    assert [picture[0, 0] for picture in pictures] == numbers.tolist()
    assert len(numbers) == 20


@pytest.mark.long
def test_damage_that_came_after_the_catalog_took_a_run_in_is_a_note_there(record, filmed, capsys):
    uid = filmed(record)
    wait_until_ingested(record, uid)
    whole = numbers_told("catalog", uid, capsys)
    assert whole == numbers_told("journal", uid, capsys)
    assert whole[0] == cli.OK
    path = journal_path(record, uid)
    flip_a_bit(path, page_begins(path)[3] + 50)
    assert numbers_told("journal", uid, capsys)[0] == cli.FAILED
    for command in ("report", "replay"):
        assert numbers_told("catalog", uid, capsys, command) == whole
    (note,) = Run.from_catalog(uid, record).notes
    assert note.startswith(f"{path.name} is damaged")
    assert note.endswith("holds it whole")


def test_a_run_whose_journal_has_lost_its_start_stays_as_it_is(
    record, catalog, record_run, tmp_path
):
    uid = record_run(record, 20)
    wait_until_ingested(record, uid)
    flip_a_bit(journal_path(record, uid), 30)
    outcome = verify(uid, record, catalog=catalog)
    assert not outcome.same
    assert "start" in " ".join(outcome.damage)
    (left,) = repair(record, [uid])
    assert not left.cured
    assert left.done.startswith("nothing, lest rows be lost")
    assert len(read_run(uid, record, catalog=catalog).streams["potentiostat"]["time"]) == 20
    # One that was damaged before it came here keeps nobody waiting.
    never = record_run(tmp_path, 20)
    flip_a_bit(journal_path(tmp_path, never), 30)
    brought = shutil.move(journal_path(tmp_path, never), journal_path(record, uid).parent)
    with pytest.raises(CatalogError, match="JournalError"):
        wait_until_ingested(record, never, timeout_s=100)
    for path in (journal_path(record, uid), Path(brought)):
        path.unlink()


@pytest.mark.long
def test_a_run_that_is_being_written_is_left_alone(record, catalog, record_run):
    uid = record_run(record, 20, stop=False)
    (run,) = [run for run in list_runs(record) if run.uid == uid]
    locked = os.open(run.path, os.O_RDWR)
    try:
        import fcntl

        fcntl.flock(locked, fcntl.LOCK_EX)
        outcome = verify(uid, record, catalog=catalog)
        assert (outcome.same, outcome.lasts, outcome.rows) == (True, True, {"potentiostat": 20})
        damage_rows(f'DELETE FROM "{{table}}" {OF} AND seq_num > 15')(record, catalog, uid)
        size = run.path.stat().st_size
        (left,) = repair(record, [uid])
        assert (left.cured, left.done) == (False, "nothing: the run is being written")
        assert run.path.stat().st_size == size
    finally:
        os.close(locked)
    os.utime(run.path, (1.7e9, 1.7e9))  # it ended long ago
    done = list(repair(record, [uid]))
    assert all(repaired.cured for repaired in done)
    assert verify(uid, record, catalog=catalog).same


@pytest.mark.long
def test_a_long_run_is_compared_in_pieces(record, catalog, record_run):
    uid = record_run(record, 120_000)
    wait_until_ingested(record, uid)
    outcome = verify(uid, record, catalog=catalog)
    assert outcome.same, outcome.differences
    assert outcome.rows == {"potentiostat": 120_000}
    damage_rows(f'UPDATE "{{table}}" SET cycle = -1 {OF} AND seq_num = 119999')(
        record, catalog, uid
    )
    (difference,) = verify(uid, record, catalog=catalog).differences
    assert "cycle differs from row 119999 on" in difference


@pytest.mark.long
@pytest.mark.timeout(120)
def test_the_commands_tell_what_differs_by_their_status(record, catalog, record_run, capsys):
    uid = record_run(record, 30)
    assert verify(uid, record, catalog=catalog).same
    assert cli.main(["catalog", "verify", "last"]) == cli.OK
    assert capsys.readouterr().out.startswith(f"{uid[:8]}  same")
    damage_rows(f'DELETE FROM "{{table}}" {OF} AND seq_num > 20')(record, catalog, uid)
    differs = subprocess.run(
        [sys.executable, "-m", "operando.cli", "catalog", "verify", uid[:8], "--json"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert differs.returncode == 1, differs.stderr
    (told,) = json.loads(differs.stdout)
    assert (told["uid"], told["same"]) == (uid, False)
    assert cli.main(["catalog", "repair", uid[:8]]) == cli.OK
    assert "taken in anew from its journal" in capsys.readouterr().out
    assert verify(uid, record, catalog=catalog).same


@pytest.mark.long
def test_a_run_is_taken_in_anew_while_another_one_comes_in(record, catalog, record_run):
    uid = record_run(record, 30)
    assert verify(uid, record, catalog=catalog).same
    damage_rows(f'DELETE FROM "{{table}}" {OF}')(record, catalog, uid)
    longer = record_run(record, 60_000)
    assert [done.uid for done in repair(record, [uid, longer])] == [uid]
    assert all(outcome.same for outcome in verify_runs([uid, longer], record))
