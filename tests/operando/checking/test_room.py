"""How much a run is said to write, and whether there is room for it."""

from pathlib import Path

import pytest

from operando.checking import Estimate, Part, estimate
from operando.checking._space import free_space
from operando.configuration import load_bench, load_cell, load_protocol
from operando.room import size_text
from techniques import OpenCircuit, Protocol, Recording, Schedule


def of(told: Estimate) -> dict[str, float]:
    return {part.what: part.count for part in told.parts}


def test_an_estimate_counts_what_the_schedule_asks_for() -> None:
    rest = OpenCircuit(duration_s=3600, record=Recording(dt_s=10, edge_for_s=0))
    every = Schedule(image_s=60, spectrum_s=None, injection_s=900, temperature_s=30)
    protocol = Protocol(name="rest", cell="zn-bare-half", technique=rest, every=every)
    told = estimate(load_bench("sim"), protocol, load_cell("zn-bare-half"))
    counts = of(told)
    assert told.duration_s == 3600
    assert counts["rows of the potentiostat"] == pytest.approx(360, abs=3)
    assert counts["images"] == 60
    assert "spectra" not in counts
    assert counts["injections"] == 4
    assert counts["temperatures"] == 120
    assert told.bytes == sum(part.bytes for part in told.parts)


def test_an_estimate_counts_bursts_and_the_ends_of_half_cycles() -> None:
    protocol, cell = load_protocol("zinc-operando"), load_cell("zn-bare-half")
    told = estimate(load_bench("sim"), protocol, cell)
    bare = protocol.model_copy(
        update={
            "every": protocol.every.model_copy(
                update={"burst_for_s": 0.0, "at_half_cycle_ends": False}
            )
        }
    )
    fewer = estimate(load_bench("sim"), bare, cell)
    assert of(told)["images"] > of(fewer)["images"] == told.duration_s / protocol.every.image_s
    assert of(told)["rows of the potentiostat"] == of(fewer)["rows of the potentiostat"]


@pytest.mark.parametrize(
    ("size", "told"), [(900.0, "0.9 kB"), (2.5e6, "2.5 MB"), (3e9, "3 GB"), (4.2e12, "4.2 TB")]
)
def test_sizes_are_told_in_units(size: float, told: str) -> None:
    assert size_text(size) == told


def test_a_disk_has_room_or_it_has_not(tmp_path: Path) -> None:
    def needs(size: float) -> Estimate:
        return Estimate(3600.0, (Part("images", 10, size / 10),))

    (fine,) = free_space(tmp_path / "not" / "there", needs(1e6))
    assert fine.status == "ok"
    assert str(tmp_path) in fine.told
    (full,) = free_space(tmp_path, needs(1e18))
    assert full.status == "failed"
    assert "1e+06 TB" in full.told
    (unknown,) = free_space(tmp_path, None)
    assert unknown.status in ("ok", "failed")
