"""Alerts: who is told, how often, what is kept when nobody can be, and that no secret is."""

import base64
import email
import json
import logging
import os
import re
import socketserver
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operando import cli
from operando.doctor import Mask, known_secrets, write_bundle
from operando.queueing.alerts import (
    EVENTS,
    Alerts,
    campaign_over,
    leave_alert,
    recent,
    spool_path,
    stations_told,
    without_secrets,
)
from operando.queueing.model import Record, StationState
from techniques.queueing import AlertSettings

pytestmark = pytest.mark.timeout(180)

# By itself Apprise waits for 4 s, and takes an answer that comes later for none.
PATIENT = "cto=60&rto=60"
# In addresses; such that no word of ours is one by chance.
SECRET, TOKEN = "Zq7hunter2secretX", "Zq7tokenAbC123xyz"


class _Post(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server: Any = self.server
        server.posts.append((self.path, dict(self.headers), body))
        self.send_response(server.answer)
        self.end_headers()

    def do_GET(self) -> None:
        server: Any = self.server
        server.gets.append(self.path)
        self.send_response(server.answer)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Post)
    server.posts, server.gets, server.answer = [], [], 200
    server.url = f"json://bob:{SECRET}@127.0.0.1:{server.server_port}/{TOKEN}?{PATIENT}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


class _Mail(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server: Any = self.server
        self.wfile.write(b"220 test\r\n")
        for line in self.rfile:
            word = line.split()[0].upper() if line.split() else b""
            if word == b"EHLO":
                self.wfile.write(b"250-test\r\n250 AUTH PLAIN LOGIN\r\n")
            elif word == b"AUTH":
                server.logins.append(base64.b64decode(line.split()[2]))
                self.wfile.write(b"235 ok\r\n")
            elif word == b"DATA":
                self.wfile.write(b"354 go\r\n")
                lines = []
                for text in self.rfile:
                    if text == b".\r\n":
                        break
                    lines.append(text)
                server.mails.append(b"".join(lines))
                self.wfile.write(b"250 ok\r\n")
            elif word == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 ok\r\n")


@pytest.fixture
def mail() -> Iterator[Any]:
    server: Any = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Mail)
    server.daemon_threads, server.mails, server.logins = True, [], []
    port = server.server_address[1]
    who = "from=cells@lab.org&to=me@lab.org&mode=insecure"
    server.url = f"mailto://bob:{SECRET}@127.0.0.1:{port}/?{who}&{PATIENT}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


class Clock:
    """Both clocks of `Alerts`, set by a test."""

    def __init__(self) -> None:
        self.s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.s


class Sender(Alerts):
    """Alerts whose thread is the test."""

    def start(self) -> None:
        pass


def _sender(folder: Path, urls: str, clock: Clock, **given: Any) -> Sender:
    settings = AlertSettings(**given.pop("settings", {}))
    environment = {"OPERANDO_ALERTS": urls, **given.pop("environment", {})}
    return Sender(settings, folder, environment=environment, monotonic=clock, wall=clock, **given)


def _titles(web: Any) -> list[str]:
    return [json.loads(body)["title"].partition("] ")[2] for _, _, body in web.posts]


def _everything_written(folder: Path) -> str:
    return "".join(
        path.read_text("utf-8", "replace") for path in folder.rglob("*") if path.is_file()
    )


def test_an_alert_reaches_a_web_hook_and_a_mailbox_with_its_figure(
    web: Any, mail: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    figure = tmp_path / "day.png"
    figure.write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 50)
    caplog.set_level(logging.DEBUG)
    environment = {"OPERANDO_ALERTS": f"# mine\n{web.url}\n\n{mail.url}\n"}
    alerts = Alerts(AlertSettings(), tmp_path, environment=environment)
    alerts.send(
        "item_failed", "zn-bare 3/5 failed", f"it told {SECRET}", station="A1", attach=[figure]
    )
    alerts.close(60.0)

    told = json.loads(web.posts[0][2])
    assert told["title"] == "[operando A1] zn-bare 3/5 failed"
    assert told["type"] == "failure"
    assert told["message"].startswith("it told (masked)")
    assert base64.b64decode(told["attachments"][0]["base64"]) == figure.read_bytes()
    letter = email.message_from_bytes(mail.mails[0])
    assert "zn-bare 3/5 failed" in str(letter["Subject"])
    files = [part.get_filename() for part in letter.walk() if part.get_filename()]
    assert files == ["day.png"]
    assert mail.logins == [f"\0bob\0{SECRET}".encode()]

    assert [(one.state, one.to) for one in recent(tmp_path)] == [("sent", ("1 json", "2 mailto"))]
    assert stat.S_IMODE(spool_path(tmp_path).stat().st_mode) == 0o600
    written = _everything_written(tmp_path) + caplog.text
    assert SECRET not in written
    assert TOKEN not in written


