"""Injections by a valve: the loop is turned into the carrier, then the chromatograph started."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from instruments._build import build
from instruments.bench import Bench
from instruments.bench_file import BenchFile
from instruments.errors import InstrumentFaultError
from instruments.sampling_valve.vici import ViciValve


def bench_file(folder: Any, **more: Any) -> BenchFile:
    at = f"published:{folder}"
    gas = {
        "kind": "gas_chromatograph",
        "language": "contact",
        "board": "relay_board",
        "start_relay": 0,
        "ready_gpio": 3,
        "results": f"{at}/chromatograms",
        "hydrogen_area_per_mole_fraction": 6.7e6,
        "valve": "valve",
        "inject_s": 0.1,
        "load_s": 0.0,
    }
    instruments = {
        "gas_chromatograph": gas | more,
        "valve": {
            "kind": "sampling_valve",
            "language": "vici",
            "address": f"{at}/sampling_valve",
        },
        "relay_board": {
            "kind": "relay_board",
            "language": "numato",
            "address": f"{at}/relay_board",
        },
    }
    return BenchFile.model_validate({"name": "one", "instruments": instruments})


@pytest.fixture
def simulated(simulate: Callable[..., Any]) -> Any:
    return simulate("zn-bare-half", "potentiostat,relay_board,sampling_valve", 1.0)


@pytest.fixture
def bench(simulated: Any) -> Iterator[Bench]:
    bench = Bench(bench_file(simulated.folder))
    bench.connect()
    yield bench
    bench.close()


def test_an_injection_turns_the_loop_into_the_carrier_and_back(
    simulated: Any, bench: Bench
) -> None:
    driver = bench._parts.drivers["gas_chromatograph"]
    told = driver.identify()
    assert (told["valve_load"], told["valve_inject"]) == ("A", "B")
    before = time.time()
    injection = driver.inject()  # type: ignore[attr-defined]
    assert (injection.ready, injection.confirmed) == (True, True)
    assert before <= injection.host_before < injection.host_after
    turned = [line["position"] for line in simulated.truth("sampling_valve")]
    assert turned == ["B", "A"]
    again = driver.inject()  # type: ignore[attr-defined]
    assert not again.ready  # it is recording: the valve was not turned for nothing
    assert len(simulated.truth("sampling_valve")) == 2


def test_a_loop_that_a_dead_program_left_in_the_carrier_fills_again(simulated: Any) -> None:
    died = ViciValve(f"published:{simulated.folder}/sampling_valve")
    died.connect()
    died.go_to("B")
    died._release()
    bench = Bench(bench_file(simulated.folder))
    bench.connect()
    assert bench._parts.drivers["valve"].position() == "B"  # type: ignore[attr-defined]
    bench.safe_state()
    bench.close()
    assert [line["position"] for line in simulated.truth("sampling_valve")] == ["B", "A"]
    assert not bench.left_unsafe


def test_a_valve_that_is_stuck_starts_no_run(simulated: Any, bench: Bench) -> None:
    simulated.break_something(instrument="sampling_valve", fault="stuck")
    end = time.monotonic() + 50
    while not any(line["event"] == "fault" for line in simulated.truth("bench")):
        assert time.monotonic() < end
        time.sleep(0.01)
    with pytest.raises(InstrumentFaultError, match="asked 'GOB'"):
        bench._parts.drivers["gas_chromatograph"].inject()  # type: ignore[attr-defined]
    assert not list((simulated.folder / "chromatogram_files").glob("*.json"))
    assert bench._parts.drivers["gas_chromatograph"].ready()  # type: ignore[attr-defined]
    simulated.break_something(instrument="sampling_valve", fault="loose")


def test_a_valve_that_is_not_on_the_bench_is_refused(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match=r"valve 'other', which is no sampling_valve.*valve"):
        bench_file(tmp_path, valve="other")


def test_a_bench_reduced_to_the_chromatograph_keeps_its_valve(tmp_path: Any) -> None:
    reduced = bench_file(tmp_path).only({"gas_chromatograph"})
    assert set(reduced.instruments) == {"gas_chromatograph", "valve", "relay_board"}
    assert list(build(reduced).drivers) == ["valve", "relay_board", "gas_chromatograph"]
    assert json.loads(reduced.model_dump_json())["instruments"]["valve"]["kind"] == "sampling_valve"
