"""Ask an instrument whether it sets currents beyond the nominal values of their ranges."""

from collections.abc import Sequence

from instruments.potentiostat.contract import SetCurrent
from instruments.potentiostat.methodscript.script import literal

_BANDWIDTH_HZ = 40.0


def beyond_nominal(runs_on: Sequence[SetCurrent]) -> tuple[SetCurrent, ...]:
    """Return the largest current of each range that is beyond its nominal value, ascending."""
    largest = {one.range_a: one for one in sorted(runs_on)}
    return tuple(one for one in largest.values() if one.current_a > one.range_a * (1 + 1e-9))


def reach_script(beyond: Sequence[SetCurrent]) -> str:
    """Return the script that sets each of the currents while the cell is open.

    An instrument that refuses one says so here, before a program has done anything with the cell.
    """
    lines = ["set_pgstat_chan 0", "cell_off", "set_pgstat_mode 6"]
    lines.append(f"set_max_bandwidth {literal(_BANDWIDTH_HZ)}")
    for current_a, range_a in beyond:
        chosen = literal(range_a)
        lines += [
            f"set_range db {chosen}",
            f"set_autoranging db {chosen} {chosen}",
            f"set_i {literal(current_a)}",
            "set_i 0",
        ]
    return "\n".join([*lines, "on_finished:", "cell_off"])


def in_words(beyond: Sequence[SetCurrent]) -> str:
    """Return the currents in words."""
    return " and ".join(
        f"{current_a * 1e3:.6g} mA on the range of {range_a * 1e3:g} mA "
        f"({current_a / range_a:.3g} times its nominal value)"
        for current_a, range_a in beyond
    )
