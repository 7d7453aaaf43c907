"""What a look at a cell tells in numbers: the rows that count, and those that do not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.queueing.look import look_of
from operando.runs import Run

REST, OVERLOAD = 0, 2


def rows(potential: Any, flags: Any = 0, **more: Any) -> dict[str, Any]:
    n = len(potential)
    told = dict.fromkeys(("current", "cycle", "half_cycle", "step", "role"), np.zeros(n))
    told |= {"t": np.arange(n) * 0.5, "step_t": np.arange(n) * 0.5}
    return told | {"potential": np.asarray(potential), "flags": np.zeros(n) + flags} | more


def spectrum(series_ohm: float, arc_ohm: float) -> dict[str, Any]:
    f = np.geomspace(1e5, 10.0, 21)
    z = series_ohm + arc_ohm / (1 + 2j * np.pi * f * 1e-3)
    zeros = np.zeros(len(f))
    told = dict.fromkeys(("cycle", "half_cycle", "step", "flags"), zeros)
    return told | {
        "t": np.arange(len(f)) * 0.1,
        "spectrum": zeros + 1,
        "frequency": f,
        "z_real": z.real,
        "z_imag": z.imag,
    }


def test_the_late_half_of_the_rest_and_the_newest_spectrum_count(
    make_run: Callable[..., Any],
) -> None:
    told = make_run()
    told.stream("potentiostat", "potentiostat", rows(np.r_[np.full(10, 0.5), np.full(10, 0.9)]))
    told.stream("impedance", "potentiostat_impedance", spectrum(2.0, 40.0))
    told.stop()
    look = look_of(Run.from_documents(told.documents))
    assert (look.exit_status, look.ocv_v, look.ocv_spread_v) == ("success", 0.9, 0.0)
    assert look.series_ohm == pytest.approx(2.0, abs=0.1)
    assert look.lowest_hz == pytest.approx(10.0)
    assert look.lowest_ohm == pytest.approx(42.0, rel=0.02)


def test_rows_in_overload_tell_no_potential(make_run: Callable[..., Any]) -> None:
    told = make_run()
    flags = np.r_[OVERLOAD, np.zeros(9), np.full(10, OVERLOAD)]
    told.stream(
        "potentiostat", "potentiostat", rows(np.r_[9.0, np.full(9, 0.4), [9.0] * 10], flags)
    )
    told.stop()
    look = look_of(Run.from_documents(told.documents), "it measures none")
    assert look.ocv_v == 0.4
    assert look.overloaded == pytest.approx(10 / 19)  # the first may be of a range that is searched
    assert (look.series_ohm, look.no_spectrum) == (None, "it measures none")


def test_beside_a_reference_the_cell_has_a_potential_of_its_own(
    make_run: Callable[..., Any],
) -> None:
    told = make_run()
    columns = rows(np.full(10, 0.02), potential_cell=np.full(10, 0.95))
    told.stream("potentiostat", "potentiostat", columns)
    told.stop()
    look = look_of(Run.from_documents(told.documents))
    assert (look.ocv_v, look.cell_ocv_v) == (0.02, 0.95)


def test_a_run_without_rows_tells_that_nothing_was_measured(make_run: Callable[..., Any]) -> None:
    look = look_of(Run.from_documents(make_run().documents))
    assert (look.exit_status, look.ocv_v, look.series_ohm) == ("fail", None, None)
