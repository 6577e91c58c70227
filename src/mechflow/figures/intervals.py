"""Means over replicates with their intervals, in the shape in which figures draw them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mechflow.statistics import Interval, geometric_mean_interval, mean_interval, summarise


def band(frame: pd.DataFrame, x: str, *, log: bool = False) -> pd.DataFrame:
    """Mean and 95 % interval (Student's t) of ``value`` over replicates, at each x.

    Args:
        frame: columns ``replicate``, x and ``value``.
        x: name of the column along the axis; it becomes ``x``.
        log: average logarithms, which gives the geometric mean and an interval about it, as
            befits losses over many orders of magnitude.

    Returns:
        Columns x, mean, low, high, n. Only where all replicates have a value: they may have been
        trained for different numbers of steps.
    """
    values = frame.assign(value=_log10(frame["value"])) if log else frame
    table = summarise(values, [x]).rename(columns={x: "x"})
    table = table[table["n"] == table["n"].max()].reset_index(drop=True)
    if log:
        table[["mean", "low", "high"]] = 10.0 ** table[["mean", "low", "high"]]
    return table


def dots(values: ArrayLike, *, log: bool = False) -> Interval:
    """Mean and 95 % interval (Student's t) of one number for each replicate.

    With `log`, the geometric mean. NaN if a value is missing: no mean stands for the others then.
    """
    sample = np.asarray(values, dtype=np.float64)
    return geometric_mean_interval(sample) if log else mean_interval(sample)


def per_replicate(frame: pd.DataFrame, by: Sequence[str], *, log: bool = False) -> pd.DataFrame:
    """Mean of ``value`` over whatever else there is, such as draws of a control.

    Averaging within replicates first keeps replicates the unit of every interval.
    """
    values = frame.assign(value=_log10(frame["value"])) if log else frame
    groups = values.groupby([*by, "replicate"], sort=True)
    table = groups["value"].mean().reset_index()
    return table.assign(value=10.0 ** table["value"]) if log else table


def _log10(values: pd.Series) -> pd.Series:
    """Logarithms; a value of exactly 0 counts as the smallest positive number of float64."""
    return np.log10(values.clip(lower=np.finfo(np.float64).tiny))
