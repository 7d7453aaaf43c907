"""The benchmark's table says what was wanted and whether it was reached; its figure shows it."""

from pathlib import Path

import pytest
from matplotlib.image import imread

from benchmarks.figure import draw
from benchmarks.saved import curves_in
from benchmarks.table import Curve, Row, Section, interleaved, markdown


def test_what_was_wanted_is_told_with_yes_or_no() -> None:
    reached = Row("a", [3.0, 1.0, 2.0], "s", wanted="<= 2")
    assert reached.met == "<= 2: yes"
    assert Row("a", [3.0, 1.0, 2.0], "s", wanted="<= 2", always=True).met == "<= 2: **no**"
    assert Row("a", [12_000.0], "rows/s", wanted=">= 12,001").met == ">= 12,001: **no**"
    assert "<= 2: yes" in markdown(Section("T", "command", [reached]))


def test_repeats_without_a_figure_are_told_and_nothing_is_reached_by_them() -> None:
    some = Row("a", [0.0], "rows lost", "no figure: late", "<= 0", always=True, without=2)
    assert "| 0 rows lost | 0 to 0 | 1 of 3 | <= 0: **no** | no figure: late |" in markdown(
        Section("T", "command", [some])
    )
    none = Row("a", [], "s", "no figure: late", "<= 2", without=3)
    assert "| - | - | 0 of 3 | <= 2: **no** | no figure: late |" in markdown(
        Section("T", "command", [none])
    )


def test_a_cost_that_grows_is_said_to() -> None:
    flat = Curve("rows", "a row", "us", [10, 1000], [4.0, 5.9])
    assert flat.growth.met == "<= 1.5: yes"
    grown = Curve("rows", "a row", "us", [10, 1000], [4.0, 6.1])
    assert grown.growth.met == "<= 1.5: **no**"
    assert "from 10 to 1,000 rows" in grown.growth.ratio


def test_works_take_turns_and_each_has_as_many_repeats_as_asked_for() -> None:
    order: list[str] = []

    def work(name: str) -> float:
        order.append(name)
        return float(len(order))

    values = interleaved({"a": lambda: work("a"), "b": lambda: work("b")}, {"a": 3, "b": 1})
    assert order == ["a", "b", "a", "a"]
    assert values == {"a": [1.0, 3.0, 4.0], "b": [2.0]}


def test_the_figure_has_a_panel_for_each_cost_and_none_for_those_kept_to_the_table(
    tmp_path: Path,
) -> None:
    def picture(*curves: Curve) -> tuple[int, ...]:
        draw(curves, tmp_path / "figure.png")
        shape: tuple[int, ...] = imread(tmp_path / "figure.png").shape
        return shape

    rows = Curve("rows in the run", "a row", "us", [10, 1000], [4.0, 5.0])
    runs = Curve("runs in the folder", "a run", "bytes", [10, 1000], [16_000.0, 16_000.0])
    hidden = Curve("rows in the run", "a list", "ms", [10, 1000], [4.0, 5.0], drawn=False)
    one, two = picture(rows, hidden), picture(rows, runs)
    assert one[1] == two[1] == 1600
    assert two[0] == 2 * one[0]


def test_the_figure_of_a_table_is_drawn_again_from_the_table() -> None:
    table = (Path(__file__).parents[2] / "docs" / "measured" / "record.md").read_text("utf-8")
    curves = curves_in(table)
    assert [(curve.over, curve.what) for curve in curves if curve.drawn] == [
        ("runs in the folder", "a run written"),
        ("runs in the folder", "a run taken in and the newest 20 listed"),
        ("runs in the folder", "a run's journal"),
        ("rows in the run", "a row written"),
        ("rows in the run", "a row in the journal"),
        ("rows in the run", "the service's memory"),
    ]
    assert {curve.what for curve in curves if not curve.drawn} == {
        "a run's number",
        "the newest 20 runs listed",
    }
    for curve in curves:
        assert list(curve.counts) == sorted(curve.counts)
        (growth,) = [line for line in table.splitlines() if f"| {curve.what}: growth |" in line]
        told = float(growth.split("|")[2].split()[0])
        assert curve.growth.median == pytest.approx(told, rel=0.02)  # of three digits each
        assert curve.growth.ratio in growth


def test_a_table_without_a_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="runs and growth"):
        curves_in(markdown(Section("T", "command", [Row("a", [1.0], "s")])))
