"""What a look at a cell has shown, in numbers."""

import math
from typing import TYPE_CHECKING

import numpy as np

from instruments.potentiostat.contract import REST
from techniques._base import Data

if TYPE_CHECKING:
    from operando.runs import Run

_OVERLOAD = 2


class Look(Data):
    """Open circuit and impedance of a cell; ``None``: it was not measured.

    Attributes:
        run_uid: The run of it; ``None``: none was begun.
        exit_status: That of the run; ``refused``: none was begun.
        reason: Why it ended, or was refused.
        ocv_v: Median of the second half of the open circuit, E_WE - E_CE or against the reference,
            V.
        cell_ocv_v: E_WE - E_CE, V, where there is a reference.
        ocv_spread_v: Largest minus smallest potential of that half, V.
        overloaded: Share of the rows of which the instrument tells no value.
        series_ohm: High-frequency intercept of the spectrum, ohm.
        lowest_ohm: Magnitude at the lowest frequency, ohm.
        lowest_hz: That frequency, Hz.
        no_spectrum: Why there is none.
        potentiostat: Which one looked, by model and serial number; empty: it is not known.
    """

    run_uid: str | None = None
    exit_status: str
    reason: str = ""
    ocv_v: float | None = None
    cell_ocv_v: float | None = None
    ocv_spread_v: float | None = None
    overloaded: float = 0.0
    series_ohm: float | None = None
    lowest_ohm: float | None = None
    lowest_hz: float | None = None
    no_spectrum: str = ""
    potentiostat: str = ""


def look_of(run: "Run", no_spectrum: str = "") -> Look:
    """Return what a run of ``look_at_cell`` has shown."""
    from operando.resume import spectrum_of
    from operando.resume._program import all_rows

    stop = run.stop or {}
    told = Look(
        run_uid=run.uid,
        exit_status=stop.get("exit_status", "fail"),
        reason=stop.get("reason", ""),
        no_spectrum=no_spectrum,
    )
    rows = all_rows(run)
    potential = np.asarray(rows.samples["potential"], dtype=float)
    rest = np.asarray(rows.samples["role"]) == REST
    over = (np.asarray(rows.samples["flags"]).astype(int) & _OVERLOAD) != 0
    usable = rest & np.isfinite(potential) & ~over
    changes: dict[str, float | None] = {}
    if rest.any():
        # The first row may be of a range that was searched.
        changes["overloaded"] = float(np.mean(over[rest][1:])) if rest.sum() > 1 else 0.0
    if usable.any():
        late = potential[usable][usable.sum() // 2 :]
        changes["ocv_v"] = float(np.median(late))
        changes["ocv_spread_v"] = float(np.ptp(late))
        columns = run.streams["potentiostat"].columns
        if "potentiostat_potential_cell" in columns:
            cell_v = np.asarray(columns["potentiostat_potential_cell"], dtype=float)
            if len(cell_v) == len(usable) and np.isfinite(cell_v[usable]).any():
                changes["cell_ocv_v"] = float(np.nanmedian(cell_v[usable]))
    spectrum = spectrum_of(run)
    if spectrum is not None and len(spectrum.frequency_hz):
        changes["series_ohm"] = spectrum.series_ohm
        changes["lowest_hz"] = float(spectrum.frequency_hz[-1])
        changes["lowest_ohm"] = float(abs(spectrum.impedance_ohm[-1]))
    kept = {key: x for key, x in changes.items() if x is not None and math.isfinite(x)}
    return told.model_copy(update=kept)
