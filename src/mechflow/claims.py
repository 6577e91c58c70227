"""Published claims beside what was found here: criteria, verdicts and the scoreboard.

A claim states beforehand by which criterion it will be judged. Its verdict follows from the data
alone; where the data cannot decide it, the verdict says so and why.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import pandas as pd

from mechflow.statistics import Interval, clipped, geometric_mean_interval, mean_interval
from mechflow.tabular import cell
from mechflow.verdicts import COLUMNS, Verdict

Data = TypeVar("Data")
"""What claims are judged on: a study's artefacts."""


class NotJudgedError(Exception):
    """The data cannot decide a claim; the message says why."""

    verdict: Verdict


class NotComparableError(NotJudgedError):
    """What was run differs from what the claim is about, or tells too little."""

    verdict = "not comparable"


class NotRunError(NotJudgedError):
    """What the claim is about was not run, or not at the scale that the claim holds for."""

    verdict = "not run at this scale"


@dataclass(frozen=True)
class Evidence:
    """What was measured: one value for each replicate, or a summary that has no such values."""

    interval: Interval
    values: tuple[float, ...] = ()
    note: str = ""
    """What a reader should know of the measurement."""
    on_log_scale: bool = False
    """Whether the values are summarised by their geometric mean, as losses are."""

    @classmethod
    def of(cls, values: Sequence[float], note: str = "") -> "Evidence":
        """Values of replicates, with their mean and Student's t interval."""
        return cls(mean_interval(np.array(values)), tuple(values), note)

    @classmethod
    def of_shares(cls, values: Sequence[float], note: str = "") -> "Evidence":
        """Shares of something, whose interval cannot leave 0 to 1."""
        return cls(clipped(mean_interval(np.array(values)), 0.0, 1.0), tuple(values), note)

    @classmethod
    def of_positive(cls, values: Sequence[float], note: str = "") -> "Evidence":
        """Values that spread over orders of magnitude, with their geometric mean."""
        return cls(
            geometric_mean_interval(np.array(values)), tuple(values), note, on_log_scale=True
        )


class Ruling(NamedTuple):
    """A verdict and its reason."""

    verdict: Verdict
    why: str


@runtime_checkable
class Criterion(Protocol):
    """A rule that turns evidence into a verdict; its text is shown beside the verdict."""

    def __str__(self) -> str: ...

    def rule(self, found: Evidence, published: float) -> Ruling:
        """The verdict on what was found, given the published number if there is one."""


@dataclass(frozen=True)
class EveryReplicate:
    """Each single replicate is beyond a bound."""

    side: Literal["above", "below"]
    bound: float

    def __str__(self) -> str:
        return f"every replicate {self.side} {self.bound:g}"

    def rule(self, found: Evidence, published: float) -> Ruling:
        """Replicated if no replicate is an exception."""
        beyond = [_is_beyond(value, self.side, self.bound) for value in found.values]
        count = f"{sum(beyond)} of {len(beyond)} replicates are {self.side} {self.bound:g}"
        return _ruling(bool(beyond) and all(beyond), count)


@dataclass(frozen=True)
class IntervalBeyond:
    """The whole confidence interval is beyond a bound."""

    side: Literal["above", "below"]
    bound: float

    def __str__(self) -> str:
        return f"95 % interval wholly {self.side} {self.bound:g}"

    def rule(self, found: Evidence, published: float) -> Ruling:
        """Replicated if the interval's nearer end is beyond the bound."""
        _, low, high, n = found.interval
        if math.isnan(low):
            return Ruling(
                "not comparable", f"{n} {'value has' if n == 1 else 'values have'} no interval"
            )
        nearer = low if self.side == "above" else high
        return _ruling(
            _is_beyond(nearer, self.side, self.bound), f"the interval reaches {cell(nearer)}"
        )


