"""How a row takes its number from the metrics of runs."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Number = float | None


@dataclass(frozen=True)
class Measured:
    """A number as a row compares it.

    Attributes:
        value: The number; None if it could not be defined.
        uncertainty: Standard uncertainty (k = 1); None if not evaluated.
        reason: Why there is no value.
    """

    value: Number
    uncertainty: Number = None
    reason: str | None = None


@dataclass(frozen=True)
class Numbers:
    """A metric as it was stored: a number, or a list with None where an element is undefined."""

    value: float | list[Number] | None
    uncertainty: float | list[Number] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of one experiment with one seed.

    Attributes:
        experiment: Its name.
        seed: Of the simulated bench.
        uid: Of the run; empty if none began.
        exit_status: As the stop document says.
        wall_s: How long it took, run and analysis, s.
        rows: Rows of the leader.
        numbers: Metrics and observations by name.
        not_yet: What is missing for it to run at all; None: nothing.
        refused: Why its instrument does not do it, in its own words; None: it does.
        failed: Why it did not end as planned; None: it did.
    """

    experiment: str
    seed: int = 0
    uid: str = ""
    exit_status: str = ""
    wall_s: float = 0.0
    rows: int = 0
    numbers: Mapping[str, Numbers] = field(default_factory=dict)
    not_yet: str | None = None
    failed: str | None = None
    refused: str | None = None


class NotYetError(Exception):
    """A part of the project that a row needs is not there."""


class RefusedError(NotYetError):
    """The instrument does not do what a row needs."""


Outcomes = Mapping[tuple[str, int], Outcome]


def _must_be_there(outcome: Outcome) -> None:
    if outcome.refused is not None:
        raise RefusedError(outcome.refused)
    if outcome.not_yet is not None:
        raise NotYetError(outcome.not_yet)


# Observations of how a run ended.
OF_FAILED_RUNS = frozenset({"completed", "refused"})


@dataclass(frozen=True)
class Value:
    """One number of one experiment.

    Attributes:
        experiment: Its name.
        metric: Name in the registry, or of an observation of the experiment.
        how: ``value``: the number itself, or with ``first`` that element; ``mean``, ``sd`` (n - 1),
            ``last``: over the elements from ``first`` to ``last``.
        first: Element, counted from 0.
        last: Element, the last of them; None: to the end.
        scale: Factor to the row's unit.
    """

    experiment: str
    metric: str
    how: Literal["value", "mean", "sd", "last"] = "value"
    first: int | None = None
    last: int | None = None
    scale: float = 1.0

    def experiments(self) -> Iterator[str]:
        """Yield the names of the experiments it needs."""
        yield self.experiment

    def of(self, outcomes: Outcomes, seed: int = 0) -> Measured:
        """Return the number; raises NotYetError if a part of the project is not there."""
        outcome = outcomes[self.experiment, seed]
        _must_be_there(outcome)
        numbers = outcome.numbers.get(self.metric)
        # What a run left that did not come to its end is no number of its experiment.
        if outcome.failed is not None and self.metric not in OF_FAILED_RUNS:
            return Measured(None, reason=outcome.failed)
        if numbers is None:
            raise NotYetError(f"the analysis has no metric {self.metric}")
        if numbers.value is None:
            return Measured(None, reason=numbers.reason or outcome.failed)
        return self._taken(numbers)

    def _taken(self, numbers: Numbers) -> Measured:
        assert numbers.value is not None
        if not isinstance(numbers.value, list):
            uncertainty = numbers.uncertainty
            told = None if isinstance(uncertainty, list) else uncertainty
            return replace(self._scaled(numbers.value, told), reason=numbers.reason)
        values, uncertainties = numbers.value, numbers.uncertainty
        each = uncertainties if isinstance(uncertainties, list) else [None] * len(values)
        if self.how == "value":
            index = 0 if self.first is None else self.first
            if index >= len(values):
                return Measured(
                    None, reason=f"{self.metric} has {len(values)} elements, not {index + 1}"
                )
            if values[index] is None:
                return Measured(None, reason=numbers.reason)
            return self._scaled(values[index], each[index])
        begin = self.first or 0
        end = len(values) if self.last is None else self.last + 1
        if self.last is not None and end > len(values):
            return Measured(None, reason=f"{self.metric} has {len(values)} elements, not {end}")
        present = [
            (value, u)
            for value, u in zip(values[begin:end], each[begin:end], strict=True)
            if value is not None
        ]
        if len(present) < (2 if self.how == "sd" else 1):
            return Measured(None, reason=numbers.reason or f"{self.metric} has too few elements")
        chosen = [value for value, _ in present]
        if self.how == "last":
            return self._scaled(*present[-1])
        if self.how == "sd":
            return self._scaled(statistics.stdev(chosen), None)
        # A gain or an offset is the same in all of them: uncertainties do not average out.
        told_u = [u for _, u in present if u is not None]
        mean_u = statistics.fmean(told_u) if len(told_u) == len(present) else None
        return self._scaled(statistics.fmean(chosen), mean_u)

    def _scaled(self, value: Number, uncertainty: Number) -> Measured:
        assert value is not None
        return Measured(
            value * self.scale, None if uncertainty is None else uncertainty * abs(self.scale)
        )


