"""What a run says of rows by which its rules could not be judged."""

import logging
import math
from collections.abc import Callable

import pytest

from instruments.potentiostat.contract import PLATE, STRIP, Sample
from operando.analysis.live_verdicts import Verdicts
from plans.rules import Watch
from techniques.default_rules import HARD_SHORT_ENDS

AREA_CM2, CURRENT_A = 1.131, 1e-3
ZINC = {"material": "Zn", "area_cm2": AREA_CM2, "metal": "Zn", "thickness_um": 100}
START = {
    "sample": {
        "cell_id": "A",
        "metal": "Zn",
        "working_electrode": ZINC,
        "counter_electrode": ZINC,
        "electrolyte": {"composition": "2 mol/L ZnSO4"},
    }
}
OVERLOAD = 2


class Leader:
    """Tells rows to who asked for them."""

    def __init__(self) -> None:
        self.alarms: list[str] = []
        self.on_alarm = self.alarms.append
        self.tell: Callable[[Sample], None]

    def on_measured(self, callback: Callable[[Sample], None]) -> Callable[[], None]:
        self.tell = callback
        return lambda: None


def watched(*halves: tuple[int, int]) -> tuple[Watch, list[str]]:
    """Judge half-cycles of 100 rows, so many of which are (unreadable, overloaded)."""
    leader, watch = Leader(), Watch((HARD_SHORT_ENDS,), Verdicts(START))
    watch.begin(leader)  # type: ignore[arg-type]
    t_s = 0.0
    for number, (unreadable, overloaded) in enumerate(halves, 1):
        role = PLATE if number % 2 else STRIP
        for row in range(100):
            t_s += 1.0
            current_a = math.nan if row < unreadable else role * CURRENT_A
            flags = OVERLOAD if unreadable <= row < unreadable + overloaded else 0
            where = (1, number, number, role, flags, 0)
            leader.tell(Sample(t_s, row + 1.0, role * 0.05, current_a, *where))
    watch.end()
    return watch, leader.alarms


def test_rows_that_can_be_read_leave_no_doubt() -> None:
    watch, alarms = watched((0, 0), (0, 0))
    assert (watch.doubts, alarms) == ([], [])


def test_a_few_rows_that_cannot_be_read_are_a_doubt_and_no_alarm() -> None:
    watch, alarms = watched((0, 0), (1, 1))
    assert alarms == []
    (told,) = watch.doubts
    assert told.endswith("rules saw less: 2 of 100 rows of half-cycle 2")


def test_many_of_them_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        watch, alarms = watched((30, 0), (0, 0), (0, 40), (50, 0), (10, 0))
    (alarm,) = alarms
    assert "rows of half-cycle 1 so far have no number or are overloaded" in alarm
    assert [record.getMessage() for record in caplog.records] == [alarm]
    (told,) = watch.doubts
    assert "40 of 100 rows of half-cycle 3" in told
    assert told.endswith("and of 1 more")
