"""When followers act: the schedule's arithmetic, on the leader's clock, without bluesky."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from instruments._follower import LeaderRow, Phase
from techniques import Schedule

PLATING, STRIPPING = -1, 1


def half_cycle_ended(previous: LeaderRow | None, row: LeaderRow | None) -> bool:
    """Return whether plating or stripping ended between two rows (``row`` ``None``: the end)."""
    if previous is None or previous.role not in (PLATING, STRIPPING):
        return False
    return row is None or row.step != previous.step


@dataclass
class Due:
    """Tells which follower is due at each row of the leader.

    ``image``, ``spectrum``, ``injection`` and ``temperature`` say which followers there are at all;
    ``readings`` are the sensors, by what their followers are called.
    """

    every: Schedule
    image: bool
    spectrum: bool
    injection: bool
    temperature: bool = False
    readings: tuple[str, ...] = ()
    _next: dict[str, float] = field(default_factory=dict)
    _previous: LeaderRow | None = None
    _burst_until_s: float = float("-inf")
    _goes_on: bool = False

    def program_over(self) -> None:
        """Note that the next row is of another program: what it follows has not ended by itself."""
        self._goes_on = True

    def actions(self, row: LeaderRow) -> Iterator[tuple[str, Phase]]:
        """Yield (follower, phase) for all that is due at ``row``, each follower at most once."""
        ended = half_cycle_ended(self._previous, row) and not self._goes_on
        self._goes_on = False
        started = self._previous is None or self._previous.half_cycle != row.half_cycle
        self._previous = row
        if started and row.role == PLATING:
            self._burst_until_s = row.t_s + self.every.burst_for_s
            self._next["image"] = row.t_s
        bursting = row.t_s < self._burst_until_s
        for name, wanted, interval in (
            ("image", self.image, self.every.image_s),
            ("spectrum", self.spectrum, self.every.spectrum_s),
            ("injection", self.injection, self.every.injection_s),
            ("temperature", self.temperature, self.every.temperature_s),
            *((name, True, self.every.reading_s) for name in self.readings),
        ):
            if not wanted:
                continue
            dense = name == "image" and bursting
            step = self.every.burst_every_s if dense else interval
            if ended and self.every.at_half_cycle_ends:
                phase = Phase.END
            elif step is not None and row.t_s >= self._next.get(name, row.t_s):
                phase = Phase.BURST if dense else Phase.REGULAR
            else:
                continue
            if step is not None:
                self._next[name] = row.t_s + step
            yield name, phase
