"""Raw data are deleted only if a complete export of them is there; whatever else is the case."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operando import cli
from operando.export import export_run, exports, verify_export
from operando.journal import JournalWriter, deleted_raw, journal_path
from operando.queueing.disk import space
from operando.queueing.retention import delete, judge
from operando.runs import Run
from techniques.queueing import Retention

UID = "7d1f0a52-0000-4000-8000-000000000001"
LATER = time.time() + 40 * 86400


def _later() -> float:
    return LATER


@pytest.fixture
def data_dir(
    make_run: Callable[..., Any], synthetic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A run with images, ended as planned, in a data folder of its own."""
    folder = tmp_path / "data"
    documents = make_run()
    documents.folder = folder / "assets" / "20260101-abc"
    documents.folder.mkdir(parents=True)
    documents.stream("potentiostat", "potentiostat", synthetic.galvanostatic())
    images = np.arange(5 * 8 * 6, dtype=np.uint8).reshape(5, 8, 6)
    columns = {"t_before": np.arange(5.0), "t_after": np.arange(5.0) + 1}
    documents.stream("detector", "detector", columns, {"image": images})
    documents.stop()
    with JournalWriter(folder) as journal:
        for name, doc in documents.documents:
            journal(name, doc)
    monkeypatch.setenv("OPERANDO_DATA", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def archived(raw_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder whose run was exported as a crate, ``crate`` beside it."""
    folder = tmp_path / "data"
    raw_run.make(folder)
    raw_run.export("crate", folder, tmp_path / "crate")
    monkeypatch.setenv("OPERANDO_DATA", str(folder))
    return folder


def _raw(folder: Path) -> list[Path]:
    return sorted(folder.glob("assets/*/*.h5"))


def _verdict(folder: Path, **given: Any) -> Any:
    (found,) = judge(folder, given.pop("after_days", 30), now=_later, **given)
    return found


@pytest.mark.parametrize(("to", "output"), [("rocrate", "crate.zip"), ("nexus", "run.nxs")])
def test_a_complete_export_lets_raw_data_go_and_the_run_tells_where_they_are(
    to: Any, output: str, data_dir: Path, tmp_path: Path
) -> None:
    assert _verdict(data_dir).why == "it was never exported"
    export_run(UID, data_dir, to=to, output=tmp_path / output)
    (entry,) = exports(data_dir)
    assert (entry.complete, entry.why) == (True, "")
    assert verify_export(entry) == ""
    journal = journal_path(data_dir, UID)
    before = journal.read_bytes()
    verdict = _verdict(data_dir)
    assert delete(data_dir, verdict, by="ana", now=_later) == verdict.bytes > 0

    assert not _raw(data_dir)
    assert journal.read_bytes() == before
    note = deleted_raw(journal)
    assert note is not None
    assert (note.by, note.exported_to) == ("ana", str(tmp_path / output))
    run = Run.from_journal(UID, data_dir)
    assert any(f"exported to {tmp_path / output}" in one for one in run.notes)
    with pytest.raises(IndexError, match=r"row 0 of 0: images and spectra .* deleted here on"):
        run.streams["detector"].asset("detector_image")[0]
    assert not list(judge(data_dir, 30, now=_later))
    export_run(UID, data_dir, to="nexus", output=tmp_path / "again.nxs")
    assert not exports(data_dir)[-1].complete


@pytest.mark.parametrize(("to", "link"), [("csv", False), ("parquet", False), ("nexus", True)])
def test_an_export_without_raw_data_lets_nothing_go(
    to: Any, link: bool, data_dir: Path, tmp_path: Path
) -> None:
    export_run(UID, data_dir, to=to, output=tmp_path / ("out.nxs" if link else "out"), link=link)
    assert "is not complete" in _verdict(data_dir).why


def test_what_is_not_over_stays(archived: Path, tmp_path: Path) -> None:
    assert "not set" in _verdict(archived, after_days=None).why
    assert "less than 50 days" in _verdict(archived, after_days=50).why
    assert "item of the queue" in _verdict(archived, in_use={UID}).why
    assert _verdict(archived, in_use=None).why == ""  # of no queue
    lock = os.open(journal_path(archived, UID), os.O_RDONLY)
    import fcntl

    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        verdict = _verdict(archived)
        assert verdict.why == "it is going on"
        assert delete(archived, verdict) == 0
    finally:
        os.close(lock)
    assert _raw(archived)


@pytest.mark.parametrize("status", ["abort", "fail", None])
def test_what_can_be_resumed_stays(
    status: str | None, make_run: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    documents = make_run()
    documents.folder = folder / "assets" / "a"
    documents.folder.mkdir(parents=True)
    documents.stream("detector", "detector", {"t_before": [0.0]}, {"image": np.ones((1, 4, 4))})
    documents.stop()
    if status is None:
        documents.documents.pop()
    else:
        documents.documents[-1][1]["exit_status"] = status
    writer = JournalWriter(folder)
    for name, doc in documents.documents:
        writer(name, doc)
    writer.close()
    (verdict,) = judge(folder, 1, now=_later)
    assert verdict.why == f"it ended as {status or 'unfinished'} and can be resumed"
    assert verdict.export is None


def test_no_link_leads_out_of_the_data_folder(archived: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    folder = _raw(archived)[0].parent
    folder.rename(outside)
    folder.symlink_to(outside)
    assert not list(judge(archived, 1, now=_later))
    folder.unlink()
    folder.mkdir()
    for path in outside.iterdir():
        (folder / path.name).symlink_to(path)
    assert not list(judge(archived, 1, now=_later))
    assert list(outside.iterdir())


def test_a_data_folder_may_be_named_by_a_link(archived: Path, tmp_path: Path) -> None:
    named = tmp_path / "named"
    named.symlink_to(archived)
    delete(named, _verdict(named))
    assert not _raw(archived)
    assert any("deleted here" in one for one in Run.from_journal(UID, named).notes)


def test_an_export_that_is_the_raw_data_themselves_is_none(archived: Path, tmp_path: Path) -> None:
    crate = tmp_path / "crate"
    copied = next(crate.rglob("*.h5"))
    copied.unlink()
    copied.symlink_to(_raw(archived)[0])
    assert "does not hold any more" in _verdict(archived).why
    shutil.rmtree(copied.parent)
    copied.parent.symlink_to(_raw(archived)[0].parent)
    assert "lies among the raw data" in _verdict(archived).why


_DEEDS = st.lists(
    st.sampled_from(
        [
            "export crate",
            "export zip",
            "export nexus",
            "export csv",
            "damage export",
            "remove export",
            "change raw",
            "damage ledger",
            "retain",
        ]
    ),
    max_size=7,
)


@settings(max_examples=30)
@given(deeds=_DEEDS, place=st.integers(0, 10_000))
def test_never_deletes_what_is_not_exported(
    deeds: list[str], place: int, tmp_path_factory: pytest.TempPathFactory, raw_run: Any
) -> None:
    tmp = tmp_path_factory.mktemp("retention")
    folder = tmp / "data"
    raw_run.make(folder)
    for number, deed in enumerate([*deeds, "retain"]):
        (raw,) = _raw(folder) or (None,)
        made = sorted(tmp.glob("out*"))
        match deed:
            case "export crate" | "export zip" | "export nexus" | "export csv":
                raw_run.export(deed.split()[1], folder, tmp / f"out{number}")
            case "damage export" if made:
                files = [one for path in made for one in (path, *path.rglob("*")) if one.is_file()]
                file = files[place % len(files)]
                data = bytearray(file.read_bytes())
                data[place % len(data)] ^= 1
                file.write_bytes(data)
            case "remove export" if made:
                chosen = made[place % len(made)]
                shutil.rmtree(chosen) if chosen.is_dir() else chosen.unlink()
            case "change raw" if raw is not None:
                raw.write_bytes(raw.read_bytes() + b"\0")
            case "damage ledger":
                ledger = folder / "state" / "exports.jsonl"
                if ledger.exists():
                    text = ledger.read_text()
                    ledger.write_text(text[: place % (len(text) + 1)])
            case "retain" if raw is not None:
                content = raw.read_bytes()
                for verdict in judge(folder, 1, now=_later):
                    delete(folder, verdict)
                if not raw.exists():
                    assert _holds(tmp, content)
                    assert deleted_raw(journal_path(folder, UID)) is not None
    assert len(Run.from_journal(UID, folder).streams["detector"]) == 3


def _holds(tmp: Path, content: bytes) -> bool:
    """Return whether some export has these images, found in its own way."""
    import io
    import zipfile

    import h5py

    def images(data: bytes) -> list[bytes]:
        found = []
        try:
            with h5py.File(io.BytesIO(data)) as file:
                file.visititems(
                    lambda _, one: (
                        found.append(one[()].tobytes())
                        if isinstance(one, h5py.Dataset) and one.ndim == 3
                        else None
                    )
                )
        except (OSError, RuntimeError):
            return []
        return found

    wanted = images(content)
    for path in tmp.glob("out*"):
        for file in (path, *path.rglob("*")):
            if not file.is_file():
                continue
            if file.suffix == ".zip":
                # One that was damaged holds nothing, whatever it raises; another one may.
                with contextlib.suppress(Exception):
                    with zipfile.ZipFile(file) as archive:
                        if any(content == archive.read(name) for name in archive.namelist()):
                            return True
            elif set(wanted) <= set(images(file.read_bytes())):
                return True
    return False


class _Kept:
    """A data folder with one run of three images, and its exports, made once and copied."""

    def __init__(self, folder: Path) -> None:
        from tests.operando.conftest import HALF_CELL, RunDocuments

        self._data = folder / "data"
        documents = RunDocuments(self._data / "assets" / "a", HALF_CELL)
        documents.folder.mkdir(parents=True)
        images = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
        documents.stream("detector", "detector", {"t_before": np.arange(3.0)}, {"image": images})
        documents.stop()
        with JournalWriter(self._data) as journal:
            for name, doc in documents.documents:
                journal(name, doc)
        self._exports = {}
        for kind, to, name in (
            ("crate", "rocrate", "crate"),
            ("zip", "rocrate", "crate.zip"),
            ("nexus", "nexus", "run.nxs"),
            ("csv", "csv", "csv"),
        ):
            wanted: Any = to
            export_run(UID, self._data, to=wanted, output=folder / name)
            line = (self._data / "state" / "exports.jsonl").read_text()
            shutil.rmtree(self._data / "state")
            self._exports[kind] = folder / name, json.loads(line)

    def make(self, folder: Path) -> None:
        shutil.copytree(self._data, folder)

    def export(self, kind: str, folder: Path, target: Path) -> None:
        made, told = self._exports[kind]
        target = target.with_suffix(made.suffix)
        shutil.copytree(made, target) if made.is_dir() else shutil.copy(made, target)
        (folder / "state").mkdir(exist_ok=True)
        with (folder / "state" / "exports.jsonl").open("a") as ledger:
            ledger.write(json.dumps(told | {"path": str(target)}) + "\n")


@pytest.fixture(scope="module")
def raw_run(tmp_path_factory: pytest.TempPathFactory) -> _Kept:
    return _Kept(tmp_path_factory.mktemp("kept"))


def test_the_command_tells_first_and_deletes_when_told(
    archived: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = journal_path(archived, UID)
    os.utime(journal, (1.7e9, 1.7e9))
    assert cli.main(["retention"]) == cli.OK
    assert "nothing is ever deleted" in capsys.readouterr().out
    assert cli.main(["retention", "--older-than", "2"]) == cli.OK
    assert "may go" in capsys.readouterr().out
    assert _raw(archived)
    assert cli.main(["retention", "--older-than", "2", "--delete"]) == cli.OK
    assert "deleted" in capsys.readouterr().out
    assert not _raw(archived)


def test_numbers_of_images_are_kept_when_the_images_go(archived: Path, tmp_path: Path) -> None:
    from operando.analysis import metrics
    from operando.search import store_metrics, stored_metrics

    run = Run.from_journal(UID, archived)
    store_metrics(archived, run, metrics(run))
    delete(archived, _verdict(archived))
    assert not _raw(archived)
    found = stored_metrics(archived, Run.from_journal(UID, archived))
    assert found is not None


@pytest.mark.long
def test_the_catalog_does_not_miss_what_was_deleted_after_an_export(
    data_dir: Path, tmp_path: Path
) -> None:
    from operando.catalog import (
        ensure_service,
        rebuild_catalog,
        stop_service,
        verify,
        wait_until_ingested,
    )

    ensure_service(data_dir, wait_s=60)
    try:
        wait_until_ingested(data_dir, UID, 60)
        export_run(UID, data_dir, to="rocrate", output=tmp_path / "crate")
        delete(data_dir, _verdict(data_dir))
        assert not verify(UID, data_dir).differences
        assert any("deleted here" in one for one in Run.from_catalog(UID, data_dir).notes)
        rebuild_catalog(data_dir)
        ensure_service(data_dir, wait_s=60)
        wait_until_ingested(data_dir, UID, 60)
        assert not verify(UID, data_dir).differences
    finally:
        stop_service(data_dir)


@settings(max_examples=30)
@given(
    free=st.lists(st.floats(0.1, 1000), min_size=1, max_size=6),
    hours=st.floats(0.2, 5),
)
def test_the_disk_is_held_low_or_ok_by_what_is_free(
    free: list[float], hours: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("disk")
    limits, at = Retention(warn_below_gb=20, hold_below_gb=5), 1.8e9
    for number, gb in enumerate(free):
        told = space(
            folder,
            limits,
            now=lambda number=number: at + number * hours * 3600,
            free_bytes=lambda _, gb=gb: int(gb * 1e9),
        )
        if gb < 5 - 1e-6:
            assert told.state == "hold"
        elif gb < 20 - 1e-6:
            assert told.state == "low"
        assert (told.why == "") == (told.state == "ok")
        if number * hours < 1:
            assert told.rate_gb_day is None


def test_the_rate_of_the_last_day_tells_how_long_the_room_lasts(tmp_path: Path) -> None:
    for hour in range(40):
        told = space(
            tmp_path,
            Retention(),
            now=lambda hour=hour: 1.8e9 + hour * 3600,
            free_bytes=lambda _, hour=hour: int((80 - hour / 24 * 24) * 1e9),
        )
    assert told.rate_gb_day == pytest.approx(24, rel=1e-3)
    assert told.days_left == pytest.approx((41 - 5) / 24, rel=1e-3)
    assert told.state == "low"
    assert "lasts 1.5 days" in told.why
    (tmp_path / "state" / "queueing" / "disk.json").write_text(json.dumps({"no": "list"}))
    assert space(tmp_path, Retention()).rate_gb_day is None
