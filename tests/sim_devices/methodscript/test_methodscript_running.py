"""What the host may do while a script runs, what an error leaves, what the line survives."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HOLD = """
var p
var i
set_pgstat_mode 6
set_range db 1m
set_i 0
cell_on
loop 1i == 1i
    meas_loop_cp p i 1m 100m 1000
        pck_start
        pck_add p
        pck_end
    endloop
    send_string "next"
endloop
on_finished:
    cell_off
    send_string "finished"
"""


def start(bench, script=HOLD):
    bench.client.send("e\n" + script.strip() + "\n\n")
    assert bench.client.line() == "e"


def wait_for_truth(bench, event):
    deadline = time.monotonic() + 50
    while not bench.truth[event]:
        assert time.monotonic() < deadline, f"{event} never happened"
        time.sleep(0.02)


def test_z_closes_the_loops_runs_on_finished_and_opens_the_cell(make_bench):
    bench = make_bench(factor=1)
    start(bench)
    bench.client.lines_until("M000A")
    bench.client.line()
    bench.client.send("Z\n")
    after = bench.client.lines_until("")
    assert [line for line in after if line[:1] != "P"] == ["Z", "*", "+", "Tfinished", ""]
    assert bench.truth["cell_off"]
    # The instrument is idle again.
    assert bench.client.ask("Z") == "Z!0006"


@pytest.mark.parametrize(
    ("ended_by", "held"),
    [
        ("Z\n", {"programs": 2}),
        ("resume", {"programs": 1, "after_s": 1500}),
        ("Z\n", {"after_s": 9}),
    ],
)
def test_a_program_in_which_the_clock_is_held_lasts_until_it_is_let_go(make_bench, ended_by, held):
    bench = make_bench(factor=1e5)
    bench.device.inject("hold", **held)
    start(bench, "wait 1\nwait 1")
    assert bench.client.line() == ""
    start(bench, "wait 2000\nwait 1")
    end = time.monotonic() + 60
    while not bench.truth["held"]:
        assert time.monotonic() < end
        time.sleep(0.001)
    time.sleep(0.1)  # it goes on for as long as nobody lets it go
    assert len(bench.truth["script"]) == 2
    assert len(bench.truth["script_end"]) == 1
    if ended_by == "resume":
        bench.device.inject("resume")
    else:
        bench.client.send(ended_by)
        assert bench.client.line() == "Z"
    assert bench.client.line() == ""
    # The next one is as quick as ever, and the clock cannot be held where nothing runs.
    start(bench, "wait 2000\nwait 1")
    assert bench.client.line() == ""
    with pytest.raises(ValueError, match="no program runs"):
        bench.device.inject("hold")


def test_an_abort_need_not_wait_for_a_long_interval(make_bench):
    bench = make_bench(factor=1)
    start(bench, 'wait 3600\non_finished:\nsend_string "finished"')
    time.sleep(0.1)
    began = time.monotonic()
    bench.client.send("Z\n")
    assert bench.client.lines_until("") == ["Z", "Tfinished", ""]
    assert time.monotonic() - began < 5.0
    assert bench.cell.t < 5.0


def test_y_ends_the_measurement_loop_and_goes_on_after_it(make_bench):
    bench = make_bench(factor=1)
    start(bench)
    bench.client.lines_until("M000A")
    bench.client.send("Y\n")
    after = bench.client.lines_until("M000A")
    assert [line for line in after if line[:1] != "P"] == ["Y", "*", "Tnext", "M000A"]


def test_a_halted_script_goes_on_with_its_grid_shifted(make_bench, decode):
    bench = make_bench(factor=1)
    start(
        bench,
        """
