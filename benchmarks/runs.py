"""Runs of any length, made quickly and as documents a plan would emit: what others are timed on.

Arithmetic, not simulation: zinc plated on copper and stripped from it, a row per second, 99.5 % of
the charge coming back each cycle. Their reports are those of a real half cell.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from event_model import compose_run
from numpy.typing import NDArray

from instruments.potentiostat.contract import PLATE, STRIP
from instruments.potentiostat.device import _SAMPLE_UNITS as UNITS
from operando.configuration import load_cell
from operando.journal import JournalWriter
from techniques import GalvanostaticStep, Limit, PlateStripCycle

CELL = "zn-bare-half"
LEADER = "potentiostat"
CURRENT_MA_CM2 = 1.0
EFFICIENCY = 0.995
PLATEAU_V, CUT_OFF_V, LAST_V = 0.03, 0.5, 0.51
BEGAN = 1.7e9  # epoch s
_BLOCK_ROWS = 10_000

Document = dict[str, Any]


def documents_of_a_run(
    rows: int, *, rows_per_cycle: int = 3600, page_rows: int = 100, stop: bool = True
) -> Iterator[tuple[str, Document]]:
    """Yield the documents of one run, one page in memory at a time.

    Args:
        rows: of the stream ``potentiostat``, one each second.
        rows_per_cycle: half of them plate, the other half strip.
        page_rows: rows of one event page.
        stop: whether the run ends.
    """
    cell = load_cell(CELL)
    half = rows_per_cycle // 2
    time = Limit(quantity="time_s", value=float(half))
    stripped = Limit(quantity="potential_above_v", value=CUT_OFF_V)
    technique = PlateStripCycle(
        plate=_step("plate", time),
        strip=_step("strip", stripped, time),
        cycles=max(1, rows // rows_per_cycle),
    )
    run = compose_run(
        time=BEGAN,
        metadata={
            "plan_name": "operando_plating_stripping",
            "protocol": "benchmark",
            "sample": cell.model_dump(mode="json"),
            "technique": technique.model_dump(mode="json"),
        },
    )
    yield "start", run.start_doc
    keys = {
        f"{LEADER}_{name}": {
            "source": "benchmark",
            "dtype": "number",
            "dtype_numpy": "<f8",
            "shape": [],
            "units": unit,
        }
        for name, unit in UNITS.items()
    }
    stream = run.compose_descriptor(
        name=LEADER, data_keys=keys, object_keys={LEADER: list(keys)}, time=BEGAN
    )
    yield "descriptor", stream.descriptor_doc
    current_a = CURRENT_MA_CM2 * 1e-3 * cell.area_cm2
    at_once = max(1, _BLOCK_ROWS // page_rows) * page_rows
    for begin in range(0, rows, at_once):
        block = np.arange(begin, min(begin + at_once, rows))
        columns = {name: values.tolist() for name, values in _columns(block, half, current_a)}
        for first in range(0, len(block), page_rows):
            part = slice(first, first + page_rows)
            numbers = (block[part] + 1).tolist()
            stamps = [BEGAN + number for number in numbers]
            data = {f"{LEADER}_{name}": values[part] for name, values in columns.items()}
            yield (
                "event_page",
                stream.compose_event_page(
                    data=data,
                    timestamps=dict.fromkeys(data, stamps),
                    seq_num=numbers,
                    # The RunEngine stamps a whole page once.
                    time=[stamps[-1]] * len(stamps),
                    validate=False,
                ),
            )
    if stop:
        yield "stop", run.compose_stop(time=BEGAN + rows)


def _step(role: Literal["plate", "strip"], *until: Limit) -> GalvanostaticStep:
    return GalvanostaticStep(role=role, current_density_ma_cm2=CURRENT_MA_CM2, until=until)


def _columns(
    row: NDArray[np.int64], half: int, current_a: float
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield the leader's columns of these rows; each half-cycle has ``half`` of them."""
    number, since = np.divmod(row, half)
    role = np.where(number % 2 == 0, PLATE, STRIP)
    share = (since + 1) / half
    # A strip of fewer coulombs in as many rows: its rows come a little faster.
    pace = np.where(role == STRIP, EFFICIENCY, 1.0)
    before = (number // 2) * (1 + EFFICIENCY) + (number % 2)
    step_t = (since + 1) * pace
    rise = (LAST_V - PLATEAU_V) * share**60
    nucleation = 0.02 * np.exp(-since / 20)
    plating = PLATEAU_V + np.where(number == 0, nucleation, 0.0)
    potential = np.where(role == STRIP, PLATEAU_V + rise, -plating)
    found = {
        "t": before * half + step_t,
        "step_t": step_t,
        "potential": potential,
        "current": role * current_a,
        "cycle": (number // 2 + 1).astype(float),
        "half_cycle": (number + 1).astype(float),
        "step": (number + 1).astype(float),
        "role": role.astype(float),
        "flags": np.zeros(len(row)),
    }
    for name in UNITS:
        yield name, found[name]


def record(folder: Path, rows: int, **options: Any) -> str:
    """Write one such run into its journal below ``folder`` and return its uid."""
    with JournalWriter(folder) as journal:
        told = documents_of_a_run(rows, **options)
        name, start = next(told)
        journal(name, start)
        for name, doc in told:
            journal(name, doc)
    return str(start["uid"])
