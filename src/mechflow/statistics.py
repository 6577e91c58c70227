"""Intervals over replicates, and comparisons of two groups.

Nothing here hides a missing value: a NaN among the values makes their summary NaN, and a single
value has no interval.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

FloatArray = NDArray[np.float64]


class Interval(NamedTuple):
    """A central value with the bounds of its confidence interval and the number of values."""

    centre: float
    low: float
    high: float
    n: int


class Comparison(NamedTuple):
    """Effect of belonging to the first rather than the second group, and its p value."""

    difference: float
    """Mean of the first group minus mean of the second."""
    cliffs_delta: float
    """P(first > second) - P(first < second) for one value drawn from each."""
    p_value: float
    n_first: int
    n_second: int


def mean_interval(
    values: ArrayLike,
    confidence: float = 0.95,
    method: Literal["t", "bootstrap"] = "t",
    generator: np.random.Generator | None = None,
    resamples: int = 9999,
) -> Interval:
    """Mean with Student's t interval or a percentile bootstrap interval; n = 1 has NaN bounds.

    Raises:
        ValueError: a bootstrap was asked for without a generator.
    """
    sample = one_axis(values)
    if method == "t":
        centre = float(sample.mean()) if sample.size else math.nan
        deviation = sample.std(ddof=1) if sample.size > 1 else math.nan
        half = _t_half_width(np.array([deviation]), np.array([sample.size]), confidence).item()
        return Interval(centre, centre - half, centre + half, sample.size)
    if generator is None:
        raise ValueError("a bootstrap interval needs a generator")
    return _bootstrap_interval(sample, np.mean, confidence, generator, resamples)


def median_interval(
    values: ArrayLike,
    generator: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 9999,
) -> Interval:
    """Median with a percentile bootstrap interval; n = 1 has NaN bounds."""
    return _bootstrap_interval(one_axis(values), np.median, confidence, generator, resamples)


def share_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Share of successes among n independent trials with Wilson's score interval (Wilson 1927)."""
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    bounds = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return Interval(successes / n, float(bounds.low), float(bounds.high), n)


