"""Lines over layers: means over fits with intervals, and labels at their ends."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.optimize import isotonic_regression

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Label, Source
from mechflow.figures.style import small_pt
from mechflow.statistics import clipped, mean_interval

SHARE = (0.0, 1.0)
"""Bounds of a share."""
DIFFERENCE = (-1.0, 1.0)
"""Bounds of a difference of shares."""
_POINTS_PER_MM = 72 / 25.4


class End(NamedTuple):
    """What is written at the end of a line, and the height at which the line ends."""

    y: float
    text: str
    colour: str


def over_fits(wide: pd.DataFrame, bounds: tuple[float, float] = SHARE) -> pd.DataFrame:
    """Mean and 95 % interval (Student's t) of each layer, without values that cannot occur.

    Args:
        wide: a row for each fit, a column for each layer, as ``outcomes.accuracies`` gives them.
        bounds: least and largest possible value.

    Returns:
        Columns x (layer), mean, low, high, n.
    """
    rows = []
    for layer in sorted(wide.columns):
        found = clipped(mean_interval(wide[layer].dropna()), *bounds)
        rows.append((layer, found.centre, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=["x", "mean", "low", "high", "n"])


def draw(
    axes: Axes,
    wide: pd.DataFrame,
    colour: str,
    line: Any,
    source: Source,
    *,
    bounds: tuple[float, float] = SHARE,
    **labels: Label,
) -> pd.DataFrame | None:
    """Draws one line with its band, and keeps what is drawn; None if there are no fits."""
    if wide.empty:
        return None
    found = over_fits(wide, bounds)
    panels.mean_line(axes, found, colour, line)
    source.add(found, kind="mean", **labels)
    return found


def label_ends(axes: Axes, ends: Sequence[End], height_mm: float, style: Style) -> None:
    """Labels right of the panel, at the ends of its lines, moved apart where lines end together.

    Args:
        axes: a panel with its final limits.
        ends: the labels.
        height_mm: about how high the panel is.
        style: for the size of the text.
    """
    if not ends:
        return
    ordered = sorted(ends)
    in_panel = axes.transScale + axes.transLimits
    wanted = np.array([in_panel.transform((0.0, end.y))[1] for end in ordered])
    gap = 1.2 * small_pt(style) / (height_mm * _POINTS_PER_MM)
    for end, at, place in zip(ordered, wanted, apart(wanted, gap), strict=True):
        axes.annotate(
            end.text, (1, at), (9, (place - at) * height_mm * _POINTS_PER_MM),
            xycoords="axes fraction", textcoords="offset points", ha="left", va="center",
            fontsize=small_pt(style), color=end.colour, annotation_clip=False, zorder=6,
            arrowprops={
                "arrowstyle": "-", "lw": 0.4, "color": end.colour, "shrinkA": 0.5, "shrinkB": 0.0,
                "relpos": (0, 0.5),
            },
        )  # fmt: skip


def apart(wanted: Sequence[float] | np.ndarray, gap: float) -> np.ndarray:
    """The heights nearest to the wanted ones (sorted) that keep a distance from each other."""
    steps = gap * np.arange(len(wanted))
    return np.asarray(isotonic_regression(np.asarray(wanted, dtype=float) - steps).x + steps)


def of(frame: pd.DataFrame, **wanted: str | int) -> pd.DataFrame:
    """The rows in which columns have the given values."""
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    return frame


def fits_text(wide: pd.DataFrame) -> str:
    """How many fits there are: ``n = 5 folds``, ``n = 10 fits (5 folds × 2 replicates)``."""
    replicates = wide.index.get_level_values("replicate").nunique()
    if replicates == 1:
        return f"n = {len(wide)} fold{'s' if len(wide) > 1 else ''} of the numbers"
    return f"n = {len(wide)} fits ({len(wide) // replicates} folds × {replicates} replicates)"


def model_text(data: FigureData, variant: str) -> str:
    """The language model of a variant."""
    found = data.model_source(variant)
    return found.package or found.hub or "local model"


def scale_text(data: FigureData, variant: str, wide: pd.DataFrame) -> str:
    """The line below a figure: model, variant, numbers and fits."""
    limit = data.config(variant).prompts.limit
    parts = [model_text(data, variant), f"variant {panels.readable(variant)}"]
    return ", ".join([*parts, f"numbers 0 to {limit - 1}", fits_text(wide)])
