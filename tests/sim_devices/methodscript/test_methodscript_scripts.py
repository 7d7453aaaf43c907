"""Scripts in the maker's manner, over a pseudo-terminal, on a dummy cell known by hand."""

from __future__ import annotations

import math

import pytest


def test_a_rest_reads_the_battery_once_per_interval(make_bench, dummy_cell):
    bench = make_bench(dummy_cell(emf_v=0.25))
    lines = bench.client.run("""
var seconds
var rest
set_pgstat_chan 0
set_pgstat_mode 3
set_max_bandwidth 60
set_range ab 1
set_autoranging ab 100m 1
cell_off
timer_start
meas_loop_ocp rest 500m 2
    timer_get seconds
    pck_start
        pck_add seconds
        pck_add rest
    pck_end
endloop
on_finished:
    cell_off
""")
    # 0.5 s is 500000 u and 500000000 n does not fit; 0.25 V = 250000 u.
    assert lines == [
        "M000B",
        "Peb807A120u;ab803D090u,10,206",
        "Peb80F4240u;ab803D090u,10,206",
        "Peb816E360u;ab803D090u,10,206",
        "Peb81E8480u;ab803D090u,10,206",
        "*",
    ]


def test_a_constant_current_through_a_kilohm_is_ohms_law(make_bench):
    bench = make_bench()
    lines = bench.client.run("""
var volts
var amperes
set_pgstat_chan 0
set_pgstat_mode 6
set_range ab 100m
set_range db 100u
set_i 0
cell_on
meas_loop_cp volts amperes -100u 1 2
pck_start
pck_add volts
pck_add amperes
pck_end
endloop
on_finished:
cell_off
""")
    # -0.1 V = -100000000 n and -100 uA = -100000000 p: 8000000 - 5F5E100 = 20A1F00.
    package = "Pab20A1F00n,10,203;db20A1F00p,10,212"
    assert lines == ["M000A", package, package, "*"]
    # The cell felt -100 uA / 2 cm2 for 2 s, and was let go.
    assert bench.cell.charge_c == pytest.approx(-2e-4)
    assert bench.cell.drives[0] == ("i", pytest.approx(-0.05))
    assert bench.truth["cell_off"][0]["ledger"]["WE"]["charge_c"] == pytest.approx(-2e-4)


def test_a_cut_off_ends_a_charge_at_the_first_point_beyond_it(make_bench, dummy_cell, decode):
    # 1 mA on 1 mF: 1 V/s, on top of 0.1 V over 100 ohm.
    bench = make_bench(dummy_cell(resistance_ohm=100.0, capacitance_f=1e-3))
    lines = bench.client.run("""
var e
var i
var t
var q
store_var q 0 as
set_pgstat_mode 6
set_range db 1m
set_i 0
cell_on
timer_start
meas_loop_cp e i 1m 100m 10
    timer_get t
    copy_var i q
    mul_var q t
    alter_vartype q as
    pck_start
        pck_add t
        pck_add e
        pck_add q
    pck_end
    if e > 450m
        breakloop
    endif
endloop
cell_off
send_string f"cut off after {t} s"
""")
    points = [decode(line) for line in lines if line[0] == "P"]
    # 0.1 + 0.4 V = 0.5 V is the first above 0.45 V, for the point before is 0.4 V.
    assert [point["ab"] for point in points] == pytest.approx([0.2, 0.3, 0.4, 0.5])
    assert [point["eb"] for point in points] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert points[-1]["as"] == pytest.approx(4e-4)
    assert lines[-2:] == ["*", "Tcut off after 0.4 s"]


