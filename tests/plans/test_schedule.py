"""The schedule: who is due when, on the leader's clock."""

from instruments._follower import LeaderRow
from plans.schedule import Due, Phase
from techniques import Schedule


def actions(due: Due, rows: list[tuple[float, int, int]]) -> list[tuple[float, str, Phase]]:
    return [
        (t, name, phase)
        for t, half_cycle, role in rows
        for name, phase in due.actions(LeaderRow(t, half_cycle, role, half_cycle + (role == 0)))
    ]


def test_regular_actions_come_at_their_interval() -> None:
    due = Due(Schedule(image_s=60, spectrum_s=120, burst_for_s=0), True, True, False)
    got = actions(due, [(float(t), 0, 0) for t in range(0, 241, 10)])
    assert [t for t, name, _ in got if name == "image"] == [0, 60, 120, 180, 240]
    assert [t for t, name, _ in got if name == "spectrum"] == [0, 120, 240]


def test_images_come_densely_while_metal_nucleates_and_only_then() -> None:
    due = Due(Schedule(image_s=60, burst_for_s=10, burst_every_s=2), True, False, False)
    rows = [(float(t), 1 if t < 100 else 2, -1 if t < 100 else 1) for t in range(0, 140)]
    got = actions(due, rows)
    burst = [t for t, _, phase in got if phase is Phase.BURST]
    assert burst == [0, 2, 4, 6, 8]
    assert [t for t, _, phase in got if phase is Phase.END] == [100]


def test_the_end_of_a_half_cycle_restarts_the_regular_interval() -> None:
    due = Due(Schedule(injection_s=900, burst_for_s=0), False, False, True)
    rows = [(float(t), 1 + t // 890, -1) for t in range(0, 1700, 10)]
    got = actions(due, rows)
    assert [(t, phase) for t, _, phase in got] == [(0, Phase.REGULAR), (890, Phase.END)]


def test_what_is_not_there_is_never_due() -> None:
    due = Due(Schedule(), False, False, False)
    assert not actions(due, [(float(t), t // 100, -1) for t in range(0, 1000, 10)])


def test_a_half_cycle_ends_where_its_rest_begins() -> None:
    due = Due(Schedule(image_s=None, spectrum_s=None, burst_for_s=0), False, True, False)
    rows = [(float(t), 1, -1 if t < 50 else 0) for t in range(0, 100, 10)]
    assert actions(due, rows) == [(50, "spectrum", Phase.END)]


def test_temperatures_come_at_their_interval_also_at_rest_and_at_ends() -> None:
    every = Schedule(temperature_s=30, burst_for_s=0)
    due = Due(every, False, False, False, temperature=True)
    got = actions(due, [(float(t), t // 100, -1) for t in range(0, 200, 10)])
    assert [(t, phase) for t, _, phase in got] == [
        (0, Phase.REGULAR),
        (30, Phase.REGULAR),
        (60, Phase.REGULAR),
        (90, Phase.REGULAR),
        (100, Phase.END),
        (130, Phase.REGULAR),
        (160, Phase.REGULAR),
        (190, Phase.REGULAR),
    ]
