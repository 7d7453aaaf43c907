"""What a running program sends, whole and damaged: a wrong value is never accepted."""

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instruments.potentiostat import ImpedancePoint, Sample
from instruments.potentiostat._programmed import times_left_out
from instruments.potentiostat.contract import LOST_BEFORE
from instruments.potentiostat.methodscript.program import Program
from instruments.potentiostat.methodscript.script import Block
from instruments.potentiostat.methodscript.stream import ProgramStream

PROGRAM = Program(
    "",
    (
        Block("open_circuit", 0, 0.0, 10.0, 60.0),
        Block("galvanostatic", -1, -1e-3, 10.0, 3600.0),
        Block("impedance", 2, 0.0, 100.0, 4000.0),
    ),
)


def value(x: float) -> str:
    """Write a package value with micro (or milli, or no) prefix, as coarse as it must be."""
    if math.isnan(x):
        return "     nan"
    for prefix, scale in (("u", 1e6), ("m", 1e3), (" ", 1.0)):
        if abs(round(x * scale)) < 2**27:
            return f"{round(x * scale) + 2**27:07X}{prefix}"
    raise ValueError(x)


def count(n: int) -> str:
    return f"{n + 2**27:07X}i"


def header(took_s: float, block: int, step: int, cycle: int = 0, half_cycle: int = 0) -> str:
    counts = zip(("ja", "jb", "jc", "jd"), (block, step, cycle, half_cycle), strict=True)
    return ";".join([f"Peb{value(took_s)}", *(f"{kind}{count(n)}" for kind, n in counts)])


def row(t_s: float, number: int, potential_v: float, current_a: float | None = None) -> str:
    text = f"Peb{value(t_s)};ja{count(number)};ab{value(potential_v)}"
    return text if current_a is None else text + f";ba{value(current_a)}"


def point(t_s: float, number: int, f: float, zr: float, zi: float) -> str:
    return f"Peb{value(t_s)};ja{count(number)};dc{value(f)};cc{value(zr)};cd{value(zi)}"


LINES = [
    header(0.0, 0, 1),
    header(0.0, 0, 1),
    "M000B",
    row(1.0, 1, 0.75),
    row(2.0, 2, 0.74),
    "*",
    row(2.0, 2, 0.74),
    "L",
    header(2.5, 1, 2, 1, 1),
    header(2.5, 1, 2, 1, 1),
    "M000A",
    row(0.5, 3, -0.05, -1e-3),
    row(200.25, 4, -0.04, -1e-3) + ",14,21B",
    "*",
    row(200.25, 4, -0.04, -1e-3) + ",14,21B",
    header(201.0, 2, 3, 1, 1),
    header(201.0, 2, 3, 1, 1),
    "M000D",
    point(1.5, 5, 100.0, 3.0, -1.5),
    "*",
    point(1.5, 5, 100.0, 3.0, -1.5),
    "+",
    f"Peb{value(9.0)};ja{count(5)}",
    "TEND",
    "",
]


def feed(lines: list[bytes]) -> tuple[ProgramStream, list[Sample | ImpedancePoint]]:
    stream = ProgramStream(PROGRAM)
    rows = [stream.feed(line, 7) for line in lines]
    return stream, [x for x in rows if x is not None]


def encoded(lines: list[str]) -> list[bytes]:
    return [line.encode() for line in lines]


def test_a_whole_program_becomes_rows_on_one_time() -> None:
    stream, rows = feed(encoded(LINES))
    assert rows == [
        Sample(1.0, 1.0, 0.75, 0.0, 0, 0, 1, 0, 0, 7),
        Sample(2.0, 2.0, 0.74, 0.0, 0, 0, 1, 0, 0, 7),
        Sample(3.0, 0.5, -0.05, -1e-3, 1, 1, 2, -1, 0, 7),
        Sample(202.75, 200.25, -0.04, -1e-3, 1, 1, 2, -1, 4, 7),
        ImpedancePoint(205.0, 1, 1, 1, 3, 100.0, 3.0, -1.5, 0, 7),
    ]
    assert stream.over
    assert stream.complete
    assert (stream.damaged, stream.dropped, stream.incomplete) == ([], 0, None)
    assert stream.lost == 0


