"""What a UPS tells is said of its stations, and what people say beside it holds."""

import json
import os
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from operando.queueing import mains
from operando.queueing._alert_spool import Spool
from operando.queueing._redis import RedisServer
from operando.queueing.alerts import spool_path
from operando.queueing.errors import QueueError
from operando.queueing.mains import mark_of, set_back, set_lost
from operando.queueing.places import private, station_dir
from operando.queueing.store import Store
from operando.queueing.supervisor._house import House
from operando.queueing.supervisor._station import Station
from operando.queueing.supervisor._supervisor import Supervisor, _Served
from operando.queueing.supervisor._surroundings import alerts_of
from operando.queueing.supervisor._ups import BACK_AFTER_S, DEAD_S, UpsWatch, status
from techniques import StationEntry, StationsFile


class Upsd(socketserver.ThreadingTCPServer):
    """A server of one UPS, ``rack``, with what of RFC 9271 is asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.status = "OL"
        self.ups = f"rack@127.0.0.1:{self.server_address[1]}"


class Asked(socketserver.StreamRequestHandler):
    """Answers what one client asks, a line for a line."""

    def handle(self) -> None:
        for line in self.rfile:
            words = line.decode("ascii").split()
            told = cast(Upsd, self.server).status
            if words[:2] != ["GET", "VAR"] or len(words) != 4:
                answer = "ERR UNKNOWN-COMMAND"
            elif words[2] != "rack":
                answer = "ERR UNKNOWN-UPS"
            elif words[3] != "ups.status":
                answer = "ERR VAR-NOT-SUPPORTED"
            else:
                answer = told if told.startswith("ERR") else f'VAR rack ups.status "{told}"'
            self.wfile.write(f"{answer}\n".encode())


@pytest.fixture
def upsd() -> Iterator[Upsd]:
    with Upsd() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_ups_tells_how_it_is_or_why_not(upsd: Upsd) -> None:
    upsd.status = "OB DISCHRG LB"
    assert status(upsd.ups) == {"OB", "DISCHRG", "LB"}
    with pytest.raises(ValueError, match="UNKNOWN-UPS"):
        status(upsd.ups.replace("rack", "cellar"))
    upsd.status = "ERR DATA-STALE"
    with pytest.raises(ValueError, match="DATA-STALE"):
        status(upsd.ups)


def test_what_a_ups_tells_is_said_of_all_stations_when_it_changes(upsd: Upsd, folder: Path) -> None:
    two = tuple(StationEntry(name=name, bench="bench", supply="ups") for name in ("A1", "A2"))
    file = StationsFile(redis="127.0.0.1:1", stations=two, ups=upsd.ups)
    watch = UpsWatch(folder, upsd.ups, lambda: file)

    def said(words: str, now: float = 0.0) -> list[bool | None]:
        upsd.status = words
        watch.look(now)
        marks = [mark_of(folder, one.name) for one in two]
        return [None if mark is None else mark.low for mark in marks]

    assert said("OL") == [None, None]
    assert said("OB DISCHRG") == [False, False]
    set_back(folder, "A2")  # somebody says so, and is believed as long as the battery is not low
    assert said("OB DISCHRG") == [False, None]
    assert said("OB LB DISCHRG") == [True, True]
    assert said("OB") == [True, True]
    assert said("OL LB CHRG", 1.0) == [True, True]
    assert said("OL LB CHRG", 2.0 + BACK_AFTER_S) == [True, True]  # the next cut ended it
    assert said("OB LB", 3.0 + BACK_AFTER_S) == [True, True]
    assert said("OL", 4.0 + BACK_AFTER_S) == [True, True]  # it may go again at once
    set_back(folder, "A2")
    set_lost(folder, "A2", by="Ada")
    assert said("OL CHRG", 4.0 + 2 * BACK_AFTER_S) == [
        None,
        False,
    ]  # what a person has said a person takes back
    # On battery, and then the UPS is heard of no more: another supervisor, too, knows.
    set_back(folder, "A2")
    assert said("OB", 100.0) == [False, False]
    watch = UpsWatch(folder, upsd.ups, lambda: file)
    assert said("ERR DATA-STALE", 100.0) == [False, False]
    assert said("ERR DATA-STALE", 101.0 + DEAD_S) == [True, True]
    assert said("FSD OL", 200.0) == [True, True]
    assert said("OL", 201.0) == [True, True]
    assert said("OL", 201.0 + BACK_AFTER_S) == [None, None]


def test_what_people_say_during_a_power_cut_holds(upsd: Upsd, folder: Path) -> None:
    stations = [StationEntry(name=name, bench="bench", supply="ups") for name in ("A1", "A2")]

    def file() -> StationsFile:
        return StationsFile(redis="127.0.0.1:1", stations=tuple(stations), ups=upsd.ups)

    watch = UpsWatch(folder, upsd.ups, file)

    def said(words: str, now: float = 0.0) -> list[str | None]:
        upsd.status = words
        watch.look(now)
        marks = [mark_of(folder, one.name) for one in stations]
        return [mark and "+".join(name.split("@")[0] for name in mark.said_by) for mark in marks]

    assert said("OB") == ["UPS rack", "UPS rack"]
    # Somebody says the same for another reason, and of the other station that they are back.
    mark, _ = set_lost(folder, "A1", by="Ada", why="electrician until 17")
    assert mark.told.endswith("(OB, electrician until 17)")
    set_back(folder, "A2")
    watch = UpsWatch(folder, upsd.ups, file)  # of a supervisor that is started meanwhile
    assert said("OB") == ["UPS rack+Ada", None]
    # A station that is added is on battery, too.
    stations.append(StationEntry(name="A3", bench="bench"))
    assert said("OB") == ["UPS rack+Ada", None, "UPS rack"]
    assert said("OL") == ["UPS rack+Ada", None, "UPS rack"]
    assert said("OL", BACK_AFTER_S) == ["Ada", None, None]
    left = mark_of(folder, "A1")
    assert left is not None
    assert left.told.endswith(" (electrician until 17)")
    assert (left.at, set_back(folder, "A1")) == (mark.at, left)
    # The next power cut is another one; so is one that nobody had heard of for long.
    assert said("OB", 100.0) == ["UPS rack"] * 3
    set_back(folder, "A2")
    kept = next(folder.rglob("ups.json"))
    os.utime(kept, (1.0, 1.0))
    watch = UpsWatch(folder, upsd.ups, file)
    assert said("OB", 200.0) == ["UPS rack"] * 3
    private(station_dir(folder, "A4") / mains.MARK)
    stations.extend(StationEntry(name=name, bench="bench") for name in ("A4", "A5"))
    for _ in range(2):
        with pytest.raises(QueueError, match="station A4"):
            said("OB LB", 300.0)
    found = [mark_of(folder, one.name) for one in stations]
    assert all(mark and mark.low for mark in found)


def test_what_feeds_a_station_is_as_its_file_tells_now(
    folder: Path, server: RedisServer, store: Store, upsd: Upsd
) -> None:
    """A supervisor runs for months; who names a UPS in its file counts on it."""
    file = StationsFile(stations=(StationEntry(name="A1", bench="bench", supply="ups"),))
    alerts = alerts_of(file.alerts, folder, store)
    house = House(folder, file, server.address(), store, alerts)
    station, path = Station(house, file.stations[0]), folder / "stations.yaml"

    def ends_what_runs() -> bool:
        station._mains.look(time.time(), time.monotonic())
        return station._mains.out

    def listening() -> list[threading.Thread]:
        return [one for one in threading.enumerate() if one.name.startswith("ups ")]

    supervisor = Supervisor(folder, file, path)
    supervisor._watch_ups()
    assert listening() == []
    thread = threading.Thread(target=lambda: None)
    supervisor._served["A1"] = _Served(station, thread, threading.Event())
    set_lost(folder, "A1", by="nut")
    assert not ends_what_runs()
    a1 = {"name": "A1", "bench": "bench", "supply": "mains"}
    path.write_text(json.dumps({"stations": [a1], "ups": upsd.ups}))
    try:
        supervisor._read_again()
        assert ends_what_runs()
        assert [one.name for one in listening()] == [f"ups {upsd.ups}"]
        path.write_text(json.dumps({"stations": [a1]}) + "\n")
        os.utime(path, (1.0, 1.0))
        supervisor._read_again()
        assert supervisor._heard is None
    finally:
        if supervisor._heard is not None:
            supervisor._heard[1].set()
        for one in listening():
            one.join()


def test_that_a_ups_does_not_answer_is_told_once(folder: Path) -> None:
    file = StationsFile(stations=(StationEntry(name="A1", bench="bench"),))
    watch = UpsWatch(folder, "rack@127.0.0.1:1", lambda: file)
    for now in (0.0, 59.0, 61.0, 99.0):
        watch.look(now)
    spool = Spool(spool_path(folder))
    spool.read()
    (alert,) = spool.alerts.values()
    assert (alert.event, alert.title) == ("mains_lost", "UPS rack@127.0.0.1:1 does not answer")
    assert mark_of(folder, "A1") is None
