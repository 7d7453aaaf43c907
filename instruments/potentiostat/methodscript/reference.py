"""Whether a reference electrode is there, by the rows of the open circuit before a program."""

import math

from instruments.potentiostat.contract import Sample
from instruments.potentiostat.methodscript.packages import OVERLOAD
from instruments.potentiostat.methodscript.run import Run
from instruments.potentiostat.methodscript.script import REFERENCE_OFFSET, REFERENCE_POTENTIAL
from techniques import ReferenceBound

# One reading may be out of range because the range was still too small.
_UNREADABLE_ROWS = 3
_DO = (
    "Nothing was driven, the cell is open: see that its lead is connected, that it is wetted and "
    "free of gas, and that it is what the cell file names (reference_electrode, "
    "metal_vs_reference_v)"
)


def refused_by_instrument(run: Run) -> str | None:
    """Return what is wrong with the reference if the program itself has refused it."""
    bound, safety = run.program.reference_bound, run.stream.safety
    if safety is None or bound is None:
        return None
    if safety.partition(" ")[0] not in (REFERENCE_OFFSET, REFERENCE_POTENTIAL):
        return None
    return _told(bound, run.newest)


def refused_by_rows(run: Run, row: object) -> str | None:
    """Return what is wrong with the reference if several rows in a row cannot be read.

    Only those of an open circuit with which the program begins are looked at: whether a reading is
    out of range its script cannot ask.
    """
    bound, block = run.program.reference_bound, run.stream.block
    if bound is None or not isinstance(row, Sample):
        return None
    if block is not run.program.blocks[0] or block.kind != "open_circuit":
        return None
    run.unreadable_rows = 0 if _readable(row) else run.unreadable_rows + 1
    return _told(bound, row) if run.unreadable_rows >= _UNREADABLE_ROWS else None


def _readable(row: Sample) -> bool:
    finite = math.isfinite(row.potential_v) and math.isfinite(row.cell_potential_v)
    return finite and not row.flags & OVERLOAD


def _told(bound: ReferenceBound, row: Sample | None) -> str:
    what = f"the reference electrode ({bound.name}) is absent, floating, or another one"
    if row is None:
        return f"{what}. {_DO}"
    if bound.electrode is None or not _readable(row):
        return (
            f"{what}: at open circuit the working electrode reads {row.potential_v:.4g} V against "
            f"it, which the instrument cannot measure. {_DO}"
        )
    counter = bound.electrode == "CE"
    own_v = row.potential_v - (row.cell_potential_v if counter else 0.0)
    return (
        f"{what}: at open circuit the {'counter' if counter else 'working'} electrode is at "
        f"{own_v:.4g} V against it, and should be at {bound.expected_v:g} V within "
        f"{bound.within_v:g} V (reference_check.refuse_above_v). {_DO}"
    )