def test_an_alert_is_kept_until_the_network_is_back_also_by_the_next_process(
    web: Any, tmp_path: Path
) -> None:
    clock = Clock()
    web.answer = 503
    alerts = _sender(tmp_path, web.url, clock)
    alerts.send("item_held", "zn-bare is held", station="A1")
    alerts.step()
    alerts.step()
    assert len(web.posts) == 1  # the second waits for its time
    clock.s += 6
    alerts.step()
    assert len(web.posts) == 2
    (kept,) = recent(tmp_path)
    assert kept.state == "waiting"
    assert "503" in kept.why
    assert SECRET not in kept.why

    web.answer, web.posts[:] = 200, []
    alerts = _sender(tmp_path, web.url, clock)
    alerts.step()
    alerts.step()
    assert _titles(web) == ["zn-bare is held"]
    assert [one.state for one in recent(tmp_path)] == ["sent"]


def test_who_has_an_alert_does_not_get_it_again_because_another_has_not(
    web: Any, tmp_path: Path
) -> None:
    clock = Clock()
    alerts = _sender(tmp_path, f"{web.url}\njson://127.0.0.1:1/gone", clock)
    alerts.send("item_held", "zn-bare is held")
    for _ in range(4):
        alerts.step()
        clock.s += 1000
    assert len(web.posts) == 1
    (kept,) = recent(tmp_path)
    assert (kept.state, kept.to) == ("waiting", ("1 json",))
    clock.s += 4 * 86400
    alerts.step()
    assert recent(tmp_path)[0].state == "given_up"


def test_the_same_alert_is_sent_once_and_then_counted(web: Any, tmp_path: Path) -> None:
    clock = Clock()
    alerts = _sender(tmp_path, web.url, clock)
    for number in range(5):
        alerts.send("disk_low", f"{9 - number} GB are free", station="A1")
        alerts.step()
        clock.s += 60
    assert _titles(web) == ["9 GB are free"]
    clock.s += 900
    alerts.step()
    assert _titles(web)[1:] == [f"4 more alerts since {_when(1_800_000_060)}"]
    alerts.send("disk_low", "1 GB is free", station="A1")
    alerts.step()
    assert _titles(web)[2:] == ["1 GB is free"]


def _when(at: float) -> str:
    import time

    return time.strftime("%d %b %H:%M", time.localtime(at))


