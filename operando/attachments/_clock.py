"""How the times that an instrument's files tell become moments of this computer's clock."""

import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from operando.attachments._place import CLOCK_UNCERTAINTY_S

# As it is written behind a time, with a space or in letters.
_ZONE = re.compile(r"\s*(?:([+-]\d\d:?\d\d)|UTC|GMT)$", re.IGNORECASE)
DatedBy = Literal["box", "computer"]


@dataclass(frozen=True)
class FileClock:
    """What was declared of the clock of an instrument that writes files.

    Attributes:
        offset_s: How far it is ahead of this computer's, s.
        uncertainty_s: How well that is known, s.
        time_zone: Name of the zone of times that tell none, as in the tz database; None: that of
            this computer.
        files_dated_by: Whose clock says when a file was written: the instrument's, where its own
            disk is looked into, or this computer's.
        duration_s: How long a measurement takes of which a file tells the beginning or the end
            alone, s; 0: it is not known.
    """

    offset_s: float = 0.0
    uncertainty_s: float = CLOCK_UNCERTAINTY_S
    time_zone: str | None = None
    files_dated_by: DatedBy = "box"
    duration_s: float = 0.0

    def told(self) -> dict[str, Any]:
        """Return it as data, for the record."""
        return asdict(self)

    def of_stamp(self, stamp: str) -> tuple[float, str] | None:
        """Return what moment a file's own time is, epoch s of this computer's clock, and by what.

        None if it is no time in ISO 8601, with a date.
        """
        try:
            moment = datetime.fromisoformat(_ZONE.sub(_zone, stamp.strip()))
        except ValueError:
            return None
        if ":" not in stamp:
            return None  # a day alone is no time
        by = "the file"
        if moment.tzinfo is None:
            twice = self._in_zone(moment, 0).utcoffset() != self._in_zone(moment, 1).utcoffset()
            moment = self._in_zone(moment, 0)
            name = self.time_zone or f"{moment.tzname()}, the zone of this computer"
            by += f", which tells no zone: taken as {name}"
            by += "; there the clock had that hour twice, or not at all" if twice else ""
        return moment.timestamp() - self.offset_s, by

    def of_writing(self, modified_s: float) -> tuple[float, str]:
        """Return when a file was last written, epoch s of this computer's clock, and by what."""
        by = "when the file was last written"
        if self.files_dated_by == "computer":
            return modified_s, f"{by}, by this computer's clock"
        return modified_s - self.offset_s, by

    def _in_zone(self, moment: datetime, fold: int) -> datetime:
        moment = moment.replace(fold=fold)
        if self.time_zone is None:
            return moment.astimezone()
        return moment.replace(tzinfo=ZoneInfo(self.time_zone))


def _zone(found: re.Match[str]) -> str:
    return found[1] or "+00:00"
