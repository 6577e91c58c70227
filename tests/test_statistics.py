import functools
import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mechflow import statistics

values = st.lists(st.floats(-100, 100), min_size=2, max_size=8)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@given(values, st.floats(0.5, 0.99))
@settings(deadline=None)
def test_t_interval_agrees_with_scipy(sample: list[float], confidence: float) -> None:
    found = statistics.mean_interval(sample, confidence)
    assert found.n == len(sample)
    assert found.centre == pytest.approx(np.mean(sample))
    if np.std(sample) > 1e-6:
        expected = stats.ttest_1samp(sample, 0).confidence_interval(confidence)
        assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-6)


def test_equal_values_have_an_interval_of_no_width() -> None:
    for method in ("t", "bootstrap"):
        found = statistics.mean_interval([2.5] * 4, method=method, generator=generator())
        assert found == (2.5, 2.5, 2.5, 4)


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    one = [
        statistics.mean_interval([3.0]),
        statistics.mean_interval([3.0], method="bootstrap", generator=generator()),
        statistics.median_interval([3.0], generator()),
    ]
    for found in one:
        assert (found.centre, found.n) == (3.0, 1)
        assert math.isnan(found.low)
        assert math.isnan(found.high)
    assert math.isnan(statistics.mean_interval([]).centre)


def test_missing_values_are_not_hidden() -> None:
    found = statistics.mean_interval([1.0, math.nan, 2.0])
    assert found.n == 3
    assert np.isnan(found[:3]).all()
    assert np.isnan(statistics.median_interval([1.0, math.nan], generator())[:3]).all()


def test_bootstrap_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng, hits, trials = generator(), {"mean": 0, "median": 0}, 200
    for _ in range(trials):
        sample = rng.normal(size=40)
        mean = statistics.mean_interval(sample, 0.9, "bootstrap", rng, resamples=200)
        median = statistics.median_interval(sample, rng, 0.9, resamples=200)
        hits["mean"] += mean.low <= 0 <= mean.high
        hits["median"] += median.low <= 0 <= median.high
    assert all(0.8 < count / trials < 0.98 for count in hits.values())


def test_bootstrap_depends_on_the_generator_only() -> None:
    sample = [1.0, 2.0, 5.0, 7.0]
    once, again = (
        statistics.mean_interval(sample, method="bootstrap", generator=generator())
        for _ in range(2)
    )
    assert once == again
    with pytest.raises(ValueError, match="generator"):
        statistics.mean_interval(sample, method="bootstrap")


def test_summary_table_has_one_interval_per_group() -> None:
    frame = pd.DataFrame(
        {
            "variant": ["b", "a", "b", "a", "b", "c", "a", "c"],
            "step": [1, 0, 1, 0, 1, 0, 1, 0],
            "value": [3.0, 1.0, 5.0, 2.0, 4.0, math.nan, 9.0, 1.0],
        }
    )
    table = statistics.summarise(frame, ["variant", "step"])
    assert list(table.columns) == ["variant", "step", "mean", "low", "high", "n"]
    assert table[["variant", "step"]].values.tolist() == [["a", 0], ["a", 1], ["b", 1], ["c", 0]]
    for row in table.itertuples():
        group = frame[(frame.variant == row.variant) & (frame.step == row.step)]
        expected = statistics.mean_interval(group.value)
        np.testing.assert_allclose([row.mean, row.low, row.high, row.n], expected)


@given(values, values)
@settings(deadline=None)
def test_cliffs_delta_counts_pairs(x: list[float], y: list[float]) -> None:
    wins = sum(a > b for a in x for b in y) - sum(a < b for a in x for b in y)
    found = statistics.cliffs_delta(x, y)
    assert found == pytest.approx(wins / (len(x) * len(y)))
    u = stats.mannwhitneyu(x, y).statistic
    assert found == pytest.approx(2 * u / (len(x) * len(y)) - 1)


def test_permutation_test_tries_all_regroupings_of_small_groups() -> None:
    x, y = [4.0, 5.5, 7.0], [1.0, 2.0, 4.5, 3.0]
    found = statistics.permutation_test(x, y, generator())
    pooled = np.array(x + y)
    differences = []
    for chosen in itertools.combinations(range(7), 3):
        inside = np.isin(np.arange(7), chosen)
        differences.append(pooled[inside].mean() - pooled[~inside].mean())
    above = np.mean(np.array(differences) >= found.difference - 1e-12)
    assert found.difference == pytest.approx(np.mean(x) - np.mean(y))
    assert found.p_value == pytest.approx(2 * above)
    assert (found.n_first, found.n_second) == (3, 4)


def test_mann_whitney_agrees_with_scipy() -> None:
    x, y = [4.0, 5.5, 7.0, 8.0], [1.0, 2.0, 4.5]
    found = statistics.mann_whitney(x, y)
    assert found.p_value == stats.mannwhitneyu(x, y, method="exact").pvalue
    assert found.cliffs_delta == pytest.approx((2 * 11 - 12) / 12)


def test_single_values_have_an_effect_but_no_permutation_p() -> None:
    found = statistics.permutation_test([2.0], [1.0], generator())
    assert found[:2] == (1.0, 1.0)
    assert math.isnan(found.p_value)
    assert np.isnan(statistics.mann_whitney([], [1.0])[:3]).all()


