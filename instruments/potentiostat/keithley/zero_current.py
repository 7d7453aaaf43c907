"""Measure what an instrument reads for the current while its output is off and none flows."""

import math
import re
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from instruments.errors import InstrumentFaultError, ProtocolError
from instruments.potentiostat.contract import ZeroCurrent
from instruments.potentiostat.keithley.script import number

READINGS, READING_NPLC = 10, 1
_FEWEST_READINGS = 5
# Six and a half digits; where noise does not blur them, a mean is known to a step over root 12.
_RESOLUTION_OF_RANGE = 3e-7
_OVERFLOW = 9e36
_READING = re.compile(r"Z,(\d+),([+-]?\d\.\d{7}e[+-]\d{2,3})")


def zero_commands(ranges_a: Sequence[float]) -> list[str]:
    """Return the lines that read the current in each range; the output stays off."""
    lines = [
        "smu.source.output = smu.OFF",
        "smu.source.func = smu.FUNC_DC_VOLTAGE",
        "smu.measure.func = smu.FUNC_DC_CURRENT",
        "smu.source.offmode = smu.OFFMODE_HIGHZ",
        "smu.measure.autozero.enable = smu.ON",
        f"smu.measure.nplc = {READING_NPLC}",
    ]
    for place, range_a in enumerate(ranges_a):
        lines += [
            f"smu.measure.range = {number(range_a)}",
            f"for k = 1, {READINGS} do print(string.format('Z,%d,%.7e', {place}, "
            "smu.measure.read(defbuffer1))) end",
        ]
    return lines


def zeros_of(lines: Iterable[str], ranges_a: Sequence[float]) -> tuple[ZeroCurrent, ...]:
    """Return the mean of the readings in each range, and the mean's standard uncertainty.

    Raises ProtocolError if a line is damaged or too few readings came, InstrumentFaultError if one
    is an overflow: this firmware then does not measure while its output is off.
    """
    readings: list[list[float]] = [[] for _ in ranges_a]
    for line in lines:
        found = _READING.fullmatch(line)
        if found is None or int(found[1]) >= len(ranges_a):
            raise ProtocolError(f"{line!r} is not a reading of the zero current")
        value = float(found[2])
        if abs(value) > _OVERFLOW:
            raise InstrumentFaultError(
                f"it does not measure while its output is off: {line!r}; the offset of its ranges "
                "is then as uncertain as its maker says"
            )
        readings[int(found[1])].append(value)
    zeros = []
    for range_a, values in zip(ranges_a, readings, strict=True):
        if len(values) < _FEWEST_READINGS:
            raise ProtocolError(
                f"{len(values)} of {READINGS} readings came in the range {range_a:g} A"
            )
        error_a = max(stdev(values) / math.sqrt(len(values)), _RESOLUTION_OF_RANGE * range_a)
        zeros.append(ZeroCurrent(range_a, fmean(values), error_a))
    return tuple(zeros)
