import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mechflow import phase

Array = NDArray[np.float64]
STEPS = np.arange(0.0, 3001, 10)
START, END = 2.0, 0.02


def sigmoid_drop(steps: Array, middle: float, scale: float, start: float = START) -> Array:
    return END + (start - END) / (1 + np.exp((steps - middle) / scale))


@given(st.integers(400, 2000), st.integers(20, 60))
def test_times_of_a_sigmoid(middle: int, scale: int) -> None:
    change = phase.phase_change(STEPS, sigmoid_drop(STEPS, middle, scale), START, smoothing=30)
    assert change.end == pytest.approx(END, rel=1e-3)
    # Between records 10 steps apart the chord is off by at most 10² / 8 times the curvature.
    off = 10**2 / 8 / scale
    assert change.t75 == pytest.approx(middle - scale * math.log(3), abs=off)
    assert change.t50 == pytest.approx(middle, abs=off)
    assert change.t25 == pytest.approx(middle + scale * math.log(3), abs=off)
    assert change.width == change.t25 - change.t75
    assert change.relative_width == change.width / change.t50
    # d log L / d step is least where L is the geometric mean of the plateaus.
    u = (math.sqrt(END * START) - END) / (START - END)
    steepest = middle + scale * math.log((1 - u) / u)
    assert change.steepest_step == pytest.approx(steepest, abs=10)
    slope = -(START - END) * u * (1 - u) / scale / math.sqrt(END * START)
    assert change.slope == pytest.approx(slope, rel=0.05)


def test_the_slope_is_exact_on_an_exponential() -> None:
    steps = np.array([0.0, 10, 25, 50, 60, 85, 100])
    assert phase.steepest_step(steps, 3 * np.exp(-0.04 * steps), 50).slope == pytest.approx(-0.04)


@given(st.lists(st.floats(1e-6, 10), min_size=9, max_size=9))
def test_the_slope_is_that_of_polyfit(losses: list[float]) -> None:
    steps = np.array([0.0, 10, 20, 30, 45, 60, 75, 90, 110])
    windows = {centre: abs(steps - centre) <= 20 for centre in (20, 30, 45, 60, 75, 90)}
    slopes = {
        centre: np.polyfit(steps[window] - centre, np.log(losses)[window], 1)[0]
        for centre, window in windows.items()
    }
    found = phase.steepest_step(steps, losses, 40)
    if math.isnan(found.slope):
        assert min(slopes.values()) > -1e-12
    else:
        assert found.slope == pytest.approx(min(slopes.values()), abs=1e-9)
        assert slopes[int(found.step)] == pytest.approx(found.slope, abs=1e-9)


def test_windows_lie_within_the_curve() -> None:
    steps, losses = np.arange(0.0, 101, 10), np.exp(-(np.arange(11.0) ** 2) / 100)
    assert phase.steepest_step(steps, losses, 40).step == 80  # steeper and steeper
    assert phase.steepest_step(steps, losses, 100).step == 50
    assert all(math.isnan(x) for x in phase.steepest_step(steps, losses, 101))
    assert all(math.isnan(x) for x in phase.steepest_step([], [], 10))


def test_noise_moves_the_statistics_little() -> None:
    generator = np.random.default_rng(0)
    clean = sigmoid_drop(STEPS, 1500, 50)
    exact = phase.phase_change(STEPS, clean, START, smoothing=100)
    for _ in range(20):
        noisy = clean * np.exp(0.1 * generator.standard_normal(STEPS.size))
        found = phase.phase_change(STEPS, noisy, START, smoothing=100)
        assert found.steepest_step == pytest.approx(exact.steepest_step, abs=60)
        assert found.slope == pytest.approx(exact.slope, rel=0.25)
        assert found.t50 == pytest.approx(exact.t50, abs=20)
        assert found.width == pytest.approx(exact.width, abs=50)


@given(
    st.lists(st.floats(1e-3, 10), min_size=41, max_size=41),
    st.integers(1, 50),
    st.integers(-1000, 1000),
    st.floats(0.1, 10),
)
def test_units_of_steps_and_losses(
    losses: list[float], scale: int, shift: int, factor: float
) -> None:
    steps = np.arange(0, 401, 10)
    curve, options = np.array(losses), {"sustained": 2, "least_drop": 0.0}
    once = phase.phase_change(steps, curve, 5.0, 60, **options)  # type: ignore[arg-type]
    other = phase.phase_change(
        steps * scale + shift,
        curve * factor,
        5.0 * factor,
        60 * scale,
        **options,  # type: ignore[arg-type]
    )
    expected = once._replace(
        steepest_step=once.steepest_step * scale + shift,
        slope=once.slope / scale,
        t75=once.t75 * scale + shift,
        t50=once.t50 * scale + shift,
        t25=once.t25 * scale + shift,
        width=once.width * scale,
        relative_width=other.relative_width,
        end=once.end * factor,
    )
    assert other == pytest.approx(expected, nan_ok=True)


@given(
    st.lists(st.floats(0.01, 3), min_size=1, max_size=30),
    st.floats(0.5, 3),
    st.none() | st.floats(0, 3),
    st.integers(1, 4),
)
def test_times_are_sustained_and_in_order(
    losses: list[float], start: float, end: float | None, sustained: int
) -> None:
    steps = np.arange(len(losses)) * 7 + 3
    found = phase.drop_times(steps, losses, start, end, sustained)
    times = dict(zip((0.75, 0.5, 0.25), found[:3], strict=True))
    if start - found.end < 0.1 * start:
        assert np.isnan(found[:4]).all()
        return
    for share, time in times.items():
        level = found.end + share * (start - found.end)
        low = [loss <= level for loss in losses]
        runs = [i for i in range(len(low)) if low[i : i + sustained] == [True] * sustained]
        if not runs:
            assert math.isnan(time)
        elif runs[0] == 0:
            assert time == steps[0]
        else:
            assert steps[runs[0] - 1] <= time <= steps[runs[0]]
            assert np.interp(time, steps, losses) == pytest.approx(level)
    reached = [time for time in times.values() if not math.isnan(time)]
    assert reached == sorted(reached)
    assert np.isnan(list(times.values())).tolist() == sorted(np.isnan(list(times.values())))