def test_a_cyclic_voltammogram_goes_to_both_vertices_and_back_in_each_scan(make_bench, decode):
    bench = make_bench()
    lines = bench.client.run("""
var e
var i
set_pgstat_chan 0
set_pgstat_mode 3
set_max_bandwidth 60
set_range_minmax da -200m 200m
set_range ba 100u
set_autoranging ba 1u 1m
set_e 0
cell_on
meas_loop_cv e i 0 200m -100m 100m 1 nscans(2)
    pck_start
    pck_add e
    pck_add i
    pck_end
endloop
on_finished:
    cell_off
""")
    first = ["C0000", 0.0, 0.1, 0.2, 0.1, 0.0, -0.1, 0.0, "-"]
    second = ["C0001", 0.1, 0.2, 0.1, 0.0, -0.1, 0.0, "-"]
    assert lines[0] == "M0005"
    assert lines[-1] == "*"
    for line, expected in zip(lines[1:-1], first + second, strict=True):
        if isinstance(expected, str):
            assert line == expected
        else:
            point = decode(line)
            assert point["da"] == pytest.approx(expected, abs=1e-12)
            assert point["ba"] == pytest.approx(expected / 1e3, abs=1e-15)
            # The 100 uA range stands 200 uA (up to 2.92 x); 0 is too little for it.
            assert point["ba.range"] == (0x0C if abs(expected) < 0.01 else 0x12)
    # 7 + 6 points of 0.1 V at 1 V/s
    assert bench.cell.t == pytest.approx(1.3)


def test_a_linear_sweep_includes_both_its_ends(make_bench, decode):
    bench = make_bench()
    lines = bench.client.run("""
var e
var i
set_pgstat_mode 2
set_range ba 1m
set_e -20m
cell_on
meas_loop_lsv e i -20m 20m 10m 100m
pck_start
pck_add e
pck_add i
pck_end
endloop
cell_off
""")
    assert lines[0] == "M0000"
    points = [decode(line) for line in lines[1:-1]]
    assert [p["da"] for p in points] == pytest.approx([-0.02, -0.01, 0.0, 0.01, 0.02], abs=1e-12)
    assert [p["ba"] for p in points] == pytest.approx([-2e-5, -1e-5, 0.0, 1e-5, 2e-5], abs=1e-12)
    # 20 uA is less than an eighth of the 1 mA range.
    assert {p["ba.status"] for p in points} == {4}


def test_an_impedance_spectrum_is_spaced_by_decades_and_capacitive_is_negative(
    make_bench, dummy_cell, decode
):
    bench = make_bench(dummy_cell(resistance_ohm=50.0, capacitance_f=1e-4))
    lines = bench.client.run("""
var f
var re
var im
set_pgstat_chan 0
set_pgstat_mode 3
set_max_bandwidth 200k
set_range ba 1m
set_autoranging ba 1u 10m
set_range ab 100m
set_e 0
cell_on
meas_loop_eis f re im 10m 1k 10 3 0
    pck_start
    pck_add f
    pck_add re
    pck_add im
    pck_end
endloop
cell_off
""")
    assert lines[0] == "M000D"
    points = [decode(line) for line in lines[1:-1]]
    assert [p["dc"] for p in points] == pytest.approx([1000.0, 100.0, 10.0])
    assert [p["cc"] for p in points] == pytest.approx([50.0] * 3)
    reactance = [-1 / (2 * math.pi * f * 1e-4) for f in (1e3, 1e2, 1e1)]
    assert [p["cd"] for p in points] == pytest.approx(reactance, rel=1e-6)
    # 10 mV over 50 ohm is 0.2 mA: the 1 mA range; over 167 ohm it is 60 uA: the 100 uA range.
    assert [p["cc.range"] for p in points] == [0x15, 0x15, 0x12]
    assert {p["cd.range"] for p in points} == {0x03}
    # three periods each, but at least 50 ms
    assert bench.cell.t == pytest.approx(0.05 + 0.05 + 0.3)


def test_galvanostatic_impedance_and_a_current_ramp_need_the_galvanostat(make_bench, decode):
    bench = make_bench()
    lines = bench.client.run("""
var f
var re
var im
var e
var i
set_pgstat_mode 6
set_range db 1m
set_i 0
cell_on
meas_loop_geis f re im 10u 100 100 1i 200u
pck_start
pck_add re
pck_end
endloop
meas_loop_lsp e i -100u 100u 100u 1m
pck_start
pck_add e
pck_add i
pck_end
endloop
cell_off
""")
    assert [line for line in lines if line[0] != "P"] == ["M000E", "*", "M000F", "*"]
    points = [decode(line) for line in lines if line[0] == "P"]
    assert points[0]["cc"] == pytest.approx(1e3)
    assert [p["ab"] for p in points[1:]] == pytest.approx([-0.1, 0.0, 0.1])
    assert [p["db"] for p in points[1:]] == pytest.approx([-1e-4, 0.0, 1e-4])


