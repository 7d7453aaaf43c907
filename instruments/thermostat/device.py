"""The thermostat in a plan: a temperature that can be set, and a follower that tells it."""

import logging
import math
import threading
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from bluesky.protocols import Status

from instruments._follower import Follower, Leader
from instruments.errors import InstrumentError, SafetyLimitError
from instruments.thermostat.contract import (
    AQUEOUS_BATHS,
    TemperatureLimitError,
    Thermostat,
    ThermostatState,
    leave_alone,
)

_log = logging.getLogger(__name__)

# What a bath may overshoot beyond the range of a cell before that ends a run.
_OVERSHOOT_K = 1.0
# A bath is at its setpoint within the one, and has left it beyond the other.
_SETTLED_K, _AWAY_K = 0.3, 1.0


class ThermostatDevice(Follower):
    """A thermostat that follows the leader: ``trigger`` asks for its temperature.

    ``set`` gives it another temperature. What the cell must not be exposed to is told with
    ``allow``: a setpoint beyond it is refused, and a temperature beyond it fails the exchange,
    which ends a run.

    Args:
        driver: the thermostat.
        name: prefix of the event keys.
        limits_k: lowest and highest temperature of this bench; ``None``: that of the instrument.
        bath_liquid: what the cell stands in, as the bench file says; ``None``: it does not.
    """

    # A series of runs goes on at the temperature of its experimenter.
    outlasts_runs: ClassVar[bool] = True
    _columns: ClassVar[Mapping[str, str | None]] = {
        "temperature": "K",
        "setpoint": "K",
        "controlling": None,
        "of_process": None,
    }

    def __init__(
        self,
        driver: Thermostat,
        *,
        name: str = "thermostat",
        limits_k: tuple[float | None, float | None] = (None, None),
        bath_liquid: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.driver = driver
        self._bench_k = limits_k
        self._bath_liquid = bath_liquid
        self._safe_k = driver.safe_temperature_k
        self._cell_k: tuple[float | None, float | None] = (None, None)
        self._latest: tuple[float, float] | None = None
        self._latest_lock = threading.Lock()
        self._controlled = self._settled_there = self._processed = False
        self._setpoint_k = math.nan

    # -- the temperature

    @property
    def limits(self) -> tuple[float, float]:
        """Return the lowest and the highest setpoint that instrument, bench and cell allow, K."""
        low, high = self.driver.setpoint_range_k()
        for lowest, highest in (self._bench_k, self._cell_k):
            low = low if lowest is None else max(low, lowest)
            high = high if highest is None else min(high, highest)
        return low, high

    @property
    def latest_temperature(self) -> tuple[float, float] | None:
        """Return (epoch s, K) of the newest temperature that was read, ``None`` before it."""
        with self._latest_lock:
            return self._latest

    def allow(self, low_k: float | None, high_k: float | None) -> None:
        """Keep to what a cell allows from now on; ``None``: the cell does not say.

        Blocks for one exchange (30 ms). Raises TemperatureLimitError if it is controlled to a
        temperature beyond, or the bath is there already.
        """
        self._cell_k = (low_k, high_k)
        # A safe temperature that the cell forbids is none: the bath is stopped instead.
        safe_k = self._safe_k
        forbidden = safe_k is not None and self._beyond_cell(safe_k, 0.0)
        self.driver.safe_temperature_k = None if forbidden else safe_k
        if forbidden:
            _log.warning(
                "%s: its safe temperature, %g K, is beyond what the cell allows (%s): it stops "
                "where it would go there",
                self.name,
                safe_k,
                self._cell_told(),
            )
        if (low_k, high_k) == (None, None):
            return
        state = self.driver.state()
        for told, kelvin in (("is at", state.temperature_k), ("goes to", state.setpoint_k)):
            if told == "goes to" and not state.controlling:
                continue
            if self._beyond_cell(kelvin, 0.0):
                raise TemperatureLimitError(
                    f"{self.name}: the bath {told} {kelvin:.2f} K; the cell allows "
                    f"{self._cell_told()}. Set it before the cell is put in"
                )

    def receive(self, metal: str) -> None:
        """Take a cell of this metal into the bath; nothing is sent.

        Raises SafetyLimitError for sodium in a bath of water: a cell that leaks burns.
        """
        if metal != "Na":
            return
        if self._bath_liquid in AQUEOUS_BATHS:
            raise SafetyLimitError(
                f"{self.name}: the bath is {self._bath_liquid} (bath_liquid in the bench file) and "
                "the cell holds sodium, which burns in it: fill it with silicone oil, or take a "
                "dry block"
            )
        if self._bath_liquid is None:
            _log.warning(
                "%s: the cell holds sodium, and the bench file does not tell the bath_liquid: see "
                "that it is not water",
                self.name,
            )

    def check_value(self, value: float) -> None:
        """Raise TemperatureLimitError, or ValueError if it is no temperature; nothing moves."""
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{self.name}: {value!r} is not a temperature in K")
        low, high = self.limits
        if not low <= value <= high:
            raise TemperatureLimitError(
                f"{self.name}: asked for {value:g} K; instrument, bench and cell together allow "
                f"{low:g} K to {high:g} K; the setpoint is unchanged"
            )

    def set(self, value: float) -> Status:
        """Go to a temperature in K; the status is done when the thermostat has confirmed it.

        The temperature is there minutes later: a plan watches the rows of this device. Raises what
        ``check_value`` raises.
        """
        self.check_value(value)
        return self._in_thread(lambda: self._go_to(value))

    def _go_to(self, temperature_k: float) -> None:
        self.driver.go_to(temperature_k)

    # -- bluesky

    def follow(self, leader: Leader) -> None:
        super().follow(leader)
        self._controlled = self._settled_there = self._processed = False
        self._setpoint_k = math.nan

    def connect(self) -> None:
        """Open the port; raises what the driver raises."""
        self.driver.connect()

    def unstage(self) -> list[object]:
        """End the exchange that is open."""
        self.close_worker()
        unstaged: list[object] = super().unstage()
        return unstaged

    def safe_state(self) -> None:
        """Go to the temperature at which the bench file says it can be left alone."""
        self.driver.safe_state()

    def _acquire(self, **request: Any) -> tuple[dict[str, float], int]:
        state = self.driver.state()
        with self._latest_lock:
            self._latest = time.time(), state.temperature_k
        self._compare(state)
        if self._beyond_cell(state.temperature_k, _OVERSHOOT_K):
            told = f"{self.name}: the bath is at {state.temperature_k:.2f} K; the cell allows "
            raise TemperatureLimitError(told + f"{self._cell_told()}. {self._retreat()}")
        return {
            "temperature": state.temperature_k,
            "setpoint": state.setpoint_k,
            "controlling": float(state.controlling),
            "of_process": float(state.of_process),
        }, 0

    def _compare(self, state: ThermostatState) -> None:
        """Note a thermostat that has stopped, lost a sensor, or leaves where it had settled."""
        if state.of_process:
            self._processed = True
        elif self._processed:
            self._note(
                "its process sensor tells nothing any more: where of_process is 0 the temperature "
                "is the bath's; is it plugged in?"
            )
        if state.controlling:
            self._controlled = True
        elif self._controlled:
            self._controlled = False  # once, and again if it had controlled again
            try:
                # Nobody knows why; leaving the bench must not start it again.
                self.driver.stop()
            except InstrumentError as error:
                _log.warning("%s: it was asked to stay stopped: %s", self.name, error)
            self._note(
                f"it has stopped controlling by itself, at {state.temperature_k:.2f} K on its "
                f"setpoint of {state.setpoint_k:g} K"
            )
        away_k = abs(state.temperature_k - state.setpoint_k)
        if state.setpoint_k != self._setpoint_k:
            self._setpoint_k, self._settled_there = state.setpoint_k, False
        if away_k <= _SETTLED_K:
            self._settled_there = True
        elif self._settled_there and away_k > _AWAY_K:
            self._settled_there = False
            self._note(
                f"the bath had settled at {state.setpoint_k:g} K and left it, for "
                f"{state.temperature_k:.2f} K"
            )

    def _retreat(self) -> str:
        """Let a bath that is beyond the cell go no further; return what was done."""
        # A run that fails leaves its bath as it is, for the next: this one would cook the cell.
        try:
            if not self.driver.state().controlling:
                return "It does not control: see to it"
            safe_k = self.driver.safe_temperature_k
            if safe_k is None:
                self.driver.stop()
                return "It was stopped"
            safe_k = self.driver.go_to(safe_k)
        except InstrumentError as error:
            return f"It could not be stopped ({error}): switch it off"
        return f"It now goes to {safe_k:g} K, its safe temperature"

    def leave_alone(self) -> str:
        """Go to the safe temperature if it controls, whoever moved it; tell what was done.

        For a bath that a program which has died may have moved. One that is switched off stays so:
        nobody knows whether there is still a liquid in it. Raises what the driver raises.
        """
        return leave_alone(self.driver)

    def _beyond_cell(self, temperature_k: float, margin_k: float) -> bool:
        low, high = self._cell_k
        too_low = low is not None and temperature_k < low - margin_k
        return too_low or (high is not None and temperature_k > high + margin_k)

    def _cell_told(self) -> str:
        low, high = self._cell_k
        if low is None:
            return f"at most {high:g} K"
        return f"at least {low:g} K" if high is None else f"{low:g} K to {high:g} K"
