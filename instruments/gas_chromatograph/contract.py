"""What a gas chromatograph offers here: a start, a Ready line, and results that come later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol


class Injection(NamedTuple):
    """What came of asking for an injection.

    Attributes:
        ready: whether the instrument was ready; if not, nothing was done.
        confirmed: whether it left its ready state after the start.
        host_before: epoch just before the start, s.
        host_after: epoch when it was confirmed, or given up, s.
    """

    ready: bool
    confirmed: bool
    host_before: float
    host_after: float


@dataclass(frozen=True)
class Chromatogram:
    """One run as its result file tells it.

    Attributes:
        path: the file.
        started: when the run started, epoch s, on the clock of the data system.
        method: name of the method.
        sample_interval_s: time between two values of the trace, s.
        trace: signal of the detector that was asked for, in the detector's unit.
        areas: area by label of the peaks that the data system found, detector unit times s.
        label: the name that the run was given when it was started; empty if it was given none.
    """

    path: Path
    started: float
    method: str
    sample_interval_s: float
    trace: tuple[float, ...]
    areas: Mapping[str, float]
    label: str = ""


class Results(Protocol):
    """Where results appear, in seconds or in days; every failure is an InstrumentError."""

    @property
    def names_runs(self) -> bool:
        """Return whether a result carries the name that its run was given when it was started."""
        ...

    @property
    def detector(self) -> str | None:
        """Return the detector whose trace is taken; None: a result has one only."""
        ...

    @property
    def time_zone(self) -> str | None:
        """Return the zone of times that tell none; None: that of this computer."""
        ...

    def begin(self) -> None:
        """Take what is there now as old."""
        ...

    def end(self) -> None:
        """Release what looking took; safe to call twice."""
        ...

    def new(self) -> Sequence[Chromatogram]:
        """Return the results that became complete since the last look, in order of their start."""
        ...

    def listed(self) -> Mapping[str, int]:
        """Return all results there are, old ones too: name -> size in bytes, 0 if not known."""
        ...

    def content(self, name: str) -> bytes:
        """Return the bytes of one of them, as `parse_chromatogram` takes them."""
        ...


class GasChromatograph(Protocol):
    """A driver: starts runs. Every failure is an InstrumentError."""

    @property
    def verified_on(self) -> str | None:
        """Return when and with which firmware this driver was confirmed on hardware, or None."""
        ...

    def connect(self) -> None:
        """Check that the instrument can be reached; starts nothing."""
        ...

    def close(self) -> None:
        """Leave the start contact open; safe to call twice."""
        ...

    def identify(self) -> dict[str, str]:
        """Return what is known of the instrument."""
        ...

    def ready(self) -> bool:
        """Return whether a start would be obeyed now."""
        ...

    def inject(self, label: str = "") -> Injection:
        """Start a run if the instrument is ready; blocks until it is confirmed or given up.

        Args:
            label: how the run is to be called, where the instrument can keep a name with its
                result.
        """
        ...

    def safe_state(self) -> None:
        """Leave the start contact open."""
        ...
