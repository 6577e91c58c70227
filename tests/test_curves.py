import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechflow import curves


def test_first_step_reaching_a_threshold() -> None:
    steps, curve = [0, 10, 20, 30, 40], [0.1, 0.99, 0.5, 1.0, 0.995]
    assert curves.first_step_reaching(steps, curve, 0.99) == 10
    assert curves.first_step_reaching(steps, curve, 0.99, sustained=2) == 30
    assert math.isnan(curves.first_step_reaching(steps, curve, 0.99, sustained=3))
    assert math.isnan(curves.first_step_reaching(steps, curve, 1.1))
    assert math.isnan(curves.first_step_reaching([], [], 0.5))
    assert math.isnan(curves.first_step_reaching([0], [math.nan], 0.5))


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 4))
def test_first_step_equals_a_search(above: list[bool], sustained: int) -> None:
    found = curves.first_step_reaching(range(len(above)), above, 1.0, sustained)
    hits = [i for i in range(len(above) - sustained + 1) if all(above[i : i + sustained])]
    assert found == hits[0] if hits else math.isnan(found)


@pytest.mark.parametrize(
    ("steps", "curve", "sustained", "message"),
    [
        ([0, 2, 1], [0, 0, 0], 1, "increase"),
        ([0, 0], [0, 0], 1, "increase"),
        ([0, 1], [0], 1, "2 steps but 1 values"),
        ([0, 1], [0, 1], 0, "sustained"),
        ([[0, 1]], [[0, 1]], 1, "one axis"),
    ],
)
def test_malformed_curves_are_refused(steps, curve, sustained, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        curves.first_step_reaching(steps, curve, 0.5, sustained)


def test_replicates_that_never_reach_stay_in_the_count() -> None:
    nan = math.nan
    assert curves.censored_summary([300, nan, 100]) == (300, 100, 300, 2, 3)
    assert curves.censored_summary([100, 200]) == (150, 100, 200, 2, 2)
    assert curves.censored_summary([100, nan]) == (math.inf, 100, 100, 1, 2)
    never = curves.censored_summary([nan, nan, nan])
    assert (never.median, never.reached, never.n) == (math.inf, 0, 3)
    assert math.isnan(never.earliest)
    assert curves.censored_summary([]).n == 0


def test_final_value_ignores_a_late_spike() -> None:
    steps, curve = np.arange(0, 1001, 100), np.full(11, 0.01)
    curve[-1], curve[:6] = 5.0, 3.0
    assert curves.final_value(steps, curve, last=500) == 0.01  # steps 600 to 1000
    assert curves.final_value(steps, curve, last=100) == 5.0
    assert curves.final_value(steps, curve, last=10**6) == 3.0
    with pytest.raises(ValueError, match="no records"):
        curves.final_value([], [], last=500)