def test_loops_and_arithmetic_compute(make_bench):
    bench = make_bench()
    lines = bench.client.run("""
var n
var f
var x
var y
array squares 4i
store_var n 0i ja
store_var f 1i ja
# 4! by a loop
loop n < 4i
    add_var n 1i
    mul_var f n
endloop
pck_start
pck_add n
pck_add f
pck_end
# squares, their mean and the line through them
store_var n 0i ja
store_var x 0 ja
array abscissae 4i
loop n < 4i
    copy_var x y
    pow_var y 2
    copy_var y squares[n]
    array_set abscissae n x
    add_var x 1
    add_var n 1i
endloop
mean squares y
send_string f"mean {y} of {squares[3i]}"
linear_fit abscissae squares x y
send_string f"{x} x + {y}"
# integers divide towards zero, remainders keep the dividend's sign
store_var n -7i ja
div_var n 2i
store_var f -7i ja
mod_var f 2i
send_string f"{n} {f}"
store_var x 1 ja
log_var x
store_var y 2 ja
pow_var y -1
send_string f"{x} {y}"
store_var n 0b1100 ja
bit_and_var n 0b0110
bit_or_var n 0x10
send_string f"{n}"
store_var x 2600m ja
copy_var x y
float_to_int x
float_to_int_round y
send_string f"{x} {y}"
int_to_float x
div_var x 4
send_string f"{x}"
# branches
if n == 20i
    send_string "twenty"
elseif n > 0i
    send_string "positive"
else
    send_string "other"
endif
if n & 16i
    send_string "bit four"
endif
if n < 0i
    send_string "negative"
elseif n < 100i
    send_string "small"
else
    send_string "large"
endif
""")
    assert lines == [
        "L",
        "+",
        "Pja8000004i;ja8000018i",
        "L",
        "+",
        "Tmean 3.5 of 9",
        "T3 x + -1",
        "T-3 -1",
        "T0 0.5",
        "T20",
        "T2 3",
        "T0.5",
        "Ttwenty",
        "Tbit four",
        "Tsmall",
    ]


def test_plating_and_stripping_cycles_end_on_the_cut_off_and_mark_themselves_on_the_gpio(
    make_bench, dummy_cell, decode
):
    # Stripping 1 mA from 10 mF: 0.1 V/s; 10 ohm add 10 mV.
    bench = make_bench(dummy_cell(resistance_ohm=10.0, capacitance_f=1e-2))
    lines = bench.client.run("""
var t
var p
var i
var n
store_var n 0i ja
set_gpio_cfg 0b11 1
set_gpio 0b00
set_pgstat_chan 0
timer_start
loop n < 2i
    add_var n 1i
    set_pgstat_mode 6
    set_max_bandwidth 6
    set_range ab 1
    set_autoranging ab 100m 1
    set_range db 1m
    set_autoranging db 1m 1m
    set_i 0
    cell_on
    set_gpio 0b01
    meas_loop_cp p i -1m 500m 2
        timer_get t
        pck_start
        pck_add t
        pck_add n
        pck_add p
        pck_add i
        pck_end
    endloop
    set_gpio 0b00
    meas_loop_cp p i 1m 500m 10
        timer_get t
        pck_start
        pck_add t
        pck_add n
        pck_add p
        pck_add i
        pck_end
        if p > 100m
            breakloop
        endif
    endloop
    cell_off
    set_gpio 0b10
    wait 1
    set_gpio 0b00
endloop
on_finished:
cell_off
set_gpio 0b00
""")
    kinds = "".join(line[0] for line in lines)
    # Down by 0.2 V in 4 points; up from there the points are -0.14, -0.09 … 0.11: the 6th is
    # above the limit.
    first = "M" + "P" * 4 + "*" + "M" + "P" * 6 + "*"
    # The second cycle starts at +0.1 V and goes to -0.1 V, and is back above the limit after 4.
    second = "M" + "P" * 4 + "*" + "M" + "P" * 4 + "*"
    assert kinds == "L" + first + second + "+"
    points = [decode(line) for line in lines if line[0] == "P"]
    assert [p["ja"] for p in points] == [1] * 10 + [2] * 8
    assert points[3]["ab"] == pytest.approx(-0.21)
    assert points[9]["ab"] == pytest.approx(0.11)
    assert points[9]["eb"] == pytest.approx(5.0)
    assert points[10]["eb"] == pytest.approx(6.5)  # 1 s of waiting, then the first interval
    edges = [(edge["cell_t_s"], edge["levels"]) for edge in bench.truth["gpio"]]
    expected = [(0, 1), (2, 0), (5, 2), (6, 0), (6, 1), (8, 0), (10, 2), (11, 0)]
    assert edges == [(pytest.approx(t), levels) for t, levels in expected]
    assert [s["technique"] for s in bench.truth["segment"]] == ["cp"] * 4
    assert [s["current_a"] for s in bench.truth["segment"]] == pytest.approx([-1e-3, 1e-3] * 2)


