"""What others wrote makes nothing happen: bench files, names, journals, what instruments say."""

import csv
import io
import json
import os
import socket
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instruments.errors import TransportError
from instruments.transport import _addresses, resolve
from operando import cli
from operando.catalog import CatalogError
from operando.catalog._places import Places
from operando.configuration import ConfigurationError, load_bench, load_cell, load_protocol
from operando.export import export_csv, export_run
from operando.export._formats import default_output
from operando.guard._process import _Door
from operando.harmless import one_line, printable, spreadsheet_cell
from operando.journal import JournalError, JournalWriter, journal_path, list_runs, resolve_uid
from operando.journal._format import HEADERS, RECORD
from operando.live import LiveTable
from operando.questions import Question, asked
from operando.readers import ReaderError, _table, read
from operando.report import text_report
from operando.runs import Asset, Run
from operando.runs._assets import AssetPart, read_columns

Make = Callable[..., Any]
# Colours, a title, a clipboard, the first line again, a line that looks like one of ours.
ESCAPES = "\x1b[31mZn\x1b]52;c;cm0gLXJm\x07\x9b2J\r\u202eevil\x7f"
OBEYED = "\x00\x07\x08\x1b\r\x7f\x9b\u202e"
LOADERS = (load_bench, load_cell, load_protocol)


# -- YAML


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize(
    "text",
    [
        "name: !!python/object/apply:os.system ['touch HERE']",
        "name: !!python/name:os.system",
        "!!python/object/new:type {args: [x, [], {}]}",
        "name: !include /etc/passwd",
    ],
)
def test_a_tag_of_yaml_makes_nothing(
    load: Callable[[Path], Any], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.yaml"
    path.write_text(text.replace("HERE", "was-here"))
    with pytest.raises(ConfigurationError, match="not YAML"):
        load(path)
    assert not (tmp_path / "was-here").exists()


@pytest.mark.parametrize("load", LOADERS)
def test_a_file_that_grows_by_its_anchors_or_is_endless_is_refused_at_once(
    load: Callable[[Path], Any], tmp_path: Path
) -> None:
    path = tmp_path / "file.yaml"
    laughs = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    laughs += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    path.write_text("\n".join([*laughs, "name: *a9", "cell_id: *a9"]))
    with pytest.raises(ConfigurationError, match=r"anchors .* make it"):
        load(path)
    merged = ["a0: &a0 {k: 1}"]
    merged += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 10)]
    path.write_text("\n".join([*merged, "name: *a9"]))
    with pytest.raises(ConfigurationError, match=r"anchors .* make it"):
        load(path)
    path.write_text("name: " + "[" * 2_000)
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        load(path)
    with open(path, "wb") as file:
        file.truncate(10_000_000_000)  # takes no room
    with pytest.raises(ConfigurationError, match="characters"):
        load(path)


def test_what_an_address_takes_from_the_environment_is_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "OPERANDO_CATALOG_KEY", "BENCH_TOKEN"):
        monkeypatch.setenv(name, "hunter2")
        with pytest.raises(TransportError, match=f"takes no {name}") as caught:
            resolve(f"tcp://${{{name}}}.example.org:80")
        assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("BENCH_HOST", "192.168.1.7")
    assert resolve("tcp://${BENCH_HOST}:5025") == "tcp://192.168.1.7:5025"


def test_an_address_that_another_user_published_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "potentiostat"
    path.write_text("serial:///dev/pts/7")
    assert resolve(f"published:{path}") == "serial:///dev/pts/7"
    _addresses._refuse_a_strangers(path, 0, "published")
    monkeypatch.setattr(_addresses.os, "getuid", lambda: path.stat().st_uid + 1)
    if path.stat().st_uid:  # what root wrote is believed
        with pytest.raises(TransportError, match="another user"):
            resolve(f"published:{path}")
    with pytest.raises(TransportError, match="another user"):
        _addresses._refuse_a_strangers(path, path.stat().st_uid + 2, "published")