@pytest.mark.parametrize("kind", ["ba", "db"])
def test_the_current_is_known_by_its_type(kind: str) -> None:
    lines = [header(0.0, 1, 1, 1, 1), row(1.0, 1, 0.1, -1e-3).replace("ba", kind)]
    assert feed(encoded(lines))[1][0].current_a == -1e-3


HEADERS_OF_STEP_2 = [n for n, line in enumerate(LINES) if line == header(2.5, 1, 2, 1, 1)]


def test_rows_of_a_clock_that_jumped_are_left_out_and_counted() -> None:
    for t_s in (7200.0, -3600.0):
        lines = [header(0.0, 1, 1, 1, 1), row(1.0, 1, 0.1, -1e-3), row(t_s, 2, 0.1, -1e-3)]
        stream, rows = feed(encoded(lines))
        assert [one.step_t_s for one in rows if isinstance(one, Sample)] == [1.0]
        assert stream.odd_times == 1
        assert times_left_out(1)[0].startswith("1 row was left out whose time cannot be")


def test_one_header_is_enough() -> None:
    for lost in HEADERS_OF_STEP_2:
        lines = [*LINES]
        del lines[lost]
        stream, rows = feed(encoded(lines))
        assert rows == feed(encoded(LINES))[1]
        assert stream.incomplete is None


def test_rows_whose_step_is_not_known_are_left_out() -> None:
    lines = encoded(LINES)
    for n in HEADERS_OF_STEP_2:
        lines[n] = b"Peb80\xff"
    stream, rows = feed(lines)
    assert rows == feed(encoded(LINES))[1][:2]
    assert stream.incomplete is not None
    assert stream.damaged[0] == b"Peb80\xff"


def test_a_row_that_did_not_arrive_is_noticed_and_the_next_one_says_so() -> None:
    stream, rows = feed(encoded([x for x in LINES if x != LINES[3]]))
    assert [x.flags for x in rows] == [LOST_BEFORE, 0, 4, 0]
    assert (stream.dropped, stream.lost, stream.damaged) == (1, 1, [])
    # The last row of a step, both copies: the first row of the next step tells it.
    stream, rows = feed(encoded([x for x in LINES if x != LINES[4]]))
    assert [x.flags for x in rows] == [0, LOST_BEFORE, 4, 0]
    # The last row of all: the farewell tells it.
    stream, rows = feed(
        encoded([x for x in LINES if not x.startswith(point(1.5, 5, 100, 3, -1.5))])
    )
    assert (len(rows), stream.dropped, stream.lost) == (4, 1, 1)


@pytest.mark.parametrize("copy", [0, 1])
@pytest.mark.parametrize("damage", [None, b"Peb800000;garbage"])
def test_one_copy_of_the_last_row_of_a_step_is_enough(copy: int, damage: bytes | None) -> None:
    whole = feed(encoded(LINES))[1]
    for last in {line for line in LINES[3:-1] if LINES.count(line) == 2 and ";jb" not in line}:
        n = [m for m, line in enumerate(LINES) if line == last][copy]
        lines = encoded(LINES)
        lines[n : n + 1] = [] if damage is None else [damage]
        stream, rows = feed(lines)
        assert rows == whole
        assert (stream.lost, stream.dropped) == (0, 0)
        assert stream.complete


def test_a_damaged_row_is_kept_raw_and_counted_once() -> None:
    lines = encoded(LINES)
    lines[3] = b"Peb800000;garbage"
    stream, rows = feed(lines)
    assert len(rows) == 4
    assert (stream.damaged, stream.dropped) == ([b"Peb800000;garbage"], 0)
    assert stream.lost == 1


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        ("TSAFETY potential_max_v 1", "safety", "potential_max_v 1"),
        ("TSTOP charge_mah_cm2 0.6", "stopped", "charge_mah_cm2 0.6"),
    ],
)
def test_a_limit_that_ended_the_program_is_told(text: str, name: str, told: str) -> None:
    stream, _ = feed(encoded([*LINES[:5], text, ""]))
    assert getattr(stream, name) == told
    assert stream.complete
    assert stream.over