def test_a_passing_dip_is_no_drop() -> None:
    steps, losses = [0, 10, 20, 30, 40, 50, 60], [2.0, 2.0, 0.1, 2.0, 1.0, 0.0001, 0.0001]
    times = phase.drop_times(steps, losses, start=2.0, end=0.0, sustained=2)
    assert times[:3] == pytest.approx((35, 40, 40 + 10 * 0.5 / 0.9999))
    assert phase.drop_times(steps, losses, 2.0, 0.0, sustained=1).t50 < 20
    late = phase.drop_times(steps, losses, 2.0, 0.0, sustained=3)
    assert late[:2] == pytest.approx((35, 40))
    assert math.isnan(late.t25)  # two records are too few
    assert math.isnan(late.width)


@pytest.mark.parametrize(
    "losses",
    [
        np.full(STEPS.size, START),
        START + STEPS / 1000,
        sigmoid_drop(STEPS, 1500, 50) / START * 0.1 + 0.91 * START,  # a drop by 5 %
        START
        - 1.5 * np.exp(-(((STEPS - 1000) / 200) ** 2))
        + STEPS / 3000,  # learns, then overfits
    ],
    ids=["flat", "rising", "small", "overfitting"],
)
def test_curves_without_a_phase_change(losses: Array) -> None:
    change = phase.phase_change(STEPS, losses, START, smoothing=100)
    assert np.isnan(change[:-1]).all()
    assert change.end == np.median(losses[-30:])


def test_flat_and_rising_curves_have_no_steepest_drop() -> None:
    for losses in (np.full(STEPS.size, 0.3), 0.3 + STEPS):
        assert all(math.isnan(x) for x in phase.steepest_step(STEPS, losses, 100))


def test_overfitting_before_grokking() -> None:
    peak = 8 * START  # the test loss rises far above chance before it falls
    rising = START + (peak - START) / (1 + np.exp((500 - STEPS) / 50))
    losses = rising * sigmoid_drop(STEPS, 2000, 50, start=1.0)
    change = phase.phase_change(STEPS, losses, START, smoothing=50)
    assert 2000 < change.t75 < change.t50 < change.t25 < 2300
    # Where the sigmoid itself is at the geometric mean of its ends.
    assert change.steepest_step == pytest.approx(2000 + 50 * math.log(1 / math.sqrt(END)), abs=15)


def test_a_sharper_change_is_narrower_relative_to_its_time() -> None:
    late, early, gradual = (
        phase.phase_change(STEPS, sigmoid_drop(STEPS, middle, scale), START, smoothing=50)
        for middle, scale in ((2000, 40), (1000, 20), (1000, 80))
    )
    assert late.width > early.width
    assert late.relative_width == pytest.approx(early.relative_width, rel=0.02)
    assert gradual.relative_width > 3.5 * early.relative_width


def test_a_loss_that_is_low_from_the_beginning_has_no_relative_width() -> None:
    change = phase.phase_change(STEPS, np.full(STEPS.size, END), START, smoothing=50)
    assert (change.t75, change.t50, change.t25, change.width) == (0, 0, 0, 0)
    assert math.isnan(change.relative_width)
    assert math.isnan(change.steepest_step)


@pytest.mark.parametrize("statistic", [phase.steepest_step, phase.drop_times])
@pytest.mark.parametrize(
    ("steps", "losses", "message"),
    [
        ([0, 20, 10], [1, 1, 1], "increase"),
        ([0, 10], [1], "2 steps but 1 losses"),
        ([0, 10], [1, 0], "positive"),
        ([0, 10], [1, math.nan], "positive"),
    ],
)
def test_malformed_curves_are_refused(
    statistic: Callable[..., object], steps: list[int], losses: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        statistic(steps, losses, 1 if statistic is phase.steepest_step else 1.0)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="two records"):
        phase.steepest_step(STEPS, STEPS + 1, 5)
    with pytest.raises(ValueError, match="plateau"):
        phase.drop_times(STEPS, STEPS + 1, math.nan)
    with pytest.raises(ValueError, match="no records"):
        phase.drop_times([], [], START)
    with pytest.raises(ValueError, match="sustained"):
        phase.drop_times(STEPS, sigmoid_drop(STEPS, 500, 50), START, sustained=0)


def test_grokking_is_the_delay_of_the_test_examples() -> None:
    nan, steps = math.nan, [0, 10, 20, 30, 40]
    soon, late, never = [0.1, 1, 1, 1, 1], [0.1, 1, 0.5, 1, 1], [0.1, 0.2, 0.3, 0.9, 0.9]
    assert phase.grokking(steps, soon, late, 0.99) == (10, 10, 0)
    assert phase.grokking(steps, soon, late, 0.99, sustained=2) == (10, 30, 20)
    assert phase.grokking(steps, late, soon, 0.99, sustained=2) == (30, 10, -20)
    for train, test, expected in (
        (soon, never, (10, nan, nan)),
        (never, soon, (nan, 10, nan)),
        (never, never, (nan, nan, nan)),
        (soon, late, (10, nan, nan)),  # two records at the end are too few
    ):
        found = phase.grokking(steps, train, test, 0.99, sustained=3)
        assert found == pytest.approx(expected, nan_ok=True)