def test_holm_on_a_worked_example() -> None:
    found = statistics.holm([0.04, 0.01, math.nan, 0.03])
    np.testing.assert_allclose(found, [0.06, 0.03, math.nan, 0.06])


@given(p_values)
@settings(deadline=None)
def test_holm_rejects_what_the_step_down_procedure_rejects(p: list[float]) -> None:
    adjusted = statistics.holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= 1).all()
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for step, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
            if p[index] * (len(p) - step) > level:
                break
            rejected.add(index)
        assert rejected == set(np.flatnonzero(adjusted <= level))


def test_groups_are_compared_pair_by_pair_with_correction() -> None:
    frame = pd.DataFrame(
        {
            "variant": ["full"] * 4 + ["binary"] * 4 + ["ternary"] * 4,
            "value": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 1.5, 2.5, 3.5, 6.5],
        }
    )
    pairs = [("binary", "full"), ("ternary", "full"), ("ternary", "unrun")]
    table = statistics.compare_groups(frame, "variant", pairs)
    assert table["difference"].tolist()[:2] == [4.0, 1.0]
    assert table["cliffs_delta"].tolist()[:2] == [1.0, 0.25]
    np.testing.assert_allclose(table["p_holm"], statistics.holm(table["p_value"]))
    assert table["p_holm"][0] == pytest.approx(2 * table["p_value"][0])
    assert table.loc[2, "n_second"] == 0
    assert math.isnan(table.loc[2, "p_holm"])
    bound = functools.partial(statistics.permutation_test, generator=generator())
    exact = statistics.compare_groups(frame, "variant", pairs[:1], bound)
    assert exact["p_value"][0] == pytest.approx(2 / math.comb(8, 4))


@given(values, values)
def test_difference_interval_agrees_with_scipy(first: list[float], second: list[float]) -> None:
    found = statistics.difference_interval(first, second)
    assert found.centre == pytest.approx(np.mean(first) - np.mean(second), abs=1e-9)
    if np.std(first) + np.std(second) > 1e-6:
        welch = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
        assert (found.low, found.high) == pytest.approx(tuple(welch), rel=1e-6, abs=1e-6)


def test_difference_of_single_values_has_no_interval() -> None:
    found = statistics.difference_interval([3.0], [1.0, 2.0])
    assert (found.centre, found.n) == (1.5, 1)
    assert math.isnan(found.low)
    assert math.isnan(statistics.difference_interval([], [1.0]).centre)
    assert statistics.difference_interval([2.0, 2.0], [1.0, 1.0]) == (1.0, 1.0, 1.0, 2)


def test_geometric_mean_interval_is_that_of_logarithms() -> None:
    sample = [1e-8, 1e-6, 3e-7]
    logs = statistics.mean_interval(np.log(sample))
    found = statistics.geometric_mean_interval(sample)
    assert found[:3] == pytest.approx(tuple(np.exp(logs[:3])))
    assert found.centre == pytest.approx(stats.gmean(sample))
    zero = statistics.geometric_mean_interval([0.0, 1.0])
    assert (zero.centre, zero.n) == (0.0, 2)
    assert math.isnan(zero.high)


def test_clipping_moves_only_the_bounds() -> None:
    interval = statistics.Interval(0.9, -0.2, 1.4, 3)
    assert statistics.clipped(interval, 0.0, 1.0) == (0.9, 0.0, 1.0, 3)
    assert math.isnan(statistics.clipped(statistics.mean_interval([0.5]), 0.0, 1.0).low)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12), st.floats(0.5, 0.99))
@settings(deadline=None)
def test_jackknife_of_a_mean_is_its_t_interval(sample: list[float], confidence: float) -> None:
    x = np.array(sample)
    without = (x.sum() - x) / (x.size - 1)
    found = statistics.jackknife_interval(float(x.mean()), without, confidence)
    expected = statistics.mean_interval(x, confidence)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_jackknife_equals_the_formula_written_out() -> None:
    without = np.array([1.0, 2.0, 4.0, 9.0])
    variance = 3 / 4 * sum((value - 4.0) ** 2 for value in without)
    half = stats.t.ppf(0.95, 3) * math.sqrt(variance)
    found = statistics.jackknife_interval(5.0, without, 0.9)
    assert found == pytest.approx((5.0, 5.0 - half, 5.0 + half, 4))


def test_jackknife_over_groups_covers_a_ratio_about_as_often_as_it_says() -> None:
    rng, hits, trials, groups = generator(), 0, 400, 10
    for _ in range(trials):
        x = rng.exponential(2.0, size=(groups, 20))
        y = rng.exponential(1.0, size=(groups, 20))
        without = (x.sum() - x.sum(axis=1)) / (y.sum() - y.sum(axis=1))
        found = statistics.jackknife_interval(float(x.sum() / y.sum()), without, 0.9)
        hits += found.low <= 2.0 <= found.high
    assert 0.86 < hits / trials < 0.94


def test_jackknife_hides_nothing() -> None:
    one = statistics.jackknife_interval(3.0, [3.0])
    assert (one.centre, one.n) == (3.0, 1)
    assert math.isnan(one.low)
    assert math.isnan(statistics.jackknife_interval(3.0, [1.0, math.nan]).high)
    assert np.isnan(statistics.jackknife_interval(math.nan, [1.0, 2.0])[:3]).all()
    assert statistics.jackknife_interval(2.0, [2.0] * 5) == (2.0, 2.0, 2.0, 5)