def test_an_abort_and_a_fault_are_told() -> None:
    stream, _ = feed(encoded([*LINES[:5], "Z", "*", ""]))
    assert (stream.aborted, stream.complete, stream.over) == (True, False, True)
    stream, _ = feed(encoded([*LINES[:5], "!0032: Line 14"]))
    assert stream.fault is not None
    assert (stream.fault.code, stream.fault.line) == (0x32, 14)


@pytest.mark.parametrize(
    "line",
    [
        row(0.5, 3, 0.7),  # back in time
        row(3.0, 2, 0.7),  # a number that came before
        row(3.0, 3, 0.7, 1e-3),  # a current at open circuit
        row(900.0, 3, 0.7),  # long after the step's end
        row(3.0, 3, 55.0),  # no instrument measures this
        point(3.0, 3, 1.0, 1.0, 1.0),
        row(3.0, 3, 0.7).replace("ab", "ag"),
        header(1.0, 1, 2),  # the step took less than its rows
        header(3.0, 7, 2),  # no such block
        header(3.0, 1, 0),
        header(3.0, 1, 2, -1),
        header(3.0, 1, 2).replace("i;jb", "m;jb"),
        "TSOMETHING",
        "X",
        "M00",
        "!40",
        "Peb8000001u;ja8000001u",
    ],
)
def test_a_line_that_makes_no_sense_here_changes_nothing(line: str) -> None:
    before, _ = feed(encoded(LINES[:5]))
    stream, rows = feed([*encoded(LINES[:5]), line.encode()])
    assert len(rows) == 2
    assert stream.damaged == [line.encode()]
    assert (stream.block, stream.step, stream.over) == (before.block, before.step, before.over)


def test_a_row_before_the_first_header_is_left_out() -> None:
    stream, rows = feed(encoded([row(1.0, 1, 0.1)]))
    assert rows == []
    assert len(stream.damaged) == 1


def test_time_goes_on_where_its_unit_grows() -> None:
    lines = [header(0.0, 1, 1, 1, 1)]
    lines += [row(t, n, 0.1, -1e-3) for n, t in enumerate((134.2177, 134.218, 134.3), 1)]
    lines += [header(134.3, 1, 2, 1, 2), row(1.0, 4, 0.1, -1e-3)]
    stream, rows = feed(encoded(lines))
    assert [x.t_s for x in rows] == pytest.approx([134.2177, 134.218, 134.3, 135.3])
    assert stream.damaged == []


def test_not_a_number_is_what_the_instrument_says() -> None:
    _, rows = feed(encoded([header(0.0, 0, 1), row(1.0, 1, math.nan)]))
    assert isinstance(rows[0], Sample)
    assert math.isnan(rows[0].potential_v)


# Without the status bits: a kind of metadata that is not known is skipped, as the manual says.
GOOD = {tuple(x)[:8] for x in feed(encoded(LINES))[1]}
# A character that cannot stand in a value, any character too many, a line cut, doubled or run into
# the next. (A digit or prefix that turned into another one cannot be told from the right one: the
# line carries no checksum. USB does, below it.)
VALUE_CHARACTERS = "0123456789ABCDEFabcdefafpnum kMGTPEi"
FOREIGN = st.sampled_from([bytes([x]) for x in range(256) if chr(x) not in VALUE_CHARACTERS + "\n"])
ANY = st.sampled_from([bytes([x]) for x in range(256) if x != 10])


@st.composite
def damaged_lines(draw: st.DrawFn) -> list[bytes]:
    lines = encoded(LINES)
    for _ in range(draw(st.integers(1, 4))):
        n = draw(st.integers(0, len(lines) - 2))
        line = lines[n]
        cut = draw(st.integers(0, max(0, len(line) - 1)))
        match draw(st.integers(0, 5)):
            case 0:
                lines[n] = line[:cut] + draw(FOREIGN) + line[cut + 1 :]
            case 1:
                lines[n] = line[:cut] + draw(ANY) + line[cut:]
            case 2:
                lines[n] = line[:cut] + line[cut + 1 :] or b"?"
            case 3:
                lines[n] = line[:cut] or b"?"
            case 4:
                lines[n : n + 2] = [line + lines[n + 1]]
            case 5:
                del lines[n]
    return lines


