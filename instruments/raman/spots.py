"""Where on the sample a spectrum is taken: the usual spot, and now and then one that is fresh."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from instruments.errors import InstrumentError, SafetyLimitError
from techniques import FreshSpots

_log = logging.getLogger(__name__)

AXES = ("x", "y", "z")


class Carrier(Protocol):
    """A stage that carries the sample; positions in um."""

    def limits_um(self) -> Mapping[str, tuple[float, float]]:
        """Return the lowest and the highest position of each axis."""
        ...

    def read(self) -> Mapping[str, float]:
        """Return where each axis is; NaN where that is not known."""
        ...

    def move_to(self, target_um: Mapping[str, float]) -> None:
        """Move some axes and return when they are there."""
        ...


class Spots:
    """The spots of one run on a sample that a stage carries.

    Args:
        carrier: the stage.
        fresh: how often a spectrum is taken where no light has been; ``None``: never.
        note: is told what must be said of the run.
    """

    def __init__(
        self, carrier: Carrier, fresh: FreshSpots | None, note: Callable[[str], None]
    ) -> None:
        self._carrier, self._fresh, self._note = carrier, fresh, note
        self._asked = self._taken = 0

    def check(self) -> None:
        """Raise ValueError or SafetyLimitError if no fresh spot could be reached; moves nothing."""
        if self._fresh is None:
            return
        axis = self._fresh.axis
        limits = self._carrier.limits_um()
        if axis not in limits:
            raise ValueError(
                f"fresh spots lie along {axis}, and the stage has {', '.join(limits)} only"
            )
        here = self._carrier.read()[axis]
        if not math.isfinite(here):
            raise ValueError(
                f"fresh spots lie along {axis}, and the stage does not know where that is: home it "
                "(stage.home())"
            )
        low, high = limits[axis]
        first = here + self._fresh.step_um
        if not low <= first <= high:
            raise SafetyLimitError(
                f"the first fresh spot is at {axis} = {first:g} um; {low:g} um to {high:g} um are "
                "allowed: choose another step_um. Nothing has moved"
            )

    def position_um(self) -> dict[str, float]:
        """Return where the stage is, by axis; NaN for what cannot be told."""
        try:
            told = self._carrier.read()
        except InstrumentError as error:
            self._note(f"where a spectrum was taken is not known: {error}")
            told = {}
        return {axis: float(told.get(axis, math.nan)) for axis in AXES}

    @contextmanager
    def next(self, *, counted: bool) -> Iterator[float]:
        """Stand where the next spectrum is due, and give the number of the spot.

        0 is the usual one, where it stands again afterwards; 1, 2 and so on are fresh. NaN: a move
        failed, and the position alone tells where it is. Where the spectrum fails it is not moved
        back.

        Args:
            counted: whether the spectrum is one of those of which every n-th is fresh.
        """
        fresh = self._fresh
        self._asked += counted
        if fresh is None or not counted or self._asked % fresh.every_nth:
            yield 0.0
            return
        here = math.nan
        try:
            here = self._carrier.read()[fresh.axis]
            there = here + (self._taken + 1) * fresh.step_um
            low, high = self._carrier.limits_um()[fresh.axis]
            if not low <= there <= high:  # also if it is not known where it is
                self._note(
                    f"no fresh spot is left: {fresh.axis} = {there:g} um lies outside {low:g} um "
                    f"to {high:g} um; the spectrum is of the usual one"
                )
                yield 0.0
                return
            self._carrier.move_to({fresh.axis: there})
            self._taken += 1
            spot = float(self._taken)
        except InstrumentError as error:
            self._note(f"a fresh spot was not reached: {error}")
            spot = math.nan
        try:
            yield spot
        except BaseException:
            # It may have failed because all was made safe: nothing moves then.
            self._note(f"the stage was left at the fresh spot; it stood at {here:g} um before")
            raise
        try:
            if math.isfinite(here):
                self._carrier.move_to({fresh.axis: here})
        except InstrumentError as error:
            self._note(f"the usual spot was not reached again: {error}")
