"""The Micro GC Fusion's driver against pages of its manual, and against the simulated one."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from instruments.errors import InstrumentFaultError, ProtocolError, TransportError
from instruments.gas_chromatograph import GasChromatograph, Results
from instruments.gas_chromatograph.fusion import Fusion, FusionClient, FusionResults
from techniques.injections import injection_label, labelled_injection

PAGES = Path(__file__).parents[2] / "transcripts" / "fusion" / "driver.txt"
Play = Callable[..., str]


def _pages() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in PAGES.read_text().splitlines():
        if line.startswith("# "):
            turns = found.setdefault(line[2:], [])
        elif line:
            turns.append(line)
    return found


class _Player(BaseHTTPRequestHandler):
    """Answers the requests of some pages in their order, and nothing else."""

    turns: list[str]
    surprises: list[str]

    def do_GET(self) -> None:
        self._answer("")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._answer(f" {body}")

    def _answer(self, body: str) -> None:
        asked = f"> {self.command} {self.path}{body}"
        if not self.turns or self.turns[0] != asked:
            self.surprises.append(f"{asked}, not {self.turns[:1]}")
            self.send_error(418)
            return
        del self.turns[0]
        answer = self.turns.pop(0)
        if answer == "x":
            self.close_connection = True
            return
        status, _, content = answer.removeprefix("< ").partition(" ")
        self.send_response(int(status))
        self.send_header("Content-Length", str(len(content.encode())))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, format: str, *values: Any) -> None:
        pass


@pytest.fixture(name="play")
def _play() -> Iterator[Play]:
    servers: list[tuple[ThreadingHTTPServer, threading.Thread, type[_Player]]] = []

    def play(*names: str) -> str:
        turns = [turn for name in names for turn in _pages()[name]]
        handler = type("Player", (_Player,), {"turns": turns, "surprises": []})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        servers.append((server, thread, handler))
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield play
    for server, thread, handler in servers:
        server.shutdown()
        thread.join()
        server.server_close()
        assert handler.surprises == []
        assert handler.turns == []


@pytest.fixture(name="connected")
def _connected(play: Play) -> Iterator[Callable[..., Fusion]]:
    drivers: list[Fusion] = []

    def connect(*pages: str, **told: float) -> Fusion:
        address = play("connecting", *pages)
        drivers.append(Fusion(address, method="H2", detector="moduleA:tcd", **told))
        drivers[-1].connect()
        return drivers[-1]

    yield connect
    for driver in drivers:
        driver.close()


def test_it_is_a_gas_chromatograph_that_nobody_has_confirmed_on_hardware(
    connected: Callable[..., Fusion], caplog: pytest.LogCaptureFixture
) -> None:
    driver: GasChromatograph = connected()
    assert driver.verified_on is None
    assert "has not been confirmed on real hardware" in caplog.text
    assert driver.identify()["modules"] == "2"
    driver.safe_state()


def test_an_instrument_may_count_its_modules_from_zero(play: Play) -> None:
    driver = Fusion(play("connecting to one with a single module"), method="H2")
    driver.connect()
    assert driver.identify()["modules"] == "0"
    driver.close()


def test_a_run_is_called_as_asked_and_confirmed_by_the_state(
    connected: Callable[..., Fusion],
) -> None:
    injection = connected("a run").inject("ours")
    assert (injection.ready, injection.confirmed) == (True, True)
    assert injection.host_before <= injection.host_after


def test_what_is_broken_is_asked_once_more_and_a_run_is_started_once(
    connected: Callable[..., Fusion],
) -> None:
    injection = connected("a run between answers that are broken").inject("ours")
    assert (injection.ready, injection.confirmed) == (True, True)


def test_a_command_whose_answer_is_lost_is_not_sent_again(
    connected: Callable[..., Fusion],
) -> None:
    driver = connected("a run whose answer is lost", "it is still ready", confirm_timeout_s=0)
    with pytest.raises(TransportError, match=r"cmd\.run, it cannot be reached"):
        driver.inject("ours")


def test_a_command_whose_answer_is_lost_has_started_what_is_not_ready_any_more(
    connected: Callable[..., Fusion], caplog: pytest.LogCaptureFixture
) -> None:
    injection = connected("a run whose answer is lost", "it is still ready", "it runs").inject(
        "ours"
    )
    assert (injection.ready, injection.confirmed) == (True, False)
    assert "it has left its ready state: taken as started" in caplog.text


def test_a_question_that_is_answered_too_late_is_asked_once_more() -> None:
    asked: list[str] = []
    answered = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if len(asked) == 1:
                answered.wait(50)
            self.send_response(200)
            self.send_header("Content-Length", "1")
            self.end_headers()
            with contextlib.suppress(OSError):  # whoever asked has gone
                self.wfile.write(b"1")

        def log_message(self, format: str, *values: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        client = FusionClient(f"http://127.0.0.1:{server.server_address[1]}", timeout_s=0.5)
        try:
            assert client.modules() == 1
        finally:
            answered.set()
            client.close()
            server.shutdown()
            thread.join()
    assert len(asked) == 2


@pytest.mark.parametrize("page", ["a run while it bakes", "a run that is refused"])
def test_one_that_does_not_run_was_not_ready(connected: Callable[..., Fusion], page: str) -> None:
    injection = connected(page).inject("ours")
    assert (injection.ready, injection.confirmed) == (False, False)


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("a run that it does not know", "asked to run, it answered HTTP 404"),
        ("a state that is none", "which is|no two states"),
    ],
)
def test_an_answer_that_is_none_is_an_error(
    connected: Callable[..., Fusion], page: str, complaint: str
) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        connected(page).inject("ours")


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("one without that method", InstrumentFaultError, "'H2', it answered HTTP 500"),
        ("a web server of another kind", ProtocolError, "HTTP 404: is a Micro GC Fusion"),
        ("a proxy", ProtocolError, "no JSON.*no proxy"),
        ("one that tells something else", ProtocolError, r"\{'modules': 2\}.*its address"),
        ("one that says nothing", TransportError, "cannot be reached"),
    ],
)
def test_what_cannot_be_worked_with_is_not_connected(
    play: Play, page: str, error: type[Exception], complaint: str
) -> None:
    driver = Fusion(play(f"connecting to {page}"), method="H2", detector="moduleA:tcd")
    with pytest.raises(error, match=complaint):
        driver.connect()


def test_of_several_modules_one_has_to_be_named(play: Play) -> None:
    with pytest.raises(InstrumentFaultError, match=r"it has 2 modules.*which sees hydrogen"):
        Fusion(play("two modules"), method="H2").connect()


def test_addresses_that_lead_nowhere_are_told() -> None:
    with pytest.raises(TransportError, match="write it as http://host"):
        Fusion("tcp://10.0.0.1:80").connect()
    with pytest.raises(TransportError, match="cannot be reached"):
        Fusion("http://127.0.0.1:9").connect()


def test_results_are_new_once(play: Play) -> None:
    results = FusionResults(play("no results yet", "one result more"))
    results.begin()
    (found,) = results.new()
    assert (found.path.name, found.label, found.trace) == ("b2", "ours", (1.0, 2.0))
    results.end()


def test_results_are_had_behind_answers_that_are_broken(play: Play) -> None:
    results = FusionResults(play("no results yet", "results behind answers that are broken"))
    results.begin()
    (found,) = results.new()
    assert found.path.name == "b2"
    results.end()


def test_results_that_are_gone_or_none_are_errors(play: Play) -> None:
    address = play(
        "a result that was deleted", "a list that is none", "a last result without a place"
    )
    results = FusionResults(address)
    with pytest.raises(ProtocolError, match="has it been deleted"):
        results.content("b2")
    with pytest.raises(ProtocolError, match="asked /runData"):
        results.listed()
    with pytest.raises(ProtocolError, match="asked /v1/lastRun"):
        results.begin()
    results.end()


def test_the_name_of_an_injection_comes_back() -> None:
    uid = "7d1f0a52-0000-4000-8000-000000000001"
    assert labelled_injection(f"Monday {injection_label(uid, 7)}, again") == (uid, 7)
    assert labelled_injection("injection 7") is None


def test_the_simulated_one_runs_refuses_and_hands_over(simulate: Callable[..., Any]) -> None:
    bench = simulate("zn-bare-half", "fusion", 4000.0)
    driver = Fusion(bench.address("fusion"), method="H2_molecular_sieve")
    results: Results = FusionResults(bench.address("fusion"))
    driver.connect()
    try:
        results.begin()
        injection = driver.inject("ours")
        assert (injection.ready, injection.confirmed) == (True, True)
        end = time.monotonic() + 50
        found = list(results.new())
        while not found and time.monotonic() < end:
            time.sleep(0.05)
            found += results.new()
        assert [one.label for one in found] == ["ours"]
        assert len(found[0].trace) == 8000
        assert list(results.listed()) == ["000001"]
        bench.break_something(instrument="fusion", fault="refuse")
        bench.break_something(instrument="fusion", fault="garble", count=1)
        while time.monotonic() < end:
            with contextlib.suppress(ProtocolError):  # the page of a proxy
                if not driver.inject("again").ready:
                    break
            time.sleep(0.1)
        assert time.monotonic() < end
    finally:
        driver.close()
        results.end()


@pytest.mark.parametrize(
    ("date", "ahead_s"),
    [(3600.0, 3600.0), (0.0, 0.0), (-86400.0, -86400.0), (None, None), (math.nan, None)],
)
def test_how_far_its_clock_is_ahead_is_told_by_the_date_of_an_answer(
    date: float | None, ahead_s: float | None
) -> None:
    class Dated(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            if date is not None:
                told = "yesterday" if math.isnan(date) else formatdate(time.time() + date)
                self.send_header("Date", told)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, format: str, *values: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Dated) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        driver = Fusion(f"http://127.0.0.1:{server.server_address[1]}")
        try:
            found = driver.clock_ahead_s()
        finally:
            driver.close()
            server.shutdown()
            thread.join()
    assert found == (None if ahead_s is None else pytest.approx(ahead_s, abs=60.0))
