"""The simulated potentiostat on known resistors and capacitors, with its errors on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sim_devices.cell import DUMMIES, DummyCell
from sim_devices.methodscript import DRIFTING, Imperfection
from sim_devices.methodscript.electronics import CURRENT_RANGES, Calibration

# 3 standard deviations of a reading's noise and of the converters' steps, relative to full scale.
NOISE = 3e-4

RESISTORS = {1e-1: "10ohm", 1e-2: "100ohm", 1e-3: "100ohm", 1e-4: "10kohm", 1e-5: "10kohm"}
RESISTORS |= {1e-6: "1mohm", 1e-7: "1mohm"}

GALVANOSTATIC = """
var e
var i
set_pgstat_chan 0
set_pgstat_mode 6
set_range db {amp}
set_range ab 1
set_i 0
cell_on
meas_loop_cp e i {amp} 100m 500m
pck_start
pck_add e
pck_add i
pck_end
endloop
on_finished:
cell_off
"""

POTENTIOSTATIC = """
var e
var i
set_pgstat_chan 0
set_pgstat_mode 2
set_range ba {amp}
set_e 0
cell_on
meas_loop_ca e i {volt} 100m 500m
pck_start
pck_add e
pck_add i
pck_end
endloop
on_finished:
cell_off
"""

IMPEDANCE = """
var f
var re
var im
set_pgstat_chan 0
set_pgstat_mode 6
set_range db 10m
set_range ab 1
set_i 0
cell_on
meas_loop_geis f re im 100u 100k 100m 25 0
pck_start
pck_add f
pck_add re
pck_add im
pck_end
endloop
on_finished:
cell_off
"""

SUFFIXES = {1e-7: "100n", 1e-6: "1u", 1e-5: "10u", 1e-4: "100u", 1e-3: "1m", 1e-2: "10m"}
SUFFIXES |= {1e-1: "100m"}


@pytest.mark.parametrize(("code", "nominal"), CURRENT_RANGES)
def test_every_current_range_reads_its_resistor_within_its_gain_and_offset(
    make_bench, decode, code, nominal
):
    parameters = DUMMIES[f"dummy-{RESISTORS[nominal]}"]
    bench = make_bench(DummyCell(parameters), perfect=False, seed=7)
    (born,) = bench.truth["instrument"]
    gain = born["current_gain"][f"{code:02X}"]
    offset_a = born["current_offset_a"][f"{code:02X}"]
    rows = [
        decode(line)
        for line in bench.client.run(GALVANOSTATIC.format(amp=SUFFIXES[nominal]))
        if line.startswith("P")
    ]
    true_a = (nominal - offset_a) / gain
    true_v = true_a * parameters.series_ohm
    expected_v = true_v * born["potential_gain"] + born["potential_offset_v"]
    assert np.mean([row["ab"] for row in rows]) == pytest.approx(expected_v, abs=NOISE)
    (segment,) = bench.truth["segment"]
    assert segment["current_a"] == pytest.approx(true_a, rel=1e-3)
    passed = segment["ledger"]["WE"]["charge_anodic"] * 3.6
    assert passed == pytest.approx(true_a * 0.5, rel=1e-3)

    volt = nominal * parameters.series_ohm
    script = POTENTIOSTATIC.format(amp=SUFFIXES[nominal], volt=f"{round(volt * 1000)}m")
    rows = [decode(line) for line in bench.client.run(script) if line.startswith("P")]
    true_a = (volt - born["potential_offset_v"]) / born["potential_gain"] / parameters.series_ohm
    measured = np.mean([row["ba"] for row in rows])
    assert measured == pytest.approx(true_a * gain + offset_a, abs=1e-3 * nominal)
    assert {row["ba.range"] for row in rows} == {code}


@pytest.mark.parametrize("name", ["dummy-10ohm", "dummy-rc", "dummy-2rc"])
def test_an_impedance_spectrum_is_that_of_the_parts(make_bench, decode, name):
    cell = DummyCell(DUMMIES[name])
    bench = make_bench(cell, perfect=False, seed=3, imperfection=Imperfection())
    (born,) = bench.truth["instrument"]
    rows = [decode(line) for line in bench.client.run(IMPEDANCE) if line.startswith("P")]
    assert len(rows) == 25
    frequencies, reals, imaginaries = (
        np.array([row[kind] for row in rows]) for kind in ("dc", "cc", "cd")
    )
    expected = cell.impedance(frequencies) * born["potential_gain"] / born["current_gain"]["18"]
    assert np.abs(reals + 1j * imaginaries - expected) == pytest.approx(
        np.zeros(25), abs=5 * 3e-4 * np.abs(expected).max()
    )


def test_a_drifting_instrument_goes_away_from_what_it_was_by_what_the_truth_says(
    make_bench, decode
):
    drifting = replace(DRIFTING, potential_drift_v_h=1e-3, current_gain_drift_per_h=1e-2)
    bench = make_bench(
        DummyCell(DUMMIES["dummy-100ohm"]), perfect=False, seed=5, imperfection=drifting
    )
    (born,) = bench.truth["instrument"]
    script = GALVANOSTATIC.format(amp="10m")
    means = []
    for wait in ("", "wait 7200\n"):
        lines = bench.client.run(script.replace("cell_on\n", f"cell_on\n{wait}"))
        rows = [decode(line) for line in lines if line.startswith("P")]
        means.append(np.mean([row["ab"] for row in rows]))
    first, second = (line["current_a"] for line in bench.truth["segment"])
    gain = born["current_gain"]["18"]
    assert first / second == pytest.approx(1 + 2 * born["current_gain_drift_per_h"], rel=1e-4)
    assert first * gain + born["current_offset_a"]["18"] == pytest.approx(0.01, rel=1e-4)
    moved_v = (second - first) * 100.0 * born["potential_gain"] + 2 * born["potential_drift_v_h"]
    assert means[1] - means[0] == pytest.approx(moved_v, abs=NOISE)
    assert abs(born["potential_drift_v_h"]) > 1e-4


def test_an_instrument_that_does_not_drift_is_the_one_it_always_was():
    drifting, steady = (Calibration.draw(one, 11) for one in (DRIFTING, Imperfection()))
    assert drifting.current_gain == steady.current_gain
    assert drifting.timer_ppm == steady.timer_ppm
    assert steady.after(100.0) == (steady.potential_offset_v, 1.0)
    assert drifting.after(1.0)[1] != 1.0
