"""A support bundle: what is in it, also of what is broken, and that no secret is."""

import json
import os
import socket
import stat
import urllib.parse
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instruments.transport import read_dialogue
from operando import cli
from operando.doctor import DoctorError, Mask, known_secrets, write_bundle
from operando.journal import JournalWriter
from operando.simulation import SimulatedBench

Make = Callable[..., Any]
# What a password may be made of; such that no word of a bundle is one by chance.
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=20).map(
    lambda text: f"Zq7{text}"
)
WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=6).map(
    lambda text: f"Zq7{text}"
)
PLACES = (
    "password: {}\n",
    "  - {{kind: x, api_key: {}}}\n",
    "smtp_password = {}\n",
    "GITHUB_TOKEN={}\n",
    "connected to https://user:{}@example.org/x\n",
    "tcp://{}@10.0.0.1:5025\n",
    "GET /api/v1?api_key={}&x=1 HTTP/1.1\n",
    "Authorization: Apikey {}\n",
    "headers: Bearer {}, accepted\n",
    '{{"user": "me", "token": "{}", "n": 1}}\n',
    "    credentials: |\n      {}\n      more\n    next: 1\n",
    "wpa_psk={}\n",
    "snmp_community: {}\n",
    "  passcode: {}\n",
    "pin: {}\n",
    "otp = {}\n",
    "posting to https://hooks.slack.com/services/T0/{} failed\n",
    "https://lab.webhook.office.com/webhookb2/{}@a/IncomingWebhook/b\n",
    "GET https://api.telegram.org/bot12345:{}/getMe\n",
    "webhook: lab/{}\n",
    "GET https://x.blob.example.net/a?sv=2024&sig={}&se=1\n",
    "GET /callback?code={}\n",
    "mount.cifs --password {} //server/share\n",
    "INFO ran ['mount', '--password', '{}', '-v']\n",
    '{{"args": "[\\"--db-password\\", \\"{}\\"]"}}\n',
    "args:\n  - --password\n  - {}\n",
    "[mount, --password, {}]\n",
    "password:\n  {}\nname: b\n",
    "box:\n  password:\n\n      {}\n  kind: x\n",
    "passwords:\n- {}\nname: b\n",
    '{{"a": 1, "password":\n"{}"}}\n',
    '{{"a": 1, "password":\n    "{}",\n "b": 2}}\n',
    '{{\n  "credentials": {{\n    "user": "me",\n    "says": "{}"\n  }}\n}}\n',
    "{{a: 1, password:\n   {}, b: 2}}\n",
    "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
)


def contents(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=15)
@given(secret=WORDS)
def test_what_stands_where_secrets_stand_is_masked(place: str, secret: str) -> None:
    text = f"before\n{place.format(secret)}after\n"
    shown = Mask(home="/home/me").text(text)
    assert secret not in shown
    assert shown.startswith("before\n")
    assert shown.endswith("after\n")


@given(SECRETS)
def test_a_secret_that_is_known_is_masked_however_it_is_written(secret: str) -> None:
    raw = secret.encode()
    written = (
        secret, json.dumps(secret), repr(secret), repr(raw), urllib.parse.quote(secret, safe=""),
        urllib.parse.quote(secret), yaml.safe_dump({"x": secret}), f"a{secret}b",
    )  # fmt: skip
    mask = Mask([secret], home="/home/me")
    for text in written:
        assert "Zq7" not in mask.text(text), text
    assert "Zq7" not in json.dumps(mask.tree({secret: [secret, {"a": (secret,)}]}))


def test_what_is_no_secret_stays(tmp_path: Path) -> None:
    mask = Mask(home="/home/me")
    for text in (
        "data_key: camera_image\n", "keyboard: us\n", "author: Ada\n", "bypass: 1.5\n",
        "tcp://192.168.1.7:5025\n", "serial:///dev/serial/by-id/usb-FTDI_X-if00\n",
        "monkey=1 pawn=2\n", "/home/mean/x\n",
        "pins: 3\n", "exit code=3, error code: 7\n", "opinion: none\n", "--passive 3\n",
        "author:\n  Ada\n", "https://example.org/catalog?code_page=2\n",
    ):  # fmt: skip
        assert mask.text(text) == text
    arguments = ["mount", "--password", "Zq7", "--user", "me"]
    assert mask.tree(arguments) == ["mount", "--password", "(masked)", "--user", "me"]
    assert mask.tree({"pin": 1234, "wpa_psk": ["a"], "pins": 3}) == {
        "pin": "(masked)", "wpa_psk": "(masked)", "pins": 3,
    }  # fmt: skip
    assert mask.text("in /home/me/data and /home/me\n") == "in ~/data and ~\n"