def test_a_break_in_a_measurement_loop_leaves_the_loop_around_it(make_bench):
    bench = make_bench()
    lines = bench.client.run("""
var n
var p
store_var n 0i ja
set_pgstat_mode 3
loop n < 2i
    add_var n 1i
    meas_loop_ocp p 1 5
        breakloop
    endloop
    send_string f"{n}"
endloop
""")
    assert lines == ["L", "M000B", "*", "T1", "M000B", "*", "T2", "+"]


def test_an_interval_timer_keeps_measurements_equally_spaced(make_bench, decode):
    bench = make_bench()
    lines = bench.client.run("""
var n
var p
var t
store_var n 0i ja
set_pgstat_mode 3
timer_start
set_int 10
loop n < 3i
    add_var n 1i
    wait 3
    meas 100m p ab
    timer_get t
    pck_start
    pck_add t
    pck_end
    await_int
endloop
""")
    assert [decode(line)["eb"] for line in lines if line[0] == "P"] == pytest.approx(
        [3.1, 13.1, 23.1]
    )
    assert bench.cell.t == pytest.approx(30.0)


def test_a_loop_that_waits_for_an_input_takes_time_and_ends(make_bench):
    # The pin goes high for whoever asks for the 500th time.
    asked = []

    def inputs() -> int:
        asked.append(1)
        return 0b100 if len(asked) >= 500 else 0

    bench = make_bench(gpio_inputs=inputs)
    lines = bench.client.run("""
var g
set_gpio_cfg 0b100 0
store_var g 0i ja
loop g != 0b100
    get_gpio g
    bit_and_var g 0b100
endloop
send_string "ready"
""")
    assert lines == ["L", "+", "Tready"]
    # 0.1 ms per turn, booked every ten turns
    assert bench.cell.t == pytest.approx(0.05)


def test_output_can_go_to_a_file_that_is_read_back_afterwards(make_bench):
    bench = make_bench()
    script = """
var x
file_open "/runs/run-&i.dmeas" 2
set_script_output 3
send_string "both"
set_script_output 2
store_var x 7i ja
pck_start
pck_add x
pck_end
set_script_output 0
send_string "nobody"
set_script_output 1
send_string "line"
file_close
"""
    assert bench.client.run(script) == ["Tboth", "Tline"]
    assert bench.client.run(script) == ["Tboth", "Tline"]
    bench.client.send("fs_dir /runs\n")
    assert bench.client.lines_until("") == [
        "f",
        "/runs/run-0000.dmeas;18",
        "/runs/run-0001.dmeas;18",
        "",
    ]
    bench.client.send("fs_get /runs/run-0001.dmeas\n")
    assert bench.client.lines_until("\x1c") == ["f", "Tboth", "Pja8000007i", "\x1c"]


def test_a_point_at_time_zero_is_an_option(make_bench, decode):
    bench = make_bench(sample_at_start=True, set_current_type="ba")
    lines = bench.client.run("""
var p
var i
var t
set_pgstat_mode 6
cell_on
timer_start
meas_loop_cp p i 1m 1 2
timer_get t
pck_start
pck_add t
pck_add i
pck_end
endloop
cell_off
""")
    points = [decode(line) for line in lines[1:-1]]
    assert [p["eb"] for p in points] == [0.0, 1.0, 2.0]
    assert [p["ba"] for p in points] == pytest.approx([1e-3] * 3)