# -- run ids, names of files


@pytest.mark.parametrize(
    "uid", ["../../../../outside", "/etc/passwd", "..", ".hidden", "a/b", "a\nb", "a\x00b", "é", ""]
)
def test_a_uid_that_is_a_path_is_no_uid(uid: str, tmp_path: Path) -> None:
    data = tmp_path / "lab" / "data"
    outside = tmp_path / "outside.opj"
    with JournalWriter(data) as journal, pytest.raises(JournalError, match="cannot be called"):
        journal("start", {"uid": uid, "time": 1.7e9, "scan_id": 1})
    outside.write_bytes(b"whatever")
    (data / "journal" / "2023" / "11").mkdir(parents=True, exist_ok=True)
    with pytest.raises(LookupError, match="no run"):
        journal_path(data, uid)
    with pytest.raises(LookupError):
        resolve_uid(data, uid.ljust(40, "x"))
    assert sorted(p.name for p in tmp_path.rglob("*.opj")) == ["outside.opj"]


def test_a_question_of_an_experiment_that_is_called_like_a_path_is_not_written(
    tmp_path: Path,
) -> None:
    question = Question(run="r", root="../../../outside", text="?", until=time.time() + 9)
    with pytest.raises(OSError, match="no experiment can be called"), asked(tmp_path, question):
        pass
    assert not list(tmp_path.rglob("*.json"))


def test_a_journal_that_calls_its_run_a_path_is_left_out_of_the_list(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "journal" / "2023" / "11"
    folder.mkdir(parents=True)
    start = {"uid": "../../../../../tmp/x", "time": 1.7e9, "scan_id": 1}
    payload = msgpack.packb(["start", start])
    record = RECORD.pack(len(payload), zlib.crc32(payload)) + payload
    (folder / "7d1f0a52-0000-4000-8000-000000000001.opj").write_bytes(HEADERS[-1] + record)
    assert list_runs(tmp_path) == []
    assert "which is no uid" in caplog.text


def test_an_export_goes_where_it_was_told_whatever_the_sample_is_called(make_run: Make) -> None:
    documents = make_run(sample={"name": "../../etc/cron.d/x\n; rm -rf ~ #$(id)"})
    documents.documents[0][1]["uid"] = "../../../x"
    documents.stop()
    run = Run.from_documents(documents.documents)
    for to in ("nexus", "rocrate", "csv", "parquet"):
        path = default_output(run, to)
        assert len(path.parts) == 1
        assert not set(str(path)) & set("/\\ ;$()\n~")
        assert not str(path).startswith((".", "-"))


def test_a_journal_cannot_have_a_file_of_mine_put_into_a_crate(
    make_run: Make, synthetic: Any, tmp_path: Path
) -> None:
    secret = tmp_path / "home" / ".ssh" / "id_ed25519"
    secret.parent.mkdir(parents=True)
    secret.write_text("PRIVATE KEY")
    data = tmp_path / "data"
    documents = make_run()
    documents.folder = tmp_path
    documents.stream("raman", "raman", {"t_before": [1.0]}, {"counts": np.ones((1, 8))})
    for name, doc in documents.documents:
        if name == "stream_resource":
            doc["uri"] = f"file://localhost{secret}"
    documents.stop()
    with JournalWriter(data) as journal:
        for name, doc in documents.documents:
            journal(name, doc)
    export_run("last", data, to="rocrate", output=tmp_path / "crate")
    files = [path for path in (tmp_path / "crate").rglob("*") if path.is_file()]
    assert files
    assert not any(b"PRIVATE KEY" in path.read_bytes() for path in files)


def test_a_data_folder_cannot_have_a_secret_of_mine_sent_as_its_catalogs_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPERANDO_CATALOG_KEY", raising=False)
    secret = tmp_path / "id_ed25519"
    for text in ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n", "machine x password y"):
        secret.write_text(text)
        secret.chmod(0o600)
        (tmp_path / "catalog.yaml").write_text(f"uri: https://evil.example\nkey_file: {secret}")
        with pytest.raises(CatalogError, match="does not hold the key") as caught:
            Places(tmp_path).shared.key()  # type: ignore[union-attr]
        assert text.splitlines()[-1] not in str(caught.value)


@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "folder", "link"])
def test_what_is_no_file_or_leads_to_no_table_is_no_result(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "secret").write_text("PRIVATE KEY\nabc\n")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ReaderError) as caught:
        read(tmp_path / name, "csv" if name == "link" else None)
    assert "PRIVATE KEY" not in str(caught.value)


