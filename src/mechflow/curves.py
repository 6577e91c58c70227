"""Summaries of training curves: when a threshold is reached, and where a spiky curve ends.

Replicates that never reach a threshold stay in the count.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mechflow.statistics import FloatArray, one_axis


class CensoredSummary(NamedTuple):
    """Steps at which replicates reached a threshold; those that never did come after all others."""

    median: float
    """Infinite where the middle replicate never got there, NaN without replicates."""
    earliest: float
    latest: float
    """Of those that got there; NaN if none did."""
    reached: int
    n: int


def first_step_reaching(
    steps: ArrayLike, values: ArrayLike, threshold: float, sustained: int = 1
) -> float:
    """First recorded step from which `sustained` records in a row are at the threshold or above.

    NaN if that never happens.

    Raises:
        ValueError: steps do not increase, or the lengths differ, or sustained is below 1.
    """
    step, curve = _curve(steps, values)
    if sustained < 1:
        raise ValueError(f"sustained must be at least 1, not {sustained}")
    if step.size < sustained:
        return math.nan
    above = np.lib.stride_tricks.sliding_window_view(curve >= threshold, sustained).all(axis=1)
    return float(step[above.argmax()]) if above.any() else math.nan


def censored_summary(steps: ArrayLike) -> CensoredSummary:
    """Summarise results of `first_step_reaching`, where NaN means that it never happened."""
    step = one_axis(steps)
    reached = step[~np.isnan(step)]
    if not step.size:
        return CensoredSummary(math.nan, math.nan, math.nan, 0, 0)
    middle = np.sort(np.nan_to_num(step, nan=np.inf))[[(step.size - 1) // 2, step.size // 2]]
    ends = (float(reached.min()), float(reached.max())) if reached.size else (math.nan, math.nan)
    return CensoredSummary(float(middle.mean()), *ends, reached.size, step.size)


def final_value(steps: ArrayLike, values: ArrayLike, last: int) -> float:
    """Median over the last `last` steps, since late curves are spiky.

    Records count if their step is above (last step) - `last`, so at least one does.

    Raises:
        ValueError: the curve is empty, its steps do not increase, or last is below 1.
    """
    step, curve = _curve(steps, values)
    if last < 1 or not step.size:
        raise ValueError(f"no records in the last {last} steps of {step.size} records")
    return float(np.median(curve[step > step[-1] - last]))


def _curve(steps: ArrayLike, values: ArrayLike) -> tuple[FloatArray, FloatArray]:
    step, curve = one_axis(steps), one_axis(values)
    if step.shape != curve.shape:
        raise ValueError(f"{step.size} steps but {curve.size} values")
    if (np.diff(step) <= 0).any():
        raise ValueError("steps must increase")
    return step, curve
