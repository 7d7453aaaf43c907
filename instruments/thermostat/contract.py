"""What every thermostat offers, whatever its wire language."""

from typing import NamedTuple, Protocol

from instruments.errors import SafetyLimitError

# Liquids of a bath in which no sodium may stand.
AQUEOUS_BATHS = frozenset({"water", "water-glycol"})
# Of any bath or sensor: what is told beyond is a damaged digit and no temperature.
COLDEST_K, HOTTEST_K = 73.15, 773.15


class TemperatureLimitError(SafetyLimitError):
    """A temperature is asked for, or there, that instrument, bench or cell forbid."""


class ThermostatState(NamedTuple):
    """What a thermostat does at one moment.

    Attributes:
        temperature_k: of the process where a sensor is there, else of the bath, K.
        setpoint_k: where it goes to, K.
        controlling: whether it is going there; else the setpoint is only remembered.
        of_process: whether the temperature is the process sensor's; else it is the bath's.
    """

    temperature_k: float
    setpoint_k: float
    controlling: bool
    of_process: bool = False


class Thermostat(Protocol):
    """A driver; callable from any thread, one exchange at a time.

    Every failure is an InstrumentError. Temperatures are in K; what is in force is read back, never
    assumed.
    """

    @property
    def verified_on(self) -> str | None:
        """Return when and with which firmware this driver was confirmed on hardware, or None."""
        ...

    # Where it goes when it is left alone, K; ``None``: it stops controlling.
    safe_temperature_k: float | None

    def connect(self) -> None:
        """Open the port and check who is there; changes nothing."""
        ...

    def close(self) -> None:
        """Go to the safe state and release the port; safe to call twice."""
        ...

    def identify(self) -> dict[str, str]:
        """Return ``model``, ``address`` and what else the instrument tells of itself."""
        ...

    def setpoint_range_k(self) -> tuple[float, float]:
        """Return the lowest and the highest setpoint the instrument takes, K."""
        ...

    def state(self) -> ThermostatState:
        """Return what it does now; raises InstrumentFaultError if it reports an error."""
        ...

    def go_to(self, temperature_k: float) -> float:
        """Set the setpoint, control, and return the setpoint in force, K.

        Returns when the instrument has confirmed both, long before the temperature is there. Raises
        TemperatureLimitError, and sends nothing, if the instrument's own range forbids it, and
        InstrumentFaultError if something else is in force afterwards.
        """
        ...

    def confirm_setpoint(self) -> float:
        """Write the setpoint that it has once more; return what is then read back, K.

        Neither starts nor stops it. Raises InstrumentFaultError if another value is in force
        afterwards, or it does not take one from here.
        """
        ...

    def stop(self) -> None:
        """Stop controlling; returns when that is confirmed."""
        ...

    def safe_state(self) -> None:
        """Leave it as the bench file says it can be left alone.

        A no-op if nothing was moved, or it was stopped since.
        """
        ...


def leave_alone(driver: Thermostat) -> str:
    """Go to the safe temperature if it controls, whoever moved it; tell what was done.

    For a bath that a program which has died may have moved. One that is switched off stays so:
    nobody knows whether there is still a liquid in it. Raises what the driver raises.
    """
    state = driver.state()
    if not state.controlling:
        return f"does not control, is at {state.temperature_k:.2f} K"
    safe_k = driver.safe_temperature_k
    if safe_k is not None:
        return f"goes to {driver.go_to(safe_k):g} K, its safe temperature"
    return f"goes on at {state.setpoint_k:g} K: the bench file tells no safe_temperature_k for it"