@dataclass(frozen=True)
class Combined:
    """Two numbers made one.

    Attributes:
        how: ``difference`` (first minus second), ``ratio`` (first by second), or
            ``relative_change_pct`` (of the first against the second, %).
        first: A measure.
        second: Another one.
        scale: Factor to the row's unit.
    """

    how: Literal["difference", "ratio", "relative_change_pct"]
    first: "Measure"
    second: "Measure"
    scale: float = 1.0

    def experiments(self) -> Iterator[str]:
        """Yield the names of the experiments it needs."""
        yield from self.first.experiments()
        yield from self.second.experiments()

    def of(self, outcomes: Outcomes, seed: int = 0) -> Measured:
        """Return the number; raises NotYetError if a part of the project is not there."""
        one, other = self.first.of(outcomes, seed), self.second.of(outcomes, seed)
        for part in (one, other):
            if part.value is None:
                return part
        assert one.value is not None
        assert other.value is not None
        u_one, u_other = one.uncertainty or 0.0, other.uncertainty or 0.0
        evaluated = one.uncertainty is not None and other.uncertainty is not None
        if self.how == "difference":
            value, u = one.value - other.value, math.hypot(u_one, u_other)
        else:
            if other.value == 0:
                return Measured(None, reason="the number to divide by is 0")
            value = one.value / other.value
            u = abs(value) * math.hypot(
                u_one / one.value if one.value else 0.0, u_other / other.value
            )
            if self.how == "relative_change_pct":
                value, u = 100 * (value - 1), 100 * u
        return Measured(value * self.scale, u * abs(self.scale) if evaluated else None)


