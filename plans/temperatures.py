"""One technique at several temperatures, as one run.

While the thermostat goes to a temperature the potentiostat runs an open circuit, so that there is a
leader, and rows to see the cell settle by. When the temperature stands, that program is ended and
the technique is the next program of the run.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

from instruments.errors import InstrumentError
from instruments.thermostat.device import ThermostatDevice
from techniques import Technique, Temperatures

if TYPE_CHECKING:
    from plans.course import Course

# Over how long the drift of the temperature is taken, s; three rows of a thermostat.
_DRIFT_OVER_S = 90.0
_FEWEST_ROWS = 3


class SettlingError(InstrumentError):
    """A temperature was not reached in time."""


@dataclass
class Settling:
    """Judges by the thermostat's rows whether a temperature stands.

    Attributes:
        told: When it does.
        setpoint_k: Where it is to go, K.
        rows: (time of the leader s, temperature K) since then.
    """

    told: Temperatures
    setpoint_k: float
    rows: list[tuple[float, float]] = field(default_factory=list)
    _near_since_s: float | None = None

    def take(self, t_s: float, temperature_k: float) -> None:
        """Take one row; rows come in their order."""
        self.rows.append((t_s, temperature_k))
        near = abs(temperature_k - self.setpoint_k) <= self.told.within_k
        drift = self.drift_k_min
        if not near or drift is None or abs(drift) > self.told.drift_below_k_min:
            self._near_since_s = None
        elif self._near_since_s is None:
            self._near_since_s = t_s

    @property
    def drift_k_min(self) -> float | None:
        """Return the slope through the newest rows, K/min; ``None`` while they are too few."""
        if not self.rows:
            return None
        newest = self.rows[-1][0]
        recent = [(t, kelvin) for t, kelvin in self.rows if t >= newest - _DRIFT_OVER_S]
        if len(recent) < _FEWEST_ROWS:  # rows come rarer where the clock of a simulation runs fast
            recent = self.rows[-_FEWEST_ROWS:]
        if len(recent) < _FEWEST_ROWS or recent[-1][0] <= recent[0][0]:
            return None
        mean_t = sum(t for t, _ in recent) / len(recent)
        mean_k = sum(kelvin for _, kelvin in recent) / len(recent)
        covariance = sum((t - mean_t) * (kelvin - mean_k) for t, kelvin in recent)
        return 60.0 * covariance / sum((t - mean_t) ** 2 for t, _ in recent)

    @property
    def settled(self) -> bool:
        """Return whether it has stood for the whole soak, as three rows at least tell."""
        since_s = self._near_since_s
        if since_s is None or self.rows[-1][0] - since_s < self.told.soak_s:
            return False
        return sum(t_s >= since_s for t_s, _ in self.rows) >= _FEWEST_ROWS


@dataclass
class Climb:
    """Takes a run through its temperatures.

    Attributes:
        thermostat: Is set.
        told: Where to go, and when it is there.
        technique: Runs at each temperature.
    """

    thermostat: ThermostatDevice
    told: Temperatures
    technique: Technique
    _settling: Settling | None = None

    @property
    def first_program(self) -> Technique:
        """Return what runs until the first temperature stands."""
        return self.told.settling

    def begin(self, course: "Course") -> MsgGenerator:
        """Set the first temperature and listen to the thermostat."""
        course.readers.append(self._read)
        yield from self._set(course, self.told.kelvin[0])

    def run(self, course: "Course", run_program: Callable[[], MsgGenerator]) -> MsgGenerator:
        """Settle and run the technique at each temperature; the first settling was started.

        Raises SettlingError if a temperature is not reached in time.
        """
        leader = course.potentiostat
        for number, kelvin in enumerate(self.told.kelvin):
            if number:
                yield from self._set(course, kelvin)
                yield from course.start(self.told.settling, leader.counters, f"to {kelvin:g} K")
            yield from run_program()
            # A rule may have waited for this rest with its spectrum.
            yield from course.go_on(run_program)
            course.stop_when = None
            if course.ended_by:
                return
            self._refuse_unsettled(kelvin)
            yield from course.start(self.technique, leader.counters, f"at {kelvin:g} K")
            yield from run_program()
            yield from course.go_on(run_program)
            if course.ended_by or leader.program_end.ending == "stopped":
                return  # by a rule, or by a limit of the technique that ends everything

    def _read(self, stream: str, reading: Mapping[str, Any]) -> None:
        """Look at one row of a follower: those of the thermostat count."""
        name = self.thermostat.name
        if self._settling is None or stream != name:
            return
        times = [float(reading[f"{name}_{key}"]["value"]) for key in ("t_before", "t_after")]
        # NaN beside the first and the last row of a program.
        known = [t for t in times if math.isfinite(t)]
        if known:
            temperature_k = float(reading[f"{name}_temperature"]["value"])
            self._settling.take(sum(known) / len(known), temperature_k)

    def _set(self, course: "Course", kelvin: float) -> MsgGenerator:
        self._settling = Settling(self.told, kelvin)
        course.stop_when = self._settled
        yield from bps.abs_set(self.thermostat, kelvin, wait=True)

    def _settled(self) -> bool:
        return self._settling is not None and self._settling.settled

    def _refuse_unsettled(self, kelvin: float) -> None:
        found, self._settling = self._settling, None
        if found is not None and found.settled:
            return
        last = "it told no temperature"
        if found is not None and found.rows:
            drift = found.drift_k_min
            moves = "" if drift is None else f", moving by {drift:.2g} K/min"
            last = f"it is at {found.rows[-1][1]:.2f} K{moves}"
        raise SettlingError(
            f"{self.thermostat.name}: {kelvin:g} K did not stand for {self.told.soak_s:g} s within "
            f"{self.told.give_up_s:g} s ({last}): give it more time (give_up_s), or look at the "
            "bath"
        )


def climb_for(
    thermostat: ThermostatDevice | None, told: Temperatures, technique: Technique
) -> Climb:
    """Return what takes a run through its temperatures.

    Raises ValueError if there is no thermostat, SafetyLimitError if a temperature is one that
    instrument, bench or cell forbid; nothing has moved.
    """
    if thermostat is None:
        raise ValueError(
            "the protocol has temperatures, and there is no thermostat: add one to the bench file, "
            "or leave temperatures out"
        )
    for kelvin in told.kelvin:
        thermostat.check_value(kelvin)
    return Climb(thermostat, told, technique)