@dataclass(frozen=True)
class OneMoreRun:
    """The published run could be one more of our replicates.

    Its number lies in the 95 % prediction interval for a single further run, mean
    +- t s sqrt(1 + 1/n), taken over logarithms where values spread over orders of magnitude. Two
    replicates predict nothing. Neither does an interval that is `widest` times as wide as the
    number, or on a logarithmic scale one whose ends are a factor of `widest` squared apart.
    """

    fewest: int = 3
    widest: float = 10.0

    def __str__(self) -> str:
        return "published number in the 95 % prediction interval for one more run"

    def rule(self, found: Evidence, published: float) -> Ruling:
        """Replicated if the published number lies in the prediction interval."""
        if found.interval.n < self.fewest:
            return Ruling("not comparable", f"fewer than {self.fewest} replicates")
        if math.isnan(found.interval.low):
            return Ruling("not comparable", "the replicates have no interval")
        low, high = _prediction(found)
        why = f"one more run is expected in [{cell(low)}, {cell(high)}]"
        if found.on_log_scale:
            too_wide = high > self.widest**2 * low
        else:
            too_wide = high - low > self.widest * abs(published)
        if too_wide:
            return Ruling("not comparable", f"{why}, which is too wide to test the number")
        return _ruling(low <= published <= high, why)


@dataclass(frozen=True)
class Near:
    """Our value differs from the published one by no more than a tolerance."""

    tolerance: float

    def __str__(self) -> str:
        return f"within {self.tolerance:g} of the published or expected number"

    def rule(self, found: Evidence, published: float) -> Ruling:
        """Replicated if the difference is at most the tolerance."""
        difference = found.interval.centre - published
        return _ruling(abs(difference) <= self.tolerance, f"differs by {cell(difference)}")


@dataclass(frozen=True)
class AllEquivalent:
    """Several quantities all agree; the values are 1 where one does, -1 where not, 0 if unclear."""

    margins: str
    """What counts as agreement, in words."""

    def __str__(self) -> str:
        return f"95 % intervals of all differences within {self.margins}"

    def rule(self, found: Evidence, published: float) -> Ruling:
        """Not replicated if one quantity differs, not comparable if none does but one may."""
        if min(found.values) < 0:
            return Ruling("not replicated", "")
        if min(found.values) == 0:
            return Ruling("not comparable", "some intervals are too wide to tell")
        return Ruling("replicated", "")


@dataclass(frozen=True)
class Claim(Generic[Data]):
    """One published statement, or one published number, and how it is judged."""

    id: str
    statement: str
    """In plain words."""
    source: str
    measure: str
    """What ours is and how it is computed, with its unit."""
    criterion: Criterion
    evidence: Callable[[Data], Evidence]
    """Measures it; raises `NotJudgedError` where that is not possible."""
    published: float = math.nan


def scoreboard(claims: Sequence[Claim[Data]], data: Data) -> pd.DataFrame:
    """Judges every claim: one row each, with the columns of `mechflow.verdicts`."""
    return pd.DataFrame([_row(claim, data) for claim in claims], columns=list(COLUMNS)).astype(
        {"published": float, "ours": float, "low": float, "high": float, "n": "int64"}
    )


def _row(claim: Claim[Data], data: Data) -> tuple[object, ...]:
    try:
        found = claim.evidence(data)
        verdict, why = claim.criterion.rule(found, claim.published)
        interval, why = found.interval, "; ".join(part for part in (why, found.note) if part)
    except NotJudgedError as reason:
        interval, verdict, why = (
            Interval(math.nan, math.nan, math.nan, 0),
            reason.verdict,
            str(reason),
        )
    head = (claim.id, claim.statement, claim.source, claim.measure, str(claim.criterion))
    return (*head, claim.published, *interval, verdict, why)


def _ruling(holds: bool, why: str) -> Ruling:
    return Ruling("replicated" if holds else "not replicated", why)


def _is_beyond(value: float, side: str, bound: float) -> bool:
    return value > bound if side == "above" else value < bound


def _prediction(found: Evidence) -> tuple[float, float]:
    """Where one more run is expected, from the confidence interval of the mean."""
    values = np.array(found.values)
    centre, _, high, n = mean_interval(np.log(values) if found.on_log_scale else values)
    half = (high - centre) * math.sqrt(n + 1)
    low, high = centre - half, centre + half
    return (math.exp(low), math.exp(high)) if found.on_log_scale else (low, high)