def test_a_file_too_large_for_any_measurement_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "giant.csv"
    with open(path, "wb") as file:
        file.truncate(_table.LARGEST_BYTES + 1)  # takes no room
    with pytest.raises(ReaderError, match=r"0\.5 GB"):
        read(path)


# -- what is shown


def _hostile(make_run: Make, synthetic: Any) -> Any:
    sample = {
        **synthetic.HALF_CELL,
        "cell_id": f"{ESCAPES}\n0badcafe  2026-01-01 00:00  fine",
        "working_electrode": {**synthetic.COPPER, "material": ESCAPES},
        "electrolyte": {"composition": ESCAPES},
    }
    documents = make_run(sample=sample)
    documents.documents[0][1]["protocol"] = ESCAPES
    documents.stream("potentiostat", "potentiostat", synthetic.galvanostatic((0.9,), rows=20))
    documents.stop("fail")
    documents.documents[-1][1]["reason"] = f"it said {ESCAPES}\n\nall is well"
    return documents


def test_a_terminal_is_told_nothing_by_names_and_reasons(
    make_run: Make,
    synthetic: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    documents = _hostile(make_run, synthetic)
    shown = io.StringIO()
    table = LiveTable(shown)
    with JournalWriter(tmp_path) as journal:
        for name, doc in documents.documents:
            journal(name, doc)
            table(name, doc)
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path))
    said = [shown.getvalue()]
    for command in (["runs"], ["report"], ["report", "--json"], ["runs", "--json"]):
        assert cli.main(command) == 0
        said.append(capsys.readouterr().out)
    assert cli.main(["report", ESCAPES]) == 2
    said.append(capsys.readouterr().err)
    for text in said:
        assert not set(text) & set(OBEYED)
    assert len(said[1].splitlines()) == 1  # one run is one line
    assert json.loads(said[3])["sample"] == documents.sample["cell_id"]
    assert text_report(Run.from_documents(documents.documents)).isprintable() is False  # lines
    assert not set(text_report(Run.from_documents(documents.documents))) & set(OBEYED)


@settings(max_examples=50)
@given(st.text(max_size=30))
def test_what_is_printed_obeys_nobody_and_json_stays_what_it_was(text: str) -> None:
    shown = printable(text)
    assert not set(shown) & set(OBEYED)
    assert len(one_line(text).splitlines()) <= 1
    assert json.loads(printable(json.dumps({"t": text}, ensure_ascii=False)))["t"] == text
    assert printable("Zn²⁺ 25 °C, µm → 100 %\n\tok") == "Zn²⁺ 25 °C, µm → 100 %\n\tok"


@settings(max_examples=50)
@given(st.text(max_size=30))
def test_a_cell_of_a_table_begins_no_formula(text: str) -> None:
    cell = spreadsheet_cell(text)
    assert cell in (text, f"'{text}")
    if cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        float(cell)  # it is a number


