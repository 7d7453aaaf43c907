"""What a program prints, line by line; what is damaged on the way is never believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instruments.errors import InstrumentFaultError, ProtocolError
from instruments.potentiostat.contract import LOST_BEFORE, PLATE, Sample
from instruments.potentiostat.keithley.script import Block, Program
from instruments.potentiostat.keithley.stream import OVERLOAD, TIMING, ProgramStream
from instruments.potentiostat.keithley.zero_current import zeros_of
from techniques import Counters

PROGRAM = Program(
    "", (Block("galvanostatic", PLATE, -1e-3, 11.0, 60.0),), Counters(t_s=100.0, cycle=2, step=4)
)
BEGIN = [b"B,1795729032.000", b"S,0,5,3,1,0.000100,1795729032.000"]
ROW = b"R,1,0,5,3,1,1.000100,1.000000,-1.2500000e-01,-1.0000000e-03,200"
END = b"E,3,0,5,10.000100,10.000000,smu.OFF,END"


def stream(*lines: bytes) -> tuple[ProgramStream, list[Sample]]:
    one = ProgramStream(PROGRAM)
    rows = [one.feed(line, 7) for line in (*BEGIN, *lines)]
    return one, [row for row in rows if row is not None]


def test_a_row_carries_the_counters_of_the_whole_experiment() -> None:
    one, rows = stream(
        ROW, ROW.replace(b"R,1", b"R,2").replace(b"1.000100,1.0", b"2.000100,2.0"), END
    )
    assert rows[0] == Sample(101.0001, 1.0, -0.125, -1e-3, 3, 1, 5, PLATE, 0, 7)
    assert one.begun_utc_s == 1795729032.0
    assert (one.over, one.ending, one.output, one.lost) == (True, "END", "smu.OFF", 1)
    assert one.end.ending == "complete"
    assert one.end.step_s == pytest.approx(10.0)
    assert one.counters == Counters(t_s=110.0001, cycle=3, half_cycle=1, step=5)


def test_rows_that_got_lost_are_noticed() -> None:
    _, rows = stream(ROW, ROW.replace(b"R,1", b"R,4").replace(b"1.000100", b"4.000100"))
    assert [row.flags for row in rows] == [0, LOST_BEFORE]


def test_a_row_that_was_damaged_is_not_also_dropped() -> None:
    third = ROW.replace(b"R,1", b"R,3").replace(b"1.000100", b"3.000100")
    one, _ = stream(ROW, b"R,2\xff", third)
    assert (len(one.damaged), one.lost, one.dropped) == (1, 1, 0)
    one, _ = stream(ROW, third)
    assert (len(one.damaged), one.lost, one.dropped) == (0, 1, 1)


def test_a_step_whose_begin_was_lost_is_told_by_its_rows() -> None:
    one, rows = stream(ROW.replace(b"0,5,3,1", b"0,6,3,2"))
    assert (rows[0].step, rows[0].half_cycle) == (6, 2)
    assert one.end.step_s == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("status", "flags"), [(200, 0), (232, OVERLOAD), (204, OVERLOAD), (456, TIMING)]
)
def test_the_status_of_the_source_becomes_flags(status: int, flags: int) -> None:
    _, rows = stream(ROW.removesuffix(b"200") + str(status).encode())
    assert rows[0].flags == flags


def test_an_overflow_is_no_number() -> None:
    _, rows = stream(ROW.replace(b"-1.2500000e-01", b"9.9100000e+37"))
    assert rows[0].potential_v != rows[0].potential_v
    assert rows[0].flags == OVERLOAD


def test_how_a_program_ended_is_told() -> None:
    for how, ending, told in (
        (b"SAFETY potential_max_v 1.5", "safety", "potential_max_v 1.5"),
        (b"STOP charge_mah_cm2 1", "stopped", "charge_mah_cm2 1"),
        (
            b"FAULT event -222 Parameter, out of range",
            "unknown",
            "event -222 Parameter, out of range",
        ),
    ):
        one, _ = stream(ROW, END.replace(b"END", how))
        assert (one.end.ending, one.told) == (ending, told)
    one, _ = stream(ROW)
    one.opened(1.25)
    assert one.end.ending == "opened"
    assert one.counters.t_s == 101.25


def test_a_clock_that_jumps_moves_neither_rows_nor_the_end() -> None:
    jumped = ROW.replace(b"R,1", b"R,2").replace(b"1.000100,1.0", b"3602.000100,3601.0")
    one, rows = stream(ROW, jumped, END.replace(b"10.000100,10.0", b"3610.000100,3610.0"))
    assert [row.step_t_s for row in rows] == [1.0]
    assert (one.over, one.ending, one.odd_times) == (True, "END", 2)
    assert one.counters.t_s == 101.0001
    one, _ = stream(ROW, END.replace(b"10.000100", b"0.000000"))
    assert (one.over, one.odd_times) == (True, 1)
    assert one.counters.t_s == 101.0001


@given(place=st.integers(0, len(ROW) - 1), bit=st.just(7))
def test_a_line_with_a_byte_that_no_text_has_is_kept_raw(place: int, bit: int) -> None:
    damaged = bytearray(ROW)
    damaged[place] ^= 1 << bit
    one, rows = stream(bytes(damaged))
    assert not rows
    assert one.damaged == [bytes(damaged)]


@given(st.integers(0, len(ROW)), st.integers(0, len(ROW)))
def test_a_line_of_which_a_part_is_missing_is_kept_raw(first: int, last: int) -> None:
    first, last = sorted((first, last))
    left = ROW[:first] + ROW[last:]
    if left in (ROW, b""):
        return
    one, rows = stream(left)
    # What is cut out of a number's digits cannot be seen where a number stays.
    assert not rows or (len(left) > 55 and rows[0].step >= 5)
    assert bool(rows) != bool(one.damaged)


@given(st.binary(max_size=80))
def test_no_noise_is_a_row(noise: bytes) -> None:
    one, rows = stream(noise)
    assert not rows
    assert not one.over


@pytest.mark.parametrize(
    "line",
    [
        b"S,0,5,3,1,2.000000,1795729034.000",  # not the next step
        b"S,7,6,3,1,2.000000,1795729034.000",  # no such block
        b"S,0,6,2,1,2.000000,1795729034.000",  # the cycle goes back
        ROW.replace(b"1.000100,1.0", b"0.000010,1.0"),  # the time goes back
        ROW.replace(b"1.000000", b"500.000000"),  # longer than the step can last
        ROW.replace(b"-1.2500000e-01", b"-1.2500000e+03"),
        END.replace(b"E,3", b"E,0"),
        END.replace(b"END", b"FINE"),
    ],
)
def test_what_the_program_cannot_have_printed_there_is_kept_raw(line: bytes) -> None:
    before = ROW.replace(b"R,1", b"R,1") if not line.startswith(b"R") else b"R,0"
    one, _ = stream(ROW, line) if before == ROW else stream(line)
    assert one.damaged[-1:] == [line]
    assert not one.over


def test_the_zero_of_the_current_is_a_mean_with_its_error() -> None:
    lines = ["ZR,0,1.0000000e-03"]
    lines += [f"Z,0,{1e-8 + (n % 2) * 1e-9:.7e}" for n in range(10)]
    (zero,) = zeros_of(lines, (1e-3,))
    assert zero.current_a == pytest.approx(1.05e-8)
    assert zero.uncertainty_a == pytest.approx(3e-10)


def test_the_zero_of_another_range_is_none() -> None:
    with pytest.raises(InstrumentFaultError, match=r"the range 0\.1 A, in force is 1e-08"):
        zeros_of(["ZR,0,1.0000000e-08", "Z,0,4.0000000e-12"], (0.1,))
    with pytest.raises(ProtocolError, match="before its range"):
        zeros_of(["Z,0,4.0000000e-12"], (0.1,))
