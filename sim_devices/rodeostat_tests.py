"""The tests of a Rodeostat: which it knows, what each is told, and the potential that each sets.

Written from the firmware's published source (FW0.1.0). Of the eight that it names, six are
simulated: not the square wave and the differential pulse, whose samples are differences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

NAMES = (
    "cyclic",
    "sinusoid",
    "constant",
    "squareWave",
    "linearSweep",
    "chronoamp",
    "multiStep",
    "differentialPulse",
)
Parameters = dict[str, Any]
_FLOAT, _WHOLE = "a float", "uint32"
_QUIET: dict[str, tuple[str, float]] = {"quietValue": (_FLOAT, 0.0), "quietTime": (_WHOLE, 1000)}
_PERIODIC: dict[str, tuple[str, float]] = {
    "amplitude": (_FLOAT, 0.5),
    "offset": (_FLOAT, 0.0),
    "period": (_WHOLE, 4000),
    "numCycles": (_WHOLE, 10),
    "shift": (_FLOAT, 0.0),
}
# What each simulated test is told besides, in the order in which it answers.
_PARAMETERS: dict[str, dict[str, tuple[str, float]]] = {
    "constant": {"value": (_FLOAT, 0.5), "duration": (_WHOLE, 4000)},
    "linearSweep": {
        "startValue": (_FLOAT, -0.5),
        "finalValue": (_FLOAT, 0.5),
        "duration": (_WHOLE, 2000),
    },
    "cyclic": _PERIODIC,
    "sinusoid": _PERIODIC,
    "chronoamp": {},
    "multiStep": {},
}
# Those that have steps of [ms, V]: how many at first, and at most.
_STEPS = {"chronoamp": (2, 2), "multiStep": (5, 50)}


def defaults() -> dict[str, Parameters]:
    """Return what each simulated test is told when nobody has told it anything."""
    found: dict[str, Parameters] = {
        name: {key: value for key, (_, value) in (_QUIET | own).items()}
        for name, own in _PARAMETERS.items()
    }
    for name, (number, _) in _STEPS.items():
        found[name]["step"] = [[1000, 0.5 if i % 2 == 0 else -0.5] for i in range(number)]
    return found


def set_parameters(
    name: str, kept: Parameters, asked: dict[str, Any], told: dict[str, Any], *, deaf: bool
) -> str:
    """Keep what was asked and tell what is in force; return what was wrong with it.

    Args:
        name: of the test.
        kept: its parameters, changed unless ``deaf``.
        asked: what somebody wants.
        told: gets what is in force of that.
        deaf: keep what was kept.
    """
    wrong = []
    for key, (kind, _) in (_QUIET | _PARAMETERS[name]).items():
        if key not in asked:
            continue
        value = asked[key]
        if not (is_whole(value) if kind == _WHOLE else is_number(value)):
            wrong.append(f"{key} not {kind}")
            continue
        if not deaf:
            kept[key] = value if kind == _WHOLE else float(value)
        told[key] = kept[key]
    if name in _STEPS:
        mistake = _wrong_steps(asked, _STEPS[name][1])
        if mistake:
            wrong.append(mistake)
        else:
            if not deaf:
                kept["step"] = [[ms, float(volt)] for ms, volt in asked["step"]]
            told["step"] = kept["step"]
    return ", ".join(wrong)


def _wrong_steps(asked: dict[str, Any], most: int) -> str:
    if "step" not in asked:
        return "step key not found"
    if not isinstance(asked["step"], list):
        return "step not a JsonArray"
    if len(asked["step"]) > most:
        return "step array too large"
    for step in asked["step"]:
        if not isinstance(step, list):
            return "step item not JsonArary"  # so it is spelt
        if len(step) != 2:
            return "step item size!=2"
        if not is_whole(step[0]):
            return "step item[0] not uint32"
        if not is_number(step[1]):
            return "step item[1] not float"
    return ""


@dataclass
class Test:
    """A test that runs: its name, its parameters, and cell time when it began."""

    name: str
    parameters: Parameters
    period_ms: int
    began_s: float | None = None
    samples: int = 0

    @property
    def done_ms(self) -> float:
        """How long it lasts, ms."""
        p = self.parameters
        if self.name in _STEPS:
            return float(p["quietTime"] + sum(ms for ms, _ in p["step"]))
        if self.name in ("cyclic", "sinusoid"):
            return float(p["quietTime"] + p["numCycles"] * p["period"])
        return float(p["quietTime"] + p["duration"])

    @property
    def span_v(self) -> tuple[float, float]:
        """Lowest and highest potential that it sets, V."""
        p = self.parameters
        if self.name in _STEPS:
            values = [volt for _, volt in p["step"]] or [0.0]
        elif self.name in ("cyclic", "sinusoid"):
            values = [p["offset"] - p["amplitude"], p["offset"] + p["amplitude"]]
        elif self.name == "linearSweep":
            values = [p["startValue"], p["finalValue"], p["quietValue"]]
        else:
            values = [p["value"], p["quietValue"]]
        return min(values), max(values)

    def potential_v(self, t_ms: float) -> float:
        """Return the potential that is set at a time of the test, V."""
        p = self.parameters
        since = t_ms - p["quietTime"]
        if since < 0:
            return float(p["quietValue"])
        if self.name in _STEPS:
            return self._step_v(since)
        if self.name == "constant":
            return float(p["value"])
        if self.name == "linearSweep":
            share = since / p["duration"] if p["duration"] else 1.0
            return float(p["startValue"] + share * (p["finalValue"] - p["startValue"]))
        period = p["period"]
        phase = (since + p["shift"] * period) % period
        if self.name == "sinusoid":
            return float(p["amplitude"] * math.sin(2 * math.pi * phase / period) + p["offset"])
        up = min(phase, period - phase)
        return float(4 * p["amplitude"] * up / period + p["offset"] - p["amplitude"])

    def _step_v(self, since_ms: float) -> float:
        end_ms = 0.0
        for ms, volt in self.parameters["step"]:
            end_ms += ms
            if since_ms <= end_ms:
                return float(volt)
        return 0.0


def is_number(value: object) -> bool:
    """Return whether a value of a message is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: object) -> bool:
    """Return whether it is a whole number that fits into 32 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32
