"""The instrument errs as it wrote into the truth, and equal seeds give equal instruments."""

from __future__ import annotations

import re
import socket

import pytest

from sim_devices.cell import Cell
from sim_devices.clock import SimulatedClock
from sim_devices.methodscript import Imperfection, serve
from sim_devices.methodscript.electronics import CURRENT_RANGES, Calibration

HOLD_CURRENT = """
var p
var i
var t
set_pgstat_mode 6
set_range ab 1
set_range db 1m
set_i 0
cell_on
timer_start
meas_loop_cp p i 565u 1 100
timer_get t
pck_start
pck_add t
pck_add p
pck_add i
pck_end
endloop
on_finished:
cell_off
"""

SWEEP_AND_SPECTRUM = """
var e
var i
var f
var re
var im
set_pgstat_mode 3
set_range ba 1m
set_autoranging ba 1u 100m
set_e 0
cell_on
meas_loop_lsv e i -150m 150m 10m 1
pck_start
pck_add e
pck_add i
pck_end
endloop
meas_loop_eis f re im 10m 100k 100m 13i 0
pck_start
pck_add f
pck_add re
pck_add im
pck_end
endloop
cell_off
"""


def test_the_same_seed_gives_the_same_lines_and_another_seed_others(make_bench):
    outputs = [
        make_bench(Cell("zn-bare", seed=1), perfect=False, seed=seed).client.run(HOLD_CURRENT)
        for seed in (5, 5, 6)
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0] != outputs[2]


def test_the_clock_factor_does_not_change_what_is_measured(make_bench):
    slow = make_bench(Cell("zn-zro2"), perfect=False, factor=100).client.run(SWEEP_AND_SPECTRUM)
    fast = make_bench(Cell("zn-zro2"), perfect=False, factor=1e6).client.run(SWEEP_AND_SPECTRUM)
    assert slow == fast


def test_the_true_current_is_the_set_one_seen_through_gain_and_offset(make_bench, decode):
    bench = make_bench(perfect=False, seed=3)
    lines = bench.client.run(HOLD_CURRENT)
    born = bench.truth["instrument"][0]
    gain, offset = born["current_gain"]["15"], born["current_offset_a"]["15"]
    true_a = bench.truth["segment"][0]["current_a"]
    said_a = decode(lines[1])["db"]
    assert said_a == pytest.approx(565e-6, abs=1e-3 * 5.84 / 65536)
    assert true_a == pytest.approx((said_a - offset) / gain, abs=1e-9)  # a line tells nA
    assert bench.cell.charge_c == pytest.approx(true_a * 100, rel=1e-4)
    points = [decode(line) for line in lines[1:-1]]
    mean_v = sum(point["ab"] for point in points) / len(points)
    truth_v = true_a * 1e3 * born["potential_gain"] + born["potential_offset_v"]
    assert mean_v == pytest.approx(truth_v, abs=5e-5)
    assert max(abs(point["ab"] - mean_v) for point in points) > 1e-5  # it is noisy


def test_the_timer_runs_at_its_own_rate(make_bench, decode):
    bench = make_bench(perfect=False, seed=4)
    lines = bench.client.run(HOLD_CURRENT)
    assert decode(lines[-2])["eb"] == 100.0
    ppm = bench.truth["instrument"][0]["timer_ppm"]
    assert 1 < abs(ppm) <= 50
    segment = bench.truth["segment"][0]
    lasted_s = segment["cell_t_s"] - segment["began_t_s"]
    assert lasted_s == pytest.approx(100 / (1 + ppm * 1e-6), rel=1e-9)


def test_errors_have_the_spread_that_is_stated():
    make = Imperfection()
    born = [Calibration.draw(make, seed) for seed in range(400)]
    gains = [c.current_gain[0x15] - 1 for c in born]
    assert 0.9e-3 < (sum(g * g for g in gains) / 400) ** 0.5 < 1.1e-3
    for code, nominal in CURRENT_RANGES:
        offsets = [c.current_offset_a[code] / nominal for c in born]
        assert 0.9e-4 < (sum(o * o for o in offsets) / 400) ** 0.5 < 1.1e-4
        assert max(map(abs, offsets)) <= make.CURRENT_OFFSET_BOUND_OF_RANGE
    assert max(abs(c.timer_ppm) for c in born) <= 50


def test_a_zinc_cell_plates_strips_and_shows_an_arc(make_bench, decode):
    cell = Cell("zn-zro2")
    bench = make_bench(cell, perfect=False)
    plated = bench.client.run(HOLD_CURRENT.replace("565u", "-1131u").replace("db 1m", "db 10m"))
    points = [decode(line) for line in plated if line[0] == "P"]
    assert len(points) == 100
    assert points[-1]["ab"] < -0.05  # plating on the working electrode is negative
    ledger = bench.truth["cell_off"][0]["ledger"]["WE"]
    assert all(isinstance(value, float) for value in ledger.values())
    spectrum = [
        decode(line) for line in bench.client.run(SWEEP_AND_SPECTRUM) if re.match("Pdc", line)
    ]
    assert len(spectrum) == 13
    assert spectrum[0]["dc"] == pytest.approx(1e5)
    assert spectrum[-1]["dc"] == pytest.approx(0.1)
    assert spectrum[-1]["cc"] > spectrum[0]["cc"] > 0
    assert min(point["cd"] for point in spectrum) < -1.0
    true_ohm = complex(cell.impedance([0.1])[0])
    assert spectrum[-1]["cc"] == pytest.approx(true_ohm.real, rel=0.01)


def test_a_line_can_be_tcp_where_there_is_no_terminal(make_bench):
    bench = make_bench()
    assert bench.device.address.startswith("serial:///dev/")
    device = serve(Cell("zn-bare"), SimulatedClock(), bench.truth, prefer_pty=False)
    try:
        host, port = device.address.removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port)), timeout=50) as connection:
            connection.sendall(b"i\n")
            assert connection.makefile("rb").readline() == b"iES4HR24C0000\n"
    finally:
        device.close()
    device.close()


def test_an_option_nobody_knows_is_refused():
    with pytest.raises(TypeError, match="unknown options"):
        serve(None, None, None, perfection=True)
