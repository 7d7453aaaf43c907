"""What each line of a running program is judged by, besides what the instrument says of it."""

from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    ReferenceElectrodeError,
)
from instruments.potentiostat.contract import ImpedancePoint, Sample
from instruments.potentiostat.methodscript.reference import refused_by_rows
from instruments.potentiostat.methodscript.run import Run
from instruments.potentiostat.methodscript.stream import ProgramStream

# More lines damaged or lost among the last _DAMAGE_WINDOW: the wire is bad, the program is ended.
_DAMAGE_ALLOWED = 3
_DAMAGE_WINDOW = 1000
_SETPOINT_TOLERANCE = 0.05


def bad_line(run: Run, who: str) -> InstrumentError | None:
    """Return why the program must be ended for the sake of the record, if it must."""
    while run.damage and run.damage[0] <= run.lines - _DAMAGE_WINDOW:
        run.damage.popleft()
    stream = run.stream
    if stream.incomplete is not None:
        return ProtocolError(
            f"{who}: rows are missing: {stream.incomplete}. {damage_of(stream)}. "
            "The program was ended and the cell opened; check the cable"
        )
    if len(run.damage) > _DAMAGE_ALLOWED:
        return ProtocolError(
            f"{who}: more than {_DAMAGE_ALLOWED} lines damaged or lost among "
            f"{_DAMAGE_WINDOW}. {damage_of(stream)}. The program was ended and the cell "
            "opened; check the cable"
        )
    return None


def wrong_setpoint(run: Run, row: Sample | ImpedancePoint, who: str) -> InstrumentError | None:
    """Check the first current of each galvanostatic step against what was asked."""
    block = run.stream.block
    if not isinstance(row, Sample) or block is None or row.step in run.checked:
        return None
    run.checked = {row.step}
    if block.kind != "galvanostatic" or abs(row.current_a - block.current_a) <= (
        _SETPOINT_TOLERANCE * abs(block.current_a)
    ):
        return None
    return InstrumentFaultError(
        f"{who}: step {row.step} asked for {block.current_a * 1e3:.6g} mA, the "
        f"instrument measures {row.current_a * 1e3:.6g} mA at {row.potential_v:.6g} V (status "
        f"bits {row.flags}); the program was ended and the cell opened: check cell and cables"
    )


def no_reference(run: Run, row: Sample | ImpedancePoint, who: str) -> InstrumentError | None:
    """Return why the program must be ended for its reference electrode, if it must."""
    told = refused_by_rows(run, row)
    return None if told is None else ReferenceElectrodeError(f"{who}: {told}")


def damage_of(stream: ProgramStream) -> str:
    """Return how many lines and rows were damaged or lost, and some of them."""
    shown = ", ".join(repr(line) for line in stream.damaged[-3:])
    told = f"{len(stream.damaged)} damaged lines, {stream.dropped} rows lost"
    return told + (f"; the last damaged: {shown}" if shown else "")