def geometric_mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Geometric mean, for values over orders of magnitude: Student's t interval of logarithms.

    A value of zero makes the mean zero, and gives no interval.
    """
    sample = one_axis(values)
    if (sample == 0).any():
        return Interval(0.0, math.nan, math.nan, sample.size)
    centre, low, high, n = mean_interval(np.log(sample), confidence)
    return Interval(math.exp(centre), math.exp(low), math.exp(high), n)


def clipped(interval: Interval, least: float, most: float) -> Interval:
    """The interval without values that cannot occur, such as shares above 1.

    It covers the truth as often as before.
    """
    low, high = np.clip([interval.low, interval.high], least, most).tolist()
    return interval._replace(low=low, high=high)


def difference_interval(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> Interval:
    """Mean of the first minus mean of the second group, with Welch's t interval.

    Unequal variances are allowed for (Welch 1947). A group of one value gives NaN bounds; n is the
    size of the smaller group.
    """
    x, y = one_axis(first), one_axis(second)
    n = min(x.size, y.size)
    if n < 2:
        difference = float(x.mean() - y.mean()) if n else math.nan
        return Interval(difference, math.nan, math.nan, n)
    centre = float(x.mean() - y.mean())
    x_part, y_part = x.var(ddof=1) / x.size, y.var(ddof=1) / y.size
    if x_part + y_part == 0:
        return Interval(centre, centre, centre, n)
    freedom = (x_part + y_part) ** 2 / (x_part**2 / (x.size - 1) + y_part**2 / (y.size - 1))
    half = float(stats.t.ppf((1 + confidence) / 2, freedom) * np.sqrt(x_part + y_part))
    return Interval(centre, centre - half, centre + half, n)


def jackknife_interval(
    estimate: float, leave_one_out: ArrayLike, confidence: float = 0.95
) -> Interval:
    """Interval of an estimate that cannot be averaged, from estimates without each group of data.

    The variance is (G - 1) / G Σ (θ_g - mean θ)² over the G groups of nearly equal size (Tukey
    1958; Efron 1982, chapter 3), the bounds are those of Student's t with G - 1 degrees of
    freedom. The centre is the estimate as given: a bias, such as that of a share of variance
    under noise, is not corrected. One group gives NaN bounds; n is the number of groups.

    Args:
        estimate: The estimate from all of the data.
        leave_one_out: The same estimate without the first group, without the second, ...
        confidence: Probability that the interval covers the truth.
    """
    without = one_axis(leave_one_out)
    n = without.size
    # The standard error of a mean of n values with (n - 1) times the spread.
    deviation = (n - 1) * without.std(ddof=1) if n > 1 else math.nan
    half = _t_half_width(np.array([deviation]), np.array([n]), confidence).item()
    if math.isnan(estimate):
        return Interval(math.nan, math.nan, math.nan, n)
    return Interval(estimate, estimate - half, estimate + half, n)


def summarise(
    frame: pd.DataFrame, by: Sequence[str], value: str = "value", confidence: float = 0.95
) -> pd.DataFrame:
    """Mean, low, high (Student's t) and n of the value in each group: one row per group.

    Columns are those of `by`, then mean, low, high, n; rows are sorted by `by`.
    """
    groups = frame.groupby(list(by), sort=True, observed=True, dropna=False)[value]
    table = groups.mean(skipna=False).to_frame("mean")
    deviation = np.asarray(groups.std(skipna=False), dtype=np.float64)
    n = np.asarray(groups.size(), dtype=np.int64)
    half = _t_half_width(deviation, n, confidence)
    table["low"] = table["mean"] - half
    table["high"] = table["mean"] + half
    table["n"] = n
    return table.reset_index()


def cliffs_delta(first: ArrayLike, second: ArrayLike) -> float:
    """P(first > second) - P(first < second) over all pairs of values, in [-1, 1] (Cliff 1993)."""
    x, y = one_axis(first), one_axis(second)
    if not (x.size and y.size) or np.isnan(x).any() or np.isnan(y).any():
        return math.nan
    return float((np.sign(x[:, None] - y).sum()) / (x.size * y.size))


def permutation_test(
    first: ArrayLike,
    second: ArrayLike,
    generator: np.random.Generator,
    resamples: int = 9999,
) -> Comparison:
    """Two-sided permutation test of the difference of means.

    All regroupings are tried where there are at most `resamples` of them (by default up to 8
    against 7 values), and the p value is then exact. It is NaN if a group has a single value.
    """

    def p_value(x: FloatArray, y: FloatArray) -> float:
        if min(x.size, y.size) < 2:
            return math.nan
        result = stats.permutation_test(
            (x, y),
            lambda u, v, axis: u.mean(axis=axis) - v.mean(axis=axis),
            vectorized=True,
            n_resamples=resamples,
            rng=generator,
        )
        return float(result.pvalue)

    return _compare(first, second, p_value)


def mann_whitney(first: ArrayLike, second: ArrayLike) -> Comparison:
    """Two-sided Mann-Whitney U test, exact for small groups without ties."""
    return _compare(first, second, lambda x, y: float(stats.mannwhitneyu(x, y).pvalue))


def holm(p_values: ArrayLike) -> FloatArray:
    """Adjust p values for several comparisons by Holm's step-down method (Holm 1979).

    NaN stays NaN and does not count as a comparison.
    """
    p = one_axis(p_values)
    adjusted = np.full_like(p, np.nan)
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]  # NaN sorts last
    remaining = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(remaining * p[order]), 1.0)
    return adjusted


def compare_groups(
    frame: pd.DataFrame,
    group: str,
    pairs: Sequence[tuple[str, str]],
    test: Callable[[FloatArray, FloatArray], Comparison] = mann_whitney,
    value: str = "value",
) -> pd.DataFrame:
    """Compare pairs of groups, one row each, with p values corrected over all of the pairs.

    Columns: first, second, then the fields of `Comparison`, then p_holm. A group that is absent
    from the frame gives NaN. A test that needs more arguments is passed with them bound.
    """
    columns = ["first", "second", *Comparison._fields]
    samples = {
        name: frame.loc[frame[group] == name, value].to_numpy(dtype=float)
        for pair in pairs
        for name in pair
    }
    rows = [(one, other, *test(samples[one], samples[other])) for one, other in pairs]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(p_holm=holm(table["p_value"].to_numpy(dtype=float)))


def one_axis(values: ArrayLike) -> FloatArray:
    """The values as a vector of float64.

    Raises:
        ValueError: they have more axes than one, or none.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"expected one axis of values, found shape {array.shape}")
    return array


def _t_half_width(deviation: FloatArray, n: NDArray[np.int64], confidence: float) -> FloatArray:
    freedom = np.where(n > 1, n - 1.0, np.nan)
    quantile = stats.t.ppf((1 + confidence) / 2, freedom)
    with np.errstate(invalid="ignore"):  # no values at all
        half: FloatArray = quantile * deviation / np.sqrt(n)
    return half


def _bootstrap_interval(
    sample: FloatArray,
    statistic: Callable[..., FloatArray],
    confidence: float,
    generator: np.random.Generator,
    resamples: int,
) -> Interval:
    centre = float(statistic(sample)) if sample.size else math.nan
    if sample.size < 2 or math.isnan(centre):
        return Interval(centre, math.nan, math.nan, sample.size)
    bounds = stats.bootstrap(
        (sample,),
        statistic,
        confidence_level=confidence,
        n_resamples=resamples,
        method="percentile",
        rng=generator,
    ).confidence_interval
    return Interval(centre, float(bounds.low), float(bounds.high), sample.size)


def _compare(
    first: ArrayLike, second: ArrayLike, p_value: Callable[[FloatArray, FloatArray], float]
) -> Comparison:
    x, y = one_axis(first), one_axis(second)
    if not (x.size and y.size) or np.isnan(x).any() or np.isnan(y).any():
        return Comparison(math.nan, math.nan, math.nan, x.size, y.size)
    difference = float(x.mean() - y.mean())
    return Comparison(difference, cliffs_delta(x, y), p_value(x, y), x.size, y.size)