var p
var t
set_pgstat_mode 3
timer_start
meas_loop_ocp p 100m 500m
timer_get t
pck_start
pck_add t
pck_end
endloop
""",
    )
    assert bench.client.line() == "M000B"
    bench.client.line()
    bench.client.send("h\n")
    bench.client.lines_until("h")
    assert bench.client.silent(0.4)
    bench.client.send("H\n")
    after = bench.client.lines_until("")
    assert after[0] == "H"
    times = [decode(line)["eb"] for line in after if line[:1] == "P"]
    assert times[-1] > 0.8
    steps = [b - a for a, b in pairwise(times[1:])]
    assert steps == pytest.approx([0.1] * len(steps), abs=1e-6)


def test_r_turns_a_sweep_round(make_bench, decode):
    bench = make_bench(factor=1)
    start(
        bench,
        """
var e
var i
set_pgstat_mode 3
cell_on
meas_loop_cv e i 0 5 -20m 10m 100m
pck_start
pck_add e
pck_end
endloop
cell_off
""",
    )
    bench.client.lines_until("M0005")
    bench.client.line()
    bench.client.send("R\n")
    after = bench.client.lines_until("")
    potentials = [decode(line)["da"] for line in after if line[:1] == "P"]
    top = max(potentials)
    assert top < 1.0
    assert min(potentials) == pytest.approx(-0.02)
    assert potentials[-1] == pytest.approx(0.0, abs=1e-9)


def test_the_firmware_is_told_and_anything_else_refused_while_a_script_runs(make_bench):
    bench = make_bench(factor=1)
    start(bench, 'wait 1000\non_finished:\nsend_string "finished"')
    bench.client.send("t\n")
    assert bench.client.lines_until("R*")[0].startswith("tes4_hr")
    for command in ("i", "e", "l", "r", "G01", "fs_dir /", "fail"):
        assert bench.client.ask(command) == f"{command[0]}!0006"
    bench.client.send("\n")  # an empty line says nothing, for it would look like the end
    assert bench.client.silent(0.1)
    bench.client.send("Z\n")
    assert bench.client.lines_until("") == ["Z", "Tfinished", ""]


def test_a_run_time_error_leaves_the_cell_as_it_was(make_bench):
    bench = make_bench(idle=True, factor=1)
    lines = bench.client.run("""
var x
set_pgstat_mode 6
set_range db 1m
set_i 1m
cell_on
div_var x 0
on_finished:
cell_off
""")
    assert lines == ["!0028: Line 6"]
    assert bench.truth["script_end"][0]["cell_is_on"]
    time.sleep(0.3)
    with bench.cell.lock:
        assert bench.cell.drives[-1] == ("i", pytest.approx(0.5))
        assert bench.cell.charge_c > 0
    assert bench.client.run("cell_off") == []
    charge = bench.cell.charge_c
    time.sleep(0.3)
    assert bench.cell.charge_c == charge


def test_an_idle_cell_lives_on_at_open_circuit_in_real_time(make_bench):
    bench = make_bench(idle=True, factor=1e5)
    began = time.monotonic()
    time.sleep(0.5)
    assert bench.cell.t <= time.monotonic() - began + 0.3
    assert bench.cell.t > 0.1
    assert bench.cell.drives == [("i", 0.0)]


def test_a_critical_overload_opens_the_cell(make_bench, dummy_cell):
    bench = make_bench(dummy_cell(resistance_ohm=10.0))
    lines = bench.client.run("""
var e
var i
set_pgstat_mode 3
cell_on
meas_loop_ca e i 5 1 10
endloop
""")
    assert lines == ["M0007", "!0032: Line 5"]
    assert bench.truth["cell_off"]


def test_overload_is_flagged_and_the_reading_clipped(make_bench, decode):
    bench = make_bench()
    lines = bench.client.run("""
var e
var i
set_pgstat_mode 3
set_range ba 100u
cell_on
meas_loop_lsv e i 200m 300m 50m 1
pck_start
pck_add i
pck_end
endloop
cell_off
""")
    points = [decode(line) for line in lines if line[0] == "P"]
    assert [p["ba.status"] for p in points] == [0, 8, 2]
    assert [p["ba"] for p in points] == pytest.approx([2e-4, 2.5e-4, 2.92e-4])


def test_a_point_that_comes_late_because_of_the_script_is_flagged(make_bench, decode):
    bench = make_bench()
    lines = bench.client.run("""
