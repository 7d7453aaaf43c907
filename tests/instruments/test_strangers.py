"""Another instrument at an address says nothing of the one that was there."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from instruments.bench import Bench
from instruments.bench_file import BenchFile
from instruments.errors import InstrumentError, StrangerError
from instruments.making_safe import resorts
from instruments.relay_board import NumatoRelayBoard
from instruments.strangers import Known, mark_of, refuse_stranger
from tests.instruments.conftest import SimulatedBench

OURS, THEIRS = ("EmStat4 HR ES4HR24C0001", "EmStat4 HR ES4HR24C0002")


def test_model_and_serial_number_tell_one_instrument_from_another() -> None:
    assert mark_of({"model": "EmStat4 HR", "serial_number": " ES4HR24C0001\n"}) == OURS
    assert mark_of({"model": "JULABO TOPTECH"}) == "JULABO TOPTECH"
    assert mark_of({}) == mark_of({"serial_number": ""})
    refuse_stranger((), THEIRS, "look")  # nothing is known: whoever answers is taken
    refuse_stranger((OURS,), OURS, "look")
    with pytest.raises(
        StrangerError,
        match=f"NOT known to be safe: another instrument .{THEIRS} instead of {OURS}. answers",
    ):
        refuse_stranger((OURS, THEIRS), THEIRS, "look")


class Bay:
    """Two benches, and the addresses that this bench uses, which lead to one or the other."""

    def __init__(self, folder: Path, benches: tuple[SimulatedBench, ...]) -> None:
        self.folder, self.benches = folder, benches

    def plug(self, name: str, bench: int) -> None:
        address = (self.benches[bench].folder / name).read_text()
        (self.folder / name).write_text(address)

    def file(self, *names: str, **more: Mapping[str, Any]) -> BenchFile:
        known: dict[str, dict[str, Any]] = {
            "potentiostat": {"kind": "potentiostat", "language": "methodscript"},
            "relay_board": {"kind": "relay_board", "language": "numato"},
            "lamp": {"kind": "lamp", "language": "relay", "board": "relay_board", "relay": 2},
        }
        told = {}
        for name in names:
            told[name] = {**known[name], **more.get(name, {})}
            if name != "lamp":
                self.plug(name, 0)
                told[name]["address"] = f"published:{self.folder / name}"
        return BenchFile.model_validate({"name": "bay", "instruments": told})


@pytest.fixture(scope="module")
def bay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bay]:
    folder, served = tmp_path_factory.mktemp("bay"), "potentiostat,relay_board"
    benches = tuple(
        SimulatedBench(folder / f"bench-{n}", "zn-bare-half", served, 1000.0, "--seed", str(n))
        for n in (0, 1)
    )
    board = NumatoRelayBoard(benches[1].address("relay_board"))
    board.connect()
    board._exchange("id set 00000002")
    board.close()
    yield Bay(folder, benches)
    for bench in benches:
        bench.stop()


def made_safe(file: BenchFile, name: str, known: Known | None) -> str:
    made = resorts(file, known=known)
    resort = next(one for group in made for one in group if one.name == name)
    try:
        return resort.make_safe()
    finally:
        resort.release()


def light_left_on(bay: Bay, bench: int) -> NumatoRelayBoard:
    board = NumatoRelayBoard(bay.benches[bench].address("relay_board"))
    board.connect()
    board.set_relay(2, True)
    board._closed_here.clear()
    board.close()
    return board


def test_what_makes_a_bench_safe_tells_strangers_and_leaves_what_it_can_as_it_is(bay: Bay) -> None:
    file = bay.file("potentiostat", "relay_board", "lamp")
    bench = Bench(file)
    light_left_on(bay, 0)
    bench.connect()
    # Connecting a board moves nothing: what a program that died has left is settled besides.
    assert bench.drivers["relay_board"].relay(2)
    assert bench.settle({"relay_board", "potentiostat"}) == []
    assert not bench.drivers["relay_board"].relay(2)
    told = bench.answered_for()
    bench.close()
    assert bench.left_safe == {"potentiostat", "relay_board", "lamp"}
    assert not any(bench.answered_for().values())
    assert made_safe(file, "potentiostat", None) == "cell open"  # nobody said who it was
    assert made_safe(file, "potentiostat", Known(told.__getitem__)) == "cell open"
    assert made_safe(file, "relay_board", Known(told.__getitem__)) == "relays 2 open"
    theirs = light_left_on(bay, 1)
    for name in ("potentiostat", "relay_board"):
        bay.plug(name, 1)
        known = Known(told.__getitem__)
        with pytest.raises(StrangerError, match="NOT known to be safe: another instrument"):
            made_safe(file, name, known)
        bay.plug(name, 0)
        made_safe(file, name, known)
    theirs.connect()
    assert theirs.relay(2)  # another's light is not ours to switch
    theirs.set_relay(2, False)
    theirs.close()


def test_a_stranger_that_runs_nothing_does_not_tell_that_our_program_has_ended(bay: Bay) -> None:
    file = bay.file("potentiostat", potentiostat={"on_silence": "let_instrument_finish"})
    known = Known(lambda name: {OURS})
    ((resort,),) = resorts(file, threading.Event(), known)
    with pytest.raises(StrangerError, match=f"instead of {OURS}. answers"):
        resort.make_safe()
    resort.release()


def test_a_bench_answers_for_what_was_lost_also_when_another_one_has_come(bay: Bay) -> None:
    bench = Bench(bay.file("potentiostat", "relay_board", "lamp"))
    bench.connect()
    bench.devices["lamp"].driver.on()
    first = bench.marks()
    for name in ("potentiostat", "relay_board"):
        bench.drivers[name]._transport.close()  # the cable
        bay.plug(name, 1)
        bench.reconnect(name)
        second = bench.marks()
        assert bench.answered_for()[name] == {first[name], second[name]}
        assert f"{second[name]} instead of {first[name]}" in str(bench.strangers()[name])
    bench.close()
    assert "potentiostat" in bench.unsafe
    assert "relay_board" in bench.unsafe
    known = Known(lambda name: bench.answered_for().get(name, ()))
    for plugged in (1, 0):
        bay.plug("potentiostat", plugged)
        with pytest.raises(StrangerError) if plugged else contextlib.nullcontext():
            made_safe(bench.file, "potentiostat", known)
    assert not known.unsettled("potentiostat")


def test_the_same_one_that_comes_back_settles_what_was_lost(bay: Bay) -> None:
    bench = Bench(bay.file("potentiostat", "relay_board", "lamp"))
    bench.connect()
    bench.devices["lamp"].driver.on()
    for name in ("potentiostat", "relay_board"):
        bench.drivers[name]._transport.close()
        with contextlib.suppress(InstrumentError):
            (bay.folder / name).write_text("serial:///dev/nothing")
            bench.reconnect(name)
    # Half of it failed: neither is connected, and neither has confirmed anything.
    assert "relay_board" in bench.doubts()
    for name in ("potentiostat", "relay_board"):
        bay.plug(name, 0)
        bench.reconnect(name)
    assert not bench.doubts()
    bench.close()
    assert bench.left_unsafe == []


def test_a_number_in_the_bench_file_holds_also_when_it_is_connected_again(bay: Bay) -> None:
    bench = Bench(bay.file("relay_board", relay_board={"serial_number": "00000000"}))
    bench.connect()
    bay.plug("relay_board", 1)
    with pytest.raises(
        InstrumentError, match="it told '00000002', the bench file names '00000000'"
    ):
        bench.reconnect("relay_board")
    bench.close()
    assert bench.left_unsafe == []
