"""Curves of training seeds with their mean and its interval, drawn and kept as source data."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from mechflow.figures import panels
from mechflow.figures.intervals import band
from mechflow.figures.source import Label, Source

_SOURCE_NAMES = {"column": "head", "step": "x", "value": "y"}


def seeds_and_mean(
    axes: Axes,
    rows: pd.DataFrame,
    colour: str,
    source: Source,
    labels: Mapping[str, Label],
    *,
    line: Any = "-",
    log: bool = False,
    bounds: tuple[float, float] | None = None,
) -> pd.DataFrame:
    """Each training seed, their mean and its interval; returns the mean as it is drawn.

    Args:
        axes: the panel.
        rows: columns replicate, step and value; ``column`` where it says which head is meant.
        colour: of all lines.
        source: what is drawn.
        labels: what the source data call it.
        line: dashes of all lines.
        log: average logarithms.
        bounds: least and largest value that can occur, at which intervals are cut.
    """
    mean = band(rows, "step", log=log)
    if bounds is not None:
        mean[["low", "high"]] = mean[["low", "high"]].clip(*bounds)
    panels.replicate_lines(axes, rows, "step", colour, line)
    panels.mean_line(axes, mean, colour, line)
    source.add(singles(rows), **labels, kind="replicate")
    source.add(mean.rename(columns={"mean": "y"}), **labels, kind="mean")
    return mean


def mean_alone(
    axes: Axes, rows: pd.DataFrame, colour: str, source: Source, labels: Mapping[str, Label]
) -> pd.DataFrame:
    """The geometric mean of training seeds without anything else; returns it."""
    mean = band(rows, "step", log=True).drop(columns=["low", "high"])
    axes.plot(mean["x"], mean["mean"], color=colour, lw=1.1, zorder=3)
    source.add(mean.rename(columns={"mean": "y"}), **labels, kind="mean")
    return mean


def each(
    axes: Axes, rows: pd.DataFrame, colour: str, source: Source, labels: Mapping[str, Label]
) -> None:
    """A thin line for every head, or pair of heads, of every training seed."""
    for _, one in rows.groupby("column", sort=True):
        panels.replicate_lines(axes, one, "step", colour)
    source.add(singles(rows), **labels, kind="replicate")


def singles(rows: pd.DataFrame) -> pd.DataFrame:
    """Values of single training seeds as source data."""
    kept = [name for name in ("replicate", *_SOURCE_NAMES) if name in rows]
    return rows[kept].rename(columns=_SOURCE_NAMES)
