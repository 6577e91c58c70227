import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mechflow import claims
from mechflow.claims import (
    AllEquivalent,
    Claim,
    EveryReplicate,
    Evidence,
    IntervalBeyond,
    Near,
    NotComparableError,
    NotRunError,
    OneMoreRun,
)
from mechflow.statistics import Interval
from mechflow.verdicts import COLUMNS, VERDICTS

samples = st.lists(st.floats(0.5, 50).map(lambda x: round(x, 3)), min_size=3, max_size=8)


def spread(values) -> bool:
    return float(np.std(values)) > 1e-3


def claim(criterion, evidence, published=math.nan) -> Claim:
    return Claim("id", "statement", "source", "measure", criterion, evidence, published)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [((0.995, 0.999), "replicated"), ((0.995, 0.99), "not replicated"), ((), "not replicated")],
)
def test_every_replicate_must_be_beyond_the_bound_itself(values, verdict):
    assert EveryReplicate("above", 0.99).rule(Evidence.of(values), math.nan).verdict == verdict


def test_exceptions_among_replicates_are_counted():
    ruling = EveryReplicate("below", 3.0).rule(Evidence.of([1.0, 2.0, 5.0]), math.nan)
    assert ruling == ("not replicated", "2 of 3 replicates are below 3")


@given(samples, st.floats(0, 60))
def test_an_interval_is_above_a_bound_exactly_if_a_t_test_says_so(values, bound):
    ruling = IntervalBeyond("above", bound).rule(Evidence.of(values), math.nan)
    if spread(values):
        p = stats.ttest_1samp(values, bound, alternative="greater").pvalue
        if abs(p - 0.025) > 1e-9:
            assert (ruling.verdict == "replicated") == (p < 0.025)


def test_an_interval_that_only_touches_the_bound_is_not_beyond_it():
    found = Evidence(Interval(0.5, 0.0, 1.0, 5))
    assert IntervalBeyond("above", 0.0).rule(found, math.nan).verdict == "not replicated"
    assert IntervalBeyond("below", 1.0).rule(found, math.nan).verdict == "not replicated"
    assert IntervalBeyond("below", 1.001).rule(found, math.nan).verdict == "replicated"


def test_a_single_value_has_no_interval_to_judge_by():
    for criterion in (IntervalBeyond("above", 0.0), OneMoreRun()):
        assert criterion.rule(Evidence.of([5.0]), 5.0).verdict == "not comparable"


@given(samples, st.floats(0.1, 100))
def test_one_more_run_is_expected_where_a_t_test_of_two_groups_allows_it(values, published):
    """A prediction interval is the t test of the replicates against a group of one."""
    if not spread(values):
        return
    ruling = OneMoreRun(widest=math.inf).rule(Evidence.of(values), published)
    n = len(values)
    t = abs(np.mean(values) - published) / (np.std(values, ddof=1) * math.sqrt(1 + 1 / n))
    p = 2 * stats.t.sf(t, n - 1)
    if abs(p - 0.05) > 1e-6:
        assert (ruling.verdict == "replicated") == (p > 0.05)


def test_prediction_intervals_hold_the_next_run_as_often_as_they_say():
    rng = np.random.default_rng(0)
    runs = rng.normal(10.0, 1.0, size=(400, 6))
    held = [OneMoreRun().rule(Evidence.of(run[:5].tolist()), float(run[5])).verdict for run in runs]
    assert 0.92 < held.count("replicated") / len(held) < 0.98


def test_losses_are_predicted_on_a_logarithmic_scale():
    values = [1e-8, 1e-7, 1e-6]
    assert OneMoreRun(widest=1e9).rule(Evidence.of_positive(values), 1e-9).verdict == "replicated"
    found = Evidence.of_positive(values)
    assert found.interval.centre == pytest.approx(1e-7)
    assert found.interval.low > 0


def test_replicates_that_scatter_too_widely_test_nothing():
    ruling = OneMoreRun().rule(Evidence.of_positive([1e-8, 1e-5, 1e-2]), 1e-5)
    assert ruling.verdict == "not comparable"
    assert "too wide" in ruling.why
    assert OneMoreRun().rule(Evidence.of([1.0, 50.0, 99.0]), 2.0).verdict == "not comparable"


def test_a_loss_of_zero_has_no_logarithm_to_predict_by():
    ruling = OneMoreRun().rule(Evidence.of_positive([0.0, 1e-9, 1e-8]), 1e-9)
    assert ruling.verdict == "not comparable"


def test_two_replicates_predict_nothing():
    ruling = OneMoreRun().rule(Evidence.of([1.0, 1.1]), 1.0)
    assert ruling == ("not comparable", "fewer than 3 replicates")


@pytest.mark.parametrize(("ours", "holds"), [(0.301, True), (0.3055, True), (0.29, False)])
def test_near_allows_the_tolerance_and_no_more(ours, holds):
    ruling = Near(0.005).rule(Evidence.of([ours]), 0.301)
    assert (ruling.verdict == "replicated") == holds


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((1.0, 1.0), "replicated"),
        ((1.0, 0.0), "not comparable"),
        ((0.0, -1.0), "not replicated"),
    ],
)
def test_one_difference_decides_and_one_unclear_quantity_leaves_it_open(values, verdict):
    found = Evidence(Interval(1.0, math.nan, math.nan, 2), values)
    assert AllEquivalent("0.1").rule(found, math.nan).verdict == verdict


def test_shares_have_intervals_of_shares():
    found = Evidence.of_shares([0.99, 1.0, 0.97])
    assert found.interval.high == 1.0
    assert found.interval.low < 0.99


def test_a_scoreboard_has_a_row_for_every_claim_in_order():
    def refused(data):
        raise NotRunError(f"p is {data}, not 113")

    def unlike(data):
        raise NotComparableError("they differ")

    board = claims.scoreboard(
        [
            claim(Near(1.0), lambda data: Evidence.of([data, data], note="seen"), 54.0),
            claim(Near(1.0), refused, 7.0),
            claim(Near(1.0), unlike),
        ],
        53.0,
    )
    assert tuple(board.columns) == COLUMNS
    assert list(board["verdict"]) == ["replicated", "not run at this scale", "not comparable"]
    assert set(board["verdict"]) <= set(VERDICTS)
    assert list(board["why"]) == ["differs by -1; seen", "p is 53.0, not 113", "they differ"]
    assert list(board["n"]) == [2, 0, 0]
    assert board["ours"].isna().tolist() == [False, True, True]
    assert list(board["published"][:2]) == [54.0, 7.0]
    assert board["n"].dtype == "int64"


def test_a_fault_in_a_measurement_is_not_taken_for_a_verdict():
    def broken(data):
        raise KeyError("no such column")

    with pytest.raises(KeyError):
        claims.scoreboard([claim(Near(1.0), broken)], None)


def test_criteria_state_their_rule():
    assert str(EveryReplicate("above", 0.99)) == "every replicate above 0.99"
    assert str(IntervalBeyond("below", 0.0)) == "95 % interval wholly below 0"
    assert "0.005" in str(Near(0.005))
    assert "prediction interval" in str(OneMoreRun())
