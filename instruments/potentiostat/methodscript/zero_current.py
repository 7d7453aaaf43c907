"""Measure what an instrument reads for the current while the cell is open and none flows."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from instruments.errors import ProtocolError
from instruments.potentiostat.contract import Capabilities, SetCurrent, ZeroCurrent
from instruments.potentiostat.methodscript.packages import OVERLOAD, by_type, parse_package
from instruments.potentiostat.methodscript.program import Program
from instruments.potentiostat.methodscript.script import literal, package_of

# Each over five periods of 50 Hz mains, six of 60 Hz.
READINGS, READING_S = 10, 0.1
_FEWEST_READINGS = 5
# A converter of 16 bits over 2.92 times the range each way has steps of 9e-5 of it; where noise
# does not blur them, a mean is known to a step over the root of 12.
_RESOLUTION_OF_RANGE = 2.6e-5


def currents_and_ranges(program: Program, able: Capabilities) -> tuple[SetCurrent, ...]:
    """Return each current that a program sets, with its range, ascending.

    Where the potential is set the range follows the current, and rows do not tell which it was:
    a zero could not be taken off there.
    """
    set_a = {abs(one.current_a) for one in program.blocks if one.kind == "galvanostatic"}
    return tuple(SetCurrent(one, able.current_range_a(one)) for one in sorted(set_a))


def zero_script(ranges_a: Sequence[float], mains_frequency_hz: int) -> str:
    """Return the script that reads the current in each range, the cell open all the time."""
    lines = [
        "var c",
        "var n",
        "var k",
        "set_pgstat_chan 0",
        f"set_acquisition_frac_autoadjust {mains_frequency_hz}",
        "cell_off",
        "set_pgstat_mode 3",
        f"set_max_bandwidth {literal(1 / READING_S)}",
    ]
    for number, range_a in enumerate(ranges_a):
        chosen = literal(range_a)
        lines += [
            f"set_range ba {chosen}",
            f"set_autoranging ba {chosen} {chosen}",
            f"store_var k {number}i ja",
            "store_var n 0i ja",
            f"loop n < {READINGS}i",
            "add_var n 1i",
            f"meas {literal(READING_S)} c ba",
            *package_of(("k", "c")),
            "endloop",
        ]
    return "\n".join([*lines, "on_finished:", "cell_off"])


def zeros_of(lines: Iterable[str], ranges_a: Sequence[float]) -> tuple[ZeroCurrent, ...]:
    """Return the mean of the readings in each range, and the mean's standard uncertainty.

    Raises ProtocolError if a line is damaged, too few readings came, or one is no number.
    """
    readings: list[list[float]] = [[] for _ in ranges_a]
    for line in lines:
        if not line.startswith("P"):
            continue
        found = by_type(parse_package(line))
        if set(found) != {"ja", "ba"} or not 0 <= found["ja"].value < len(ranges_a):
            raise ProtocolError(f"{line!r} is not a reading of the zero current")
        current = found["ba"]
        if current.status & OVERLOAD or not math.isfinite(current.value):
            raise ProtocolError(f"the current is overloaded although the cell is open: {line!r}")
        readings[int(found["ja"].value)].append(float(current.value))
    zeros = []
    for range_a, values in zip(ranges_a, readings, strict=True):
        if len(values) < _FEWEST_READINGS:
            raise ProtocolError(
                f"{len(values)} of {READINGS} readings came in the range {range_a:g} A"
            )
        error_a = max(stdev(values) / math.sqrt(len(values)), _RESOLUTION_OF_RANGE * range_a)
        zeros.append(ZeroCurrent(range_a, fmean(values), error_a))
    return tuple(zeros)