var p
var n
store_var n 0i ja
set_pgstat_mode 3
meas_loop_ocp p 1 3
add_var n 1i
if n == 1i
wait 5
endif
pck_start
pck_add p
pck_end
endloop
""")
    assert [decode(line)["ab.status"] & 1 for line in lines if line[0] == "P"] == [0, 1, 0]


@pytest.mark.parametrize("line_after_run", [True, False])
@pytest.mark.parametrize("blank_line_after_error", [True, False])
def test_what_the_makers_texts_leave_open_is_an_option(
    make_bench, line_after_run, blank_line_after_error
):
    bench = make_bench(line_after_run=line_after_run, blank_line_after_error=blank_line_after_error)
    bench.client.send("e\nvar p\nset_pgstat_mode 3\nmeas_loop_ocp p 1 1\ndiv_var p 0\nendloop\n\n")
    begin = ["e", "M000B"] if line_after_run else ["eM000B"]
    end = ["!0028: Line 4", *([""] if blank_line_after_error else [])]
    for expected in begin + end:
        assert bench.client.line() == expected
    assert bench.client.silent(0.05)


def test_after_a_refused_script_the_line_is_deaf_for_a_moment(make_bench):
    bench = make_bench()
    bench.client.send("l\nfail\nwait 1\nwait 2\n\nt\n")
    assert bench.client.line() == "l!4001: Line 1, Col 5"
    assert bench.client.silent(0.1)
    assert bench.client.ask("i") == "iES4HR24C0000"


def test_lines_and_scripts_have_their_largest_size(make_bench):
    bench = make_bench(script_memory_bytes=1000)
    bench.client.send("l\nwait " + "1" * 300 + "\n\n")
    assert bench.client.line() == "l!0008: Line 1, Col 256"
    time.sleep(0.06)
    bench.client.send("l\n" + "wait 1\n" * 200 + "\n")
    assert bench.client.line() == "l!4005: Line 143, Col 1"
    time.sleep(0.06)
    bench.client.send("x" * 300)
    assert bench.client.line() == "x!0008"


def test_blocks_have_their_greatest_depth(make_bench):
    bench = make_bench()
    nested = "var x\n" + "loop x < 1\n" * 16 + "breakloop\n" + "endloop\nbreakloop\n" * 15
    assert bench.client.run(nested + "endloop") == ["L"] * 16 + ["+"] * 16
    bench.client.send("l\nvar x\n" + "if x < 1\n" * 17)
    assert bench.client.line() == "l!400D: Line 18, Col 3"


def test_a_power_cycle_ends_the_script_silently_and_opens_the_cell(make_bench):
    bench = make_bench(factor=1)
    start(bench)
    bench.client.lines_until("M000A")
    bench.device.inject("power-cycle", seconds=0.1)
    wait_for_truth(bench, "cell_off")
    time.sleep(0.3)
    bench.client.port.reset_input_buffer()
    bench.client.received = b""
    assert bench.client.ask("r") == "r!000C"
    time.sleep(0.06)
    bench.client.send("e\nvar p\nset_pgstat_mode 3\nmeas_loop_ocp p 100m 100m\nendloop\n\n")
    assert bench.client.lines_until("") == ["e", "M000B", "*", ""]


def test_a_power_cycle_opens_a_cell_that_was_left_on(make_bench):
    bench = make_bench(idle=True, factor=1)
    bench.client.run("set_pgstat_mode 6\nset_range db 1m\nset_i 1m\ncell_on")
    assert not bench.truth["cell_off"]
    bench.device.inject("power-cycle", seconds=0.1)
    wait_for_truth(bench, "cell_off")


def test_a_script_survives_a_host_that_stops_reading(make_bench):
    bench = make_bench(host_patience_s=0.2)
    bench.client.send(
        "e\nvar p\nset_pgstat_mode 6\ncell_on\nvar i\nmeas_loop_cp p i 1m 1 20000\npck_start\n"
        "pck_add p\npck_end\nendloop\non_finished:\ncell_off\n\n"
    )
    deadline = time.monotonic() + 50
    while not bench.truth["cell_off"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert bench.truth["output_lost"]
    assert bench.cell.t == pytest.approx(20000)


ROWS_FOR_LONG = """
var p
var i
set_pgstat_mode 6
set_range db 1m
set_i 0
cell_on
meas_loop_cp p i 1m {interval} {duration}
pck_start
pck_add p
pck_end
endloop
on_finished:
cell_off
send_string "finished"
"""


def test_a_host_that_comes_back_after_output_was_lost_sees_its_abort_end_the_script(make_bench):
    bench = make_bench(host_patience_s=1.0, factor=1000)
    start(bench, ROWS_FOR_LONG.format(interval=1, duration="1000k"))
    wait_for_truth(bench, "output_lost")
    # What is left of the output still fills the buffer.
    bench.client.send("Z\n")
    lines = bench.client.lines_until("")
    after = lines[lines.index("Z") :]
    assert [line for line in after if line[:1] != "P"] == ["Z", "*", "Tfinished", ""]
    assert bench.client.ask("Z") == "Z!0006"


def test_the_end_of_a_script_is_not_lost_with_its_output(make_bench):
    bench = make_bench(host_patience_s=0.2)
    start(bench, ROWS_FOR_LONG.format(interval=1, duration="20k"))
    wait_for_truth(bench, "script_end")
    assert bench.truth["output_lost"]
    rows = bench.client.lines_until("")[:-1]
    assert rows[0] == "M000A"
    assert {line[0] for line in rows[1:]} == {"P"}  # whole lines, and the loop's end is lost
    assert {len(line) for line in rows[1:]} == {len(rows[1])}


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    lines=st.lists(
        st.one_of(
            st.text(max_size=40),
            st.sampled_from(
                [
                    "e",
                    "l",
                    "",
                    "Z",
                    "endloop",
                    "on_finished:",
                    "var x",
                    "array x 3i",
                    "loop x < 1",
                    "breakloop",
                    "add_var x[1i] x",
                    "meas_loop_ocp x 1 1",
                    'send_string f"{x} {"',
                    "pck_add x[9i]",
                    "store_var x[x] 1 ja",
                    "cell_on ocp()",
                    "meas_loop_cv x x 0 1 0 1 1 nscans()",
                    "fs_get ..",
                    "S01",
                ]
            ),
        ),
        max_size=8,
    )
)
def test_garbage_never_kills_the_instrument(fuzzed_bench, caplog, lines):
    client = fuzzed_bench.client
    client.port.write("\n".join([*lines, ""]).encode("utf-8", "surrogatepass"))
    # In step again by the maker's recipe: leave a script that is being loaded, abort one that runs.
    client.send("\n\n")
    deadline = time.monotonic() + 50
    while True:
        assert time.monotonic() < deadline
        time.sleep(0.06)
        client.port.reset_input_buffer()
        client.received = b""
        client.send("Z\n")
        answer = client.port.read_until(b"\n")
        if answer == b"Z!0006\n":
            break
    time.sleep(0.06)
    assert client.ask("i") == "iES4HR24C0000"
    assert not caplog.records, "the simulation itself failed"


@pytest.fixture
def fuzzed_bench(make_bench):
    return make_bench()


def test_a_closed_clock_stops_the_script_instead_of_letting_it_race(make_bench):
    bench = make_bench(factor=1)
    start(bench)
    bench.client.lines_until("M000A")
    bench.clock.close()
    time.sleep(0.2)
    assert bench.cell.t < 5.0
    bench.device.close()
    assert bench.cell.t < 5.0
