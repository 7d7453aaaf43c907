"""Why a worker began nothing: for what was asked, or for how the bench is."""

from operando.queueing.errors import QueueError


class AskedError(QueueError):
    """An item is not as it may be, whatever the bench is like."""


def of_what_was_asked(error: BaseException | None) -> bool:
    """Return whether an item was refused for what it asks, and would be at any bench of its kind.

    Whatever else refuses it refuses the next item as well: somebody has to look at the bench.
    """
    from instruments.errors import (
        ReferenceElectrodeError,
        SafetyLimitError,
        UnsupportedTechniqueError,
    )
    from operando.checking import CheckFailedError

    if isinstance(error, CheckFailedError):
        return all(one.name == "protocol" for one in error.report.failed)
    if isinstance(error, ReferenceElectrodeError):
        return False  # it is as the cell is
    return isinstance(error, (AskedError, SafetyLimitError, UnsupportedTechniqueError))