@given(gaps=st.lists(st.integers(0, 600), min_size=1, max_size=60), most=st.integers(1, 8))
def test_never_more_in_an_hour_than_allowed_and_everything_is_told_or_counted(
    gaps: list[int], most: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clock, sent = Clock(), list[tuple[float, str, str]]()
    folder = tmp_path_factory.mktemp("alerts")
    alerts = _sender(folder, "json://127.0.0.1:9/x", clock, settings={"at_most_per_hour": most})
    address = alerts._addresses.told[0]
    object.__setattr__(
        address,
        "_target",
        _Recorder(lambda title, body: sent.append((clock.s, title, body))),
    )
    for number, gap in enumerate(gaps):
        clock.s += gap
        alerts.send("item_failed", f"item {number} failed")
        alerts.step()
    for _ in range(60):
        clock.s += 120
        alerts.step()
    times = [at for at, _, _ in sent]
    assert all(sum(at - 3600 < other <= at for other in times) <= most for at in times)
    text = "\n".join(f"{title}\n{body}" for _, title, body in sent)
    told = len(re.findall(r"\] item \d+ failed", text))
    others = sum(int(number) for number in re.findall(r"and (\d+) others", text))
    assert told + others == len(gaps)


def _Recorder(record: Any) -> Any:  # noqa: N802
    """A service of Apprise that notes what it is given, as a plug-in of it would."""
    import apprise

    class Notes(apprise.NotifyBase):
        service_name = "Notes"
        secure_protocol = "notes"

        def send(self, body: str, title: str = "", **_: Any) -> bool:
            record(title, body)
            return True

    return Notes(asset=apprise.AppriseAsset(storage_mode="memory", async_mode=False))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_may_read_is_refused_until_it_is_put_right(
    mode: int, web: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, path = Clock(), tmp_path / "addresses"
    path.write_text(f"{web.url}\n")
    path.chmod(mode)
    alerts = _sender(tmp_path / "data", "", clock, settings={"urls_file": str(path)})
    assert "chmod 600" in alerts.problems[0]
    assert SECRET not in alerts.problems[0]
    alerts.send("item_held", "zn-bare is held")
    alerts.step()
    assert not web.posts
    path.chmod(0o600)
    alerts.step()
    assert _titles(web) == ["zn-bare is held"]


def test_an_address_that_is_none_is_told_without_its_secret(web: Any, tmp_path: Path) -> None:
    alerts = _sender(tmp_path, f"nosuch://{TOKEN}/x\n{TOKEN}\n{web.url}", Clock())
    assert len(alerts.problems) == 2
    assert "address 1 (one of nosuch" in alerts.problems[0]
    assert TOKEN not in "".join(alerts.problems)
    alerts.send("item_held", "zn-bare is held")
    alerts.step()
    assert _titles(web) == ["zn-bare is held"]


def test_a_sign_of_life_is_sent_only_while_the_loop_goes_round(web: Any, tmp_path: Path) -> None:
    clock = Clock()
    heart = f"http://127.0.0.1:{web.server_port}/ping/{TOKEN}"
    alerts = _sender(
        tmp_path,
        web.url,
        clock,
        environment={"OPERANDO_HEARTBEAT_URL": heart},
        state=lambda: stations_told([StationState(name="A1", state="running")]),
    )
    alerts.step()
    assert not web.posts + web.gets
    for _ in range(4):
        alerts.alive()
        alerts.step()
        alerts.step()
        clock.s += 301
    assert web.gets == [f"/ping/{TOKEN}"] * 4
    assert _titles(web) == ["Sign of life"]
    assert "1 station: 1 running. Running: A1." in json.loads(web.posts[0][2])["message"]
    clock.s += 86400
    alerts.step()  # nobody said that the loop goes round
    assert len(web.posts) == 1
    again = _sender(tmp_path, web.url, clock, state=lambda: "All is well.")
    again.alive()
    again.step()
    again.step()
    assert _titles(web)[1:] == ["Sign of life"]


def test_alerts_are_sent_though_the_disk_takes_none(web: Any, tmp_path: Path) -> None:
    clock = Clock()
    (tmp_path / "state").write_text("a file where a folder should be")
    alerts = _sender(tmp_path, web.url, clock)
    alerts.send("disk_low", "no room is left")
    alerts.step()
    alerts.step()
    assert _titles(web) == ["no room is left"]


def test_the_file_stays_small_and_keeps_what_waits(tmp_path: Path) -> None:
    clock = Clock()
    alerts = _sender(tmp_path, "", clock)
    for number in range(300):
        alerts.send("daily", f"day {number}", "x" * 2000)
    alerts.step()
    alerts._addresses = _sender(tmp_path, "json://127.0.0.1:1/gone", clock)._addresses
    alerts.send("item_held", "zn-bare is held")
    alerts.step()
    alerts._spool.shorten()
    assert spool_path(tmp_path).stat().st_size < 256_000
    assert [one.state for one in recent(tmp_path)][-2:] == ["given_up", "waiting"]


@given(lines=st.lists(st.binary(max_size=80), max_size=10))
def test_damaged_lines_of_the_file_are_passed_over(
    lines: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("alerts")
    alerts = _sender(folder, "", Clock())
    alerts.send("daily", "the day")
    with spool_path(folder).open("ab") as file:
        file.write(b"\n".join(lines))
    alerts.send("daily", "the next day")
    assert [one.alert.title for one in recent(folder)] == ["the day", "the next day"]


def test_a_test_alert_and_the_list_tell_who_is_reached_and_nothing_secret(
    web: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path))
    monkeypatch.setenv("OPERANDO_ALERTS", f"{web.url}\njson://bob:{SECRET}@127.0.0.1:1/{TOKEN}")
    assert cli.main(["alerts", "test", "--event", "cell_finished"]) == cli.FAILED
    assert _titles(web) == [f"Test: {EVENTS['cell_finished'].about}"]
    assert cli.main(["alerts", "list"]) == cli.OK
    told = capsys.readouterr()
    assert "1 json" in told.out
    assert "127.0.0.1:1" not in told.out
    assert SECRET not in told.out + told.err
    assert TOKEN not in told.out + told.err
    monkeypatch.setenv("OPERANDO_ALERTS", "")
    assert cli.main(["alerts", "test"]) == cli.FAILED
    assert "OPERANDO_ALERTS" in capsys.readouterr().err


def test_no_support_bundle_holds_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zipfile

    config, private = tmp_path / "config", tmp_path / "private"
    config.mkdir()
    private.write_text(f"slack://{TOKEN}/A1/B2\n")
    private.chmod(0o600)
    (config / "stations.yaml").write_text(
        f"stations: [{{name: A1, bench: sim}}]\nalerts: {{urls_file: {private}}}\n"
    )
    monkeypatch.setenv("OPERANDO_CONFIG", str(config))
    monkeypatch.setenv("OPERANDO_ALERTS", f"mailto://bob:{SECRET}@lab.org")
    monkeypatch.setenv("OPERANDO_HEARTBEAT_URL", f"https://hc.example.org/{SECRET}")
    state = tmp_path / "data" / "state"
    state.mkdir(parents=True)
    (state / "x.log").write_text(f"sent to slack://{TOKEN}/A1/B2 and {SECRET}\n")
    bundle = write_bundle(tmp_path / "b.zip", bench="none", data_dir=tmp_path / "data")
    with zipfile.ZipFile(bundle.path) as archive:
        text = "".join(archive.read(name).decode() for name in archive.namelist())
    assert "OPERANDO_ALERTS=(masked)" in text
    assert SECRET not in Mask(known_secrets(tmp_path)).text(text)
    assert f"bob:{SECRET}" not in text
    assert TOKEN not in text


def test_a_bench_file_sends_no_address_of_alerts_to_a_host_it_names() -> None:
    from instruments.errors import TransportError
    from instruments.transport import resolve

    for name in ("OPERANDO_ALERTS", "OPERANDO_HEARTBEAT_URL", "OPERANDO_REDIS_PASSWORD"):
        with pytest.raises(TransportError, match="takes no"):
            resolve(f"tcp://${{{name}}}.example.org:1")


def test_two_processes_send_each_alert_once_and_one_takes_over_from_the_other(
    web: Any, tmp_path: Path
) -> None:
    code = (
        "import sys, time; from pathlib import Path;"
        "from operando.queueing.alerts import Alerts;"
        "from techniques.queueing import AlertSettings;"
        "a = Alerts(AlertSettings(), Path(sys.argv[1])); a.start(); time.sleep(0.2);"
        "[a.send('daily', f'theirs {n}') for n in range(10)];"
        "print('sent', flush=True); time.sleep(60)"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OPERANDO_ALERTS": web.url,
    }
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        alerts = Alerts(AlertSettings(), tmp_path, environment={"OPERANDO_ALERTS": web.url})
        for number in range(10):
            alerts.send("daily", f"ours {number}")
        _until(lambda: len(recent(tmp_path)) == 20 and not _waiting(tmp_path))
        assert sorted(_titles(web)) == sorted(
            f"{whose} {n}" for whose in ("ours", "theirs") for n in range(10)
        )
        web.posts.clear()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    leave_alert(tmp_path, "run_alarm", "a hard short", f"password: {SECRET}", station="A1")
    _until(lambda: not _waiting(tmp_path))
    alerts.close(60.0)
    assert _titles(web) == ["a hard short"]
    assert SECRET not in _everything_written(tmp_path)


def _waiting(folder: Path) -> list[str]:
    return [one.alert.title for one in recent(folder, 100) if one.state == "waiting"]


def _until(condition: Any) -> None:
    import time

    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_campaign_is_done_when_every_item_of_it_is_over() -> None:
    def record(item: str, state: Any, **told: Any) -> Record:
        return Record(item=item, station="A1", cell_id="zn", campaign="zn", state=state, **told)

    done = [record("1", "done"), record("2", "failed", label="zn 2/2", reason="a hard short")]
    assert campaign_over("zn", done, []) == (
        "Campaign zn is done: 1 done, 1 failed",
        "zn 2/2: failed: a hard short",
    )
    assert campaign_over("zn", [*done, record("3", "held")], []) is None
    assert campaign_over("zn", done, [{"campaign": "zn"}]) is None
    assert campaign_over("", done, []) is None
    assert campaign_over("na", done, []) is None


def test_an_event_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such event: 'fire'"):
        _sender(tmp_path, "", Clock()).send("fire", "x")


def test_importing_the_package_imports_nothing_slow() -> None:
    code = "import sys, operando.queueing.alerts; sys.exit('apprise' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )


def test_managers_and_workers_are_given_no_address() -> None:
    given = {"OPERANDO_ALERTS": SECRET, "OPERANDO_HEARTBEAT_URL": SECRET, "PATH": "/bin"}
    assert without_secrets(given) == {"PATH": "/bin"}