def test_an_exported_table_begins_no_formula(
    make_run: Make, synthetic: Any, tmp_path: Path
) -> None:
    evil = "=cmd|' /C calc'!A0"
    documents = make_run()
    documents.stream("potentiostat", "potentiostat", synthetic.galvanostatic((0.9,), rows=5))
    for name, doc in documents.documents:
        for key in ("data", "timestamps", "data_keys"):
            if key in doc:
                doc[key] = {f"={name}": value for name, value in doc[key].items()}
        if name == "event_page":
            doc["data"]["=potentiostat_role"] = [evil] * len(doc["uid"])
        elif name == "descriptor":
            doc["data_keys"]["=potentiostat_role"]["dtype"] = "string"
    documents.stop()
    export_csv(Run.from_documents(documents.documents), tmp_path / "out")
    with open(tmp_path / "out" / "potentiostat.csv", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[1:] == [head for head in header[1:] if head.startswith("'=")]
    (role,) = (number for number, head in enumerate(header) if "role" in head)
    assert {row[role] for row in rows} == {f"'{evil}"}
    potential = next(number for number, head in enumerate(header) if "potential [" in head)
    assert any(row[potential].startswith("-") for row in rows)  # numbers are as they were


# -- doors


def test_who_stays_in_the_guards_door_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(what: str, ports: set[str], asker: int) -> dict[str, Any]:
        return {"done": what, "of": sorted(ports), "for": asker}

    door = _Door(answered)
    with closing(socket.create_connection(("127.0.0.1", door.port))) as slow:
        slow.settimeout(0.1)
        began = time.monotonic()
        with closing(socket.create_connection(("127.0.0.1", door.port))) as good:
            order = {"token": door.token, "do": "look", "ports": ["a"], "asker": 1}
            good.sendall(json.dumps(order).encode() + b"\n")
            good.settimeout(0.3)
            answer = b""
            while not answer and time.monotonic() - began < 60:
                try:
                    slow.sendall(b"x")  # letter by letter: each of them was patience anew
                except OSError:
                    pass
                try:
                    answer = good.recv(4096)
                except TimeoutError:
                    continue
    door.close()
    assert json.loads(answer) == {"done": "look", "of": ["a"], "for": 1}


@pytest.mark.parametrize(
    "order", [b"", b"{}", b"[]\n", b'{"token": "x", "do": "hand back"}\n', b"\xff" * 5000]
)
def test_who_does_not_know_the_token_is_told_nothing(order: bytes) -> None:
    asked: list[str] = []
    door = _Door(asked.append)
    with closing(socket.create_connection(("127.0.0.1", door.port), timeout=60)) as line:
        line.sendall(order)
        line.shutdown(socket.SHUT_WR)
        try:
            heard = line.recv(4096)
        except ConnectionError:
            heard = b""  # it hung up with something unread
    door.close()
    assert (heard, asked) == (b"", [])


@pytest.mark.parametrize("kind", ["external", "link", "virtual"])
def test_a_file_of_frames_cannot_have_another_file_read_as_frames(
    kind: str, tmp_path: Path
) -> None:
    secret = tmp_path / "id_ed25519"
    secret.write_bytes(b"PRIVATE KEY " * 8)
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["frames"] = np.zeros((8, 12), "u1")
    with h5py.File(tmp_path / "image.h5", "w", libver="latest") as file:
        if kind == "external":
            told = [(str(secret), 0, secret.stat().st_size)]
            file.create_dataset("frames", (8, 12), "u1", external=told)
        elif kind == "link":
            file["frames"] = h5py.ExternalLink(str(tmp_path / "mine.h5"), "frames")
        else:
            layout = h5py.VirtualLayout((8, 12), "u1")
            layout[:] = h5py.VirtualSource(tmp_path / "mine.h5", "frames", (8, 12))
            file.create_virtual_dataset("frames", layout)
        file["own"] = np.arange(96, dtype="u1").reshape(8, 12)
    hostile = Asset("image", [AssetPart(tmp_path / "image.h5", "frames", 0, 8)])
    assert len(hostile) == 0
    assert list(hostile.rows()) == []
    assert hostile.parts_there() == []
    part = AssetPart(tmp_path / "image.h5", "frames", 0, 8)
    assert len(read_columns({"image": [part]})["image"]) == 0
    assert len(Asset("image", [AssetPart(tmp_path / "image.h5", "own", 0, 8)])) == 8