def test_secrets_of_stations_are_masked_wherever_they_stand(tmp_path: Path) -> None:
    queueing = tmp_path / "state" / "queueing"
    lock, token = "0123456789abcdef-lock", "ghijklmnopqrstuv-ticket"
    files = {
        "redis/password": "redis-redis-redis\n",
        "door/tokens.key": "door-door-door-door",
        "stations/A1/keys.json": json.dumps({"lock": lock, "control": "ipc:///run/A1.sock"}),
        "stations/A1/ticket.json": json.dumps({"token": token, "item": "0123456789abcdef"}),
    }
    for name, text in files.items():
        (queueing / name).parent.mkdir(parents=True, exist_ok=True)
        (queueing / name).write_text(text)
    secrets = known_secrets(tmp_path, {})
    assert sorted(secrets) == sorted([lock, token, "redis-redis-redis", "door-door-door-door"])


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=WORDS)
def test_no_secret_is_in_a_bundle(
    secret: str, make_run: Make, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("doctor")
    data = folder / "data"
    (data / "state").mkdir(parents=True)
    (data / "state" / "catalog.key").write_text(f"{secret}-of-the-catalog")
    key = folder / "shared.key"
    key.write_text(f"{secret}-of-the-lab\n")
    (data / "catalog.yaml").write_text(f"uri: https://lab\nkey_file: {key}\n")
    (data / "state" / "catalog.log").write_text(
        f"INFO it is {secret}-of-the-catalog\nHTTP https://a:{secret}@lab/?api_key={secret}\n"
    )
    (data / "state" / "guard.jsonl").write_text(json.dumps({"a": 1, "token": secret}) + "\n")
    bench = folder / "bench.yaml"
    bench.write_text(
        f"name: b  # password {secret}\ninstruments:\n  box: {{kind: external, language: folder, "
        f"address: 'folder://me:{secret}@host/x', password: {secret}}}\n# the token is {secret}\n"
    )
    documents = make_run(sample={"cell_id": "C1", "shop_password": secret})
    uid = documents.documents[0][1]["uid"]
    documents.stop("fail")
    documents.documents[-1][1]["reason"] = f"refused by http://x:{secret}@proxy, {secret}-in-proxy"
    with JournalWriter(data) as journal:
        for name, doc in documents.documents:
            journal(name, doc)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_SECRET", f"{secret}-in-proxy")
        patch.setenv("OPERANDO_CATALOG_KEY", f"{secret}-of-the-catalog")
        patch.setenv("https_proxy", f"http://me:{secret}@proxy:8080")
        write_bundle(folder / "b.zip", bench=str(bench), data_dir=data, run=uid)
    found = contents(folder / "b.zip")
    assert f"run-{uid[:8]}.yaml" in found
    assert {"logs/catalog.log", "logs/guard.jsonl", "bench.yaml"} <= set(found)
    for name, text in found.items():
        assert secret not in text, name
    assert "cell_id: C1" in found[f"run-{uid[:8]}.yaml"]
    assert "refused by" in found["runs.txt"]


def test_a_bundle_of_a_broken_bench_says_what_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path / "nowhere"))
    bench = tmp_path / "bench.yaml"
    for number, (text, told) in enumerate(
        [
            ("name: b\ninstruments: {a: {kind: balance, language: x}}\n", "LEFT OUT"),
            ("name: [\n", "not YAML"),
            ("", "is empty"),
            ("\n".join(["a0: &a0 [1, 1]", *(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]"
                                            for n in range(1, 12))]), "anchors"),
        ]
    ):  # fmt: skip
        bench.write_text(text)
        target = tmp_path / f"{number}.zip"
        assert cli.main(["doctor", "--bench", str(bench), "--to", str(target)]) == 0
        found = contents(target)
        assert told in found["bench.txt"]
        assert "There is no data folder" in found["runs.txt"]
        assert "pyserial" in found["versions.txt"]
        said = capsys.readouterr().out
        assert "Nothing was sent anywhere" in said
        assert all(name in said for name in found)
        assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path))
    target = tmp_path / "thesis.zip"
    target.write_text("two years")
    assert cli.main(["doctor", "--to", str(target)]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert target.read_text() == "two years"
    with pytest.raises(DoctorError, match="cannot be written"):
        write_bundle(target / "b.zip", bench="sim", data_dir=tmp_path)


def test_a_bench_that_is_connected_has_its_dialogues_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bench = tmp_path / "bench.yaml"
    bench.write_text(
        "name: two\ninstruments:\n"
        "  board: {kind: relay_board, language: numato, address: 'published:${OPERANDO_SIM}/"
        "relay_board'}\n"
        f"  ph: {{kind: sensor, language: atlas_ezo_ph, address: 'tcp://127.0.0.1:{port}'}}\n"
    )
    monkeypatch.delenv("OPERANDO_DIALOGUES", raising=False)
    with SimulatedBench("zn-bare", instruments=["relay_board"], directory=tmp_path / "sim"):
        write_bundle(tmp_path / "b.zip", bench=str(bench), data_dir=tmp_path, record=True)
    assert "OPERANDO_DIALOGUES" not in os.environ
    found = contents(tmp_path / "b.zip")
    (dialogue,) = (text for name, text in found.items() if name.startswith("dialogues/serial-"))
    path = tmp_path / "dialogue.txt"
    path.write_text(dialogue)
    assert any(turn.way == ">" and b"ver" in turn.data for turn in read_dialogue(path))
    told = found["dialogues/connection.txt"]
    assert "board: did not fail" in told
    assert "ph: NOT CONNECTED" in told


def test_the_secrets_of_the_environment_are_known(tmp_path: Path) -> None:
    told = {
        "AWS_SECRET_ACCESS_KEY": "one-secret", "PGPASSWORD": "two-secret", "HOME": "/home/me",
        "PWD": "/home/me/work", "http_proxy": "http://me:three-secret@proxy", "AUTH": "false",
    }  # fmt: skip
    found = known_secrets(tmp_path, told)
    assert {"one-secret", "two-secret", "three-secret"} <= set(found)
    assert not {"/home/me", "/home/me/work", "false"} & set(found)