@settings(max_examples=1500, deadline=None)
@given(damaged_lines())
def test_a_damaged_line_never_becomes_a_wrong_row(lines: list[bytes]) -> None:
    stream, rows = feed(lines)
    wrong = [x for x in rows if tuple(x)[:8] not in GOOD]
    # Without its headers a row may be placed on the time of the step before, but then the loss
    # of the structure is told and no row follows.
    assert wrong == [] or stream.incomplete is not None
    assert not [x for x in wrong if x[1:3] not in {y[1:3] for y in GOOD}]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.binary(max_size=60).filter(lambda x: b"\n" not in x), max_size=10))
def test_noise_never_becomes_a_row(noise: list[bytes]) -> None:
    _, rows = feed([*encoded(LINES[:5]), *noise])
    assert len(rows) == 2


HOLD = Block("potentiostatic", 4, 0.0, 10.0, 100.0)


def held(t_s: float, number: int, set_v: float, current_a: float) -> str:
    text = f"Peb{value(t_s)};ja{count(number)};da{value(set_v)}"
    return text + f";ba{value(current_a)},14,218"


def feed_to(program: Program, *lines: str) -> tuple[ProgramStream, list[Sample | ImpedancePoint]]:
    stream = ProgramStream(program)
    rows = [stream.feed(line.encode(), 7) for line in lines]
    return stream, [x for x in rows if x is not None]


@pytest.mark.parametrize("kind", ["potentiostatic", "linear_sweep", "cyclic_voltammetry"])
def test_a_row_at_a_set_potential_tells_it_and_the_current(kind: Any) -> None:
    program = Program("", (dataclasses.replace(HOLD, kind=kind),))
    scan = ("C0000", held(2.0, 2, 0.1, 1e-3), "-") if kind == "cyclic_voltammetry" else ()
    stream, rows = feed_to(program, header(0.0, 0, 1), held(1.0, 1, 0.1, 2e-3), *scan)
    assert rows[0] == Sample(1.0, 1.0, 0.1, 2e-3, 0, 0, 1, 4, 4, 7)
    assert stream.damaged == []


@pytest.mark.parametrize(
    "line",
    [
        row(1.0, 1, 0.1),
        row(1.0, 1, 0.1, 1e-3).replace("ba", "db"),
        held(1.0, 1, 0.1, 3.0),
        held(1.0, 1, 0.1, 1e-3) + f";ag{value(0.1)}",
        point(1.0, 1, 100.0, 3.0, -1.5),
    ],
)
def test_what_is_no_row_of_a_hold_is_left_out(line: str) -> None:
    stream, rows = feed_to(Program("", (HOLD,)), header(0.0, 0, 1), line)
    assert rows == []
    assert stream.damaged == [line.encode()]


def test_with_a_reference_a_row_without_the_potential_of_the_cell_is_damaged() -> None:
    program = Program("", (HOLD, *PROGRAM.blocks), reference=True)
    whole = held(1.0, 1, 0.1, 2e-3) + f";ag{value(0.25)}"
    lines = [header(0.0, 0, 1), whole, held(2.0, 2, 0.1, 2e-3)]
    absurd = held(3.0, 3, 0.1, 2e-3) + f";ag{value(25.0)}"
    stream, rows = feed_to(program, *lines, absurd, header(4.0, 1, 2), row(1.0, 4, 0.7))
    assert [(x.t_s, x.cell_potential_v) for x in rows if isinstance(x, Sample)] == [(1.0, 0.25)]
    assert len(stream.damaged) == 3


def test_with_a_reference_the_potentials_around_a_spectrum_are_rows_of_it() -> None:
    program = dataclasses.replace(PROGRAM, reference=True)
    across = f";ag{value(0.25)}"
    stream, rows = feed_to(
        program,
        header(0.0, 2, 1),
        row(1.0, 1, 0.2) + across,
        point(2.0, 2, 1000.0, 3.0, -1.5),
        held(3.0, 3, 0.1, 2e-3) + across,
        row(4.0, 4, 0.2),
        held(5.0, 4, 0.1, 2e-3),
    )
    before, middle, after = rows
    assert before == Sample(1.0, 1.0, 0.2, 0.0, 0, 0, 1, 2, 0, 7, 0.25)
    assert isinstance(middle, ImpedancePoint)
    assert after == Sample(3.0, 3.0, 0.1, 2e-3, 0, 0, 1, 2, 4, 7, 0.25)
    assert len(stream.damaged) == 2
