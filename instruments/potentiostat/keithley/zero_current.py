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
_NUMBER = r"([+-]?\d\.\d{7}e[+-]\d{2,3})"
_READING = re.compile(rf"Z,(\d+),{_NUMBER}")
# The range that is in force, before its readings.
_RANGE = re.compile(rf"ZR,(\d+),{_NUMBER}")
_SAME_RANGE = 0.01


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
            # A limit that is small against a fixed range of the meter is a conflict of settings.
            f"smu.source.ilimit.level = {number(range_a)}",
            f"smu.measure.range = {number(range_a)}",
            f"print(string.format('ZR,%d,%.7e', {place}, smu.measure.range))",
            f"for k = 1, {READINGS} do print(string.format('Z,%d,%.7e', {place}, "
            "smu.measure.read(defbuffer1))) end",
        ]
    return lines


def zeros_of(lines: Iterable[str], ranges_a: Sequence[float]) -> tuple[ZeroCurrent, ...]:
    """Return the mean of the readings in each range, and the mean's standard uncertainty.

    Raises ProtocolError if a line is damaged or too few readings came, InstrumentFaultError if one
    is an overflow (this firmware then does not measure while its output is off) or another range
    was in force than the one that was asked for.
    """
    readings: list[list[float]] = [[] for _ in ranges_a]
    in_force: set[int] = set()
    for line in lines:
        told = _RANGE.fullmatch(line)
        if told is not None and int(told[1]) < len(ranges_a):
            place, range_a = int(told[1]), float(told[2])
            if abs(range_a - ranges_a[place]) > _SAME_RANGE * ranges_a[place]:
                raise InstrumentFaultError(
                    f"asked for the range {ranges_a[place]:g} A, in force is {range_a:g} A: what "
                    "it reads there is the zero of another range"
                )
            in_force.add(place)
            continue
        found = _READING.fullmatch(line)
        if found is None or int(found[1]) >= len(ranges_a):
            raise ProtocolError(f"{line!r} is not a reading of the zero current")
        if int(found[1]) not in in_force:
            raise ProtocolError(f"{line!r} came before its range had been told")
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
