"""Phase changes as statistics of a training curve: when a capability appears, and how sharply.

NaN means that something never happened, as in `mechflow.curves`.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mechflow.curves import final_value, first_step_reaching
from mechflow.statistics import FloatArray, one_axis


class SteepestDrop(NamedTuple):
    """Where the logarithm of a loss drops fastest."""

    step: float
    slope: float
    """d log loss / d step there, below zero."""


class DropTimes(NamedTuple):
    """Steps at which shares of the drop of a loss remain."""

    t75: float
    t50: float
    t25: float
    width: float
    """t25 - t75, in steps."""
    end: float
    """The loss at which nothing of the drop remains."""


class PhaseChange(NamedTuple):
    """When a loss fell from its plateau, and how sharply; all but `end` NaN if it never did."""

    steepest_step: float
    slope: float
    """d log loss / d step at the steepest step, below zero."""
    t75: float
    t50: float
    t25: float
    width: float
    """t25 - t75, in steps."""
    relative_width: float
    """Width in units of t50: small for a sharp change, whatever the learning rate."""
    end: float
    """The loss at which nothing of the drop remains."""


class Grokking(NamedTuple):
    """Steps at which a task is learnt on the training and on the test examples."""

    train_step: float
    test_step: float
    delay: float
    """test_step - train_step; NaN where either never happened."""


def steepest_step(steps: ArrayLike, losses: ArrayLike, smoothing: int) -> SteepestDrop:
    """Step around which log loss drops fastest, and the slope there.

    The slope is that of the least-squares line through log loss over the records within
    `smoothing` / 2 steps on either side. Windows that reach beyond the ends of the curve do not
    count, nor do rises. The recovery from a spike is a drop too, so the window should be longer
    than the spikes of the curve.

    Raises:
        ValueError: a loss is not positive, steps do not increase, or a window is so narrow that
            it holds one record only.
    """
    step, loss = _loss_curve(steps, losses)
    log_loss = np.log(loss)
    half = smoothing / 2
    centres = step[(step >= step[:1] + half) & (step <= step[-1:] - half)]
    firsts = np.searchsorted(step, centres - half, side="left")
    ends = np.searchsorted(step, centres + half, side="right")
    if (ends - firsts < 2).any():
        raise ValueError(f"a window of {smoothing} steps must hold two records or more")
    slopes = np.array([_slope(step[a:b], log_loss[a:b]) for a, b in zip(firsts, ends, strict=True)])
    if not (slopes < 0).any():
        return SteepestDrop(math.nan, math.nan)
    return SteepestDrop(float(centres[slopes.argmin()]), float(slopes.min()))


def drop_times(
    steps: ArrayLike,
    losses: ArrayLike,
    start: float,
    end: float | None = None,
    sustained: int = 3,
    least_drop: float = 0.1,
) -> DropTimes:
    """Steps at which 75 %, 50 % and 25 % of the drop of a loss from start to end remain.

    A share counts as reached at the first record from which `sustained` records in a row are at
    its loss or below; the step is then interpolated linearly between that record and the one
    before it. All times are NaN if the drop is smaller than the share `least_drop` of start.

    Args:
        steps: Steps of the records, increasing.
        losses: Their losses, above zero.
        start: Loss of the plateau, such as that of guessing by the frequencies of the answers.
        end: Loss that is reached; by default the median over the last tenth of the steps.
        sustained: Records in a row that must be low enough.
        least_drop: Smallest drop that is a phase change, as a share of start.

    Raises:
        ValueError: start or a loss is not positive, there are no records, steps do not increase,
            or sustained is below 1.
    """
    step, loss = _loss_curve(steps, losses)
    if not step.size:
        raise ValueError("no records in which a loss could drop")
    if not start > 0:
        raise ValueError(f"the loss of the plateau must be positive, not {start}")
    if end is None:
        end = final_value(step, loss, last=max(1, round(np.ptp(step) / 10)))
    if not _drops(start, end, least_drop):
        return DropTimes(math.nan, math.nan, math.nan, math.nan, end)
    t75, t50, t25 = (
        _first_time_below(step, loss, end + share * (start - end), sustained)
        for share in (0.75, 0.5, 0.25)
    )
    return DropTimes(t75, t50, t25, t25 - t75, end)


def phase_change(
    steps: ArrayLike,
    losses: ArrayLike,
    start: float,
    smoothing: int,
    end: float | None = None,
    sustained: int = 3,
    least_drop: float = 0.1,
) -> PhaseChange:
    """All statistics of one curve's phase change: see `steepest_step` and `drop_times`.

    Raises:
        ValueError: as in these two.
    """
    t75, t50, t25, width, end = drop_times(steps, losses, start, end, sustained, least_drop)
    # Also where no change is seen: settings that make no sense are refused for every curve.
    steepest = steepest_step(steps, losses, smoothing)
    # A drop that is large enough but not sustained still has a steepest step.
    step, slope = steepest if _drops(start, end, least_drop) else (math.nan, math.nan)
    relative_width = width / t50 if t50 > 0 else math.nan
    return PhaseChange(step, slope, t75, t50, t25, width, relative_width, end)


def grokking(
    steps: ArrayLike,
    train_accuracy: ArrayLike,
    test_accuracy: ArrayLike,
    threshold: float,
    sustained: int = 1,
) -> Grokking:
    """Steps from which `sustained` records in a row are at the threshold, and their difference.

    The delay is negative where the test examples come first.

    Raises:
        ValueError: steps do not increase, the lengths differ, or sustained is below 1.
    """
    train_step = first_step_reaching(steps, train_accuracy, threshold, sustained)
    test_step = first_step_reaching(steps, test_accuracy, threshold, sustained)
    return Grokking(train_step, test_step, test_step - train_step)


def _drops(start: float, end: float, least_drop: float) -> bool:
    return start - end >= least_drop * start


def _slope(step: FloatArray, values: FloatArray) -> float:
    """Slope of the least-squares line."""
    offset = step - step.mean()
    # Relative to the first value, so that a constant has a slope of exactly zero.
    return float(offset @ (values - values[0]) / (offset @ offset))


def _first_time_below(step: FloatArray, loss: FloatArray, level: float, sustained: int) -> float:
    found = first_step_reaching(step, -loss, -level, sustained)
    after = int(np.searchsorted(step, found))
    if math.isnan(found) or after == 0:
        return found
    # The record before is above the level: otherwise the run would have begun with it.
    passed = (loss[after - 1] - level) / (loss[after - 1] - loss[after])
    return float(step[after - 1] + passed * (step[after] - step[after - 1]))


def _loss_curve(steps: ArrayLike, losses: ArrayLike) -> tuple[FloatArray, FloatArray]:
    step, loss = one_axis(steps), one_axis(losses)
    if step.shape != loss.shape:
        raise ValueError(f"{step.size} steps but {loss.size} losses")
    if (np.diff(step) <= 0).any():
        raise ValueError("steps must increase")
    if not (loss > 0).all():
        raise ValueError("losses must be positive")
    return step, loss