@dataclass(frozen=True)
class Coverage:
    """The share of seeds whose number lies within twice its standard uncertainty of the truth.

    Attributes:
        experiment: Its name.
        truth: Name of what `operando.acceptance.identities` made of each run: 1 within, 0 beyond,
            a list if it was measured several times, each of which counts. A seed without it
            counts as beyond, as often as others have it.
        seeds: How many seeds.
        off: Name of what it made of the differences and their uncertainties; '': not told.
        unit: Of these.
    """

    experiment: str
    truth: str
    seeds: int = 100
    off: str = ""
    unit: str = ""

    def experiments(self) -> Iterator[str]:
        """Yield the names of the experiments it needs."""
        yield self.experiment

    def of(self, outcomes: Outcomes, seed: int = 0) -> Measured:
        """Return the share, with Clopper and Pearson's 95 % interval as its reason.

        The reason also tells the medians of the differences and of twice the uncertainties.
        """
        del seed
        from scipy.stats import binomtest

        within = beyond = often = 0
        undefined: list[str] = []
        for number in range(self.seeds):
            outcome = outcomes[self.experiment, number]
            _must_be_there(outcome)
            numbers = outcome.numbers.get(self.truth)
            if numbers is None or numbers.value is None:
                told = outcome.failed if numbers is None else numbers.reason
                undefined.append(told or "undefined")
                continue
            each = numbers.value if isinstance(numbers.value, list) else [numbers.value]
            within += sum(one == 1.0 for one in each)
            beyond += sum(one == 0.0 for one in each)
            often = max(often, sum(one is not None for one in each))
        if not within + beyond:
            return Measured(None, reason=undefined[0] if undefined else "nothing was measured")
        tried = within + beyond + often * len(undefined)
        interval = binomtest(within, tried).proportion_ci(0.95)
        reason = f"{within} of {tried}, 95 % interval {interval.low:.3f}-{interval.high:.3f}"
        reason += self._medians(outcomes)
        if undefined:
            reason += f"; {len(undefined)} seeds undefined, counted as beyond: {undefined[0]}"
        return Measured(within / tried, reason=reason)

    def _medians(self, outcomes: Outcomes) -> str:
        off: list[float] = []
        twice_u: list[float] = []
        for number in range(self.seeds):
            numbers = outcomes[self.experiment, number].numbers.get(self.off)
            if numbers is None or not isinstance(numbers.value, list):
                continue
            assert isinstance(numbers.uncertainty, list)
            for value, u in zip(numbers.value, numbers.uncertainty, strict=True):
                if value is not None and u is not None:
                    off.append(abs(value))
                    twice_u.append(2 * u)
        if not off:
            return ""
        medians = (statistics.median(off), statistics.median(twice_u))
        return f"; off by {medians[0]:.2g} {self.unit}, 2 u {medians[1]:.2g} {self.unit} (medians)"


@dataclass(frozen=True)
class Total:
    """The sum of a number over seeds.

    Attributes:
        experiment: Its name.
        metric: As of `Value`.
        seeds: How many seeds.
        hours: How long each was tested, h: how often it happens in 1000 h is told as the reason.
    """

    experiment: str
    metric: str
    seeds: int
    hours: float

    def experiments(self) -> Iterator[str]:
        """Yield the names of the experiments it needs."""
        yield self.experiment

    def of(self, outcomes: Outcomes, seed: int = 0) -> Measured:
        """Return the sum, with the 95 % interval (Poisson) of the rate in 1000 h as its reason."""
        del seed
        from scipy.stats import chi2

        each = [
            Value(self.experiment, self.metric).of(outcomes, number) for number in range(self.seeds)
        ]
        for number, one in enumerate(each):
            if one.value is None:
                return Measured(None, reason=f"seed {number}: {one.reason}")
        count = math.fsum(one.value for one in each if one.value is not None)
        thousands = self.seeds * self.hours / 1000
        low = chi2.ppf(0.025, 2 * count) / 2 / thousands if count else 0.0
        high = chi2.ppf(0.975, 2 * (count + 1)) / 2 / thousands
        reason = (
            f"{count:g} in {1000 * thousands:g} h of {self.seeds} cells, "
            f"95 % interval {low:.2f}-{high:.2f} in 1000 h"
        )
        return Measured(count, reason=reason)


Measure = Value | Combined | Coverage | Total


def median_life(lives: Sequence[Measured]) -> Measured:
    """Return the median of numbers from several seeds; None if one is undefined."""
    values = [one.value for one in lives]
    missing = [one.reason for one in lives if one.value is None]
    if missing or not values:
        return Measured(None, reason=missing[0] if missing else "nothing was measured")
    present = sorted(value for value in values if value is not None)
    return Measured(statistics.median(present))
