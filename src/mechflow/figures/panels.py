"""Parts that figures share: bands, dots with intervals, heat maps, labels and notes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullLocator
from numpy.typing import ArrayLike

from mechflow.config.study import Style
from mechflow.figures.style import (
    INK,
    MAGNITUDES,
    NOTE_COLOUR,
    REFERENCE_COLOUR,
    SIGNED,
    small_pt,
)
from mechflow.statistics import Interval


@dataclass(frozen=True)
class Mark:
    """How a series looks in the key of a figure."""

    label: str
    colour: str = INK
    line: Any = "-"
    marker: str | None = None
    filled: bool = True

    def handle(self) -> Line2D:
        """The sample that the key shows."""
        face = self.colour if self.filled else "white"
        line = "none" if self.marker else self.line
        return Line2D(
            [], [], color=self.colour, ls=line, marker=self.marker, mfc=face, mew=0.6,
            label=self.label,
        )  # fmt: skip


def key(figure: Figure, marks: Sequence[Mark], columns: int | None = None) -> None:
    """The key of a whole figure, above its panels."""
    figure.legend(
        handles=[mark.handle() for mark in marks],
        loc="outside upper center",
        ncols=columns or len(marks),
    )


def note(figure: Figure, text: str) -> None:
    """A small line below the figure, such as the number of replicates."""
    figure.supxlabel(text, x=0.995, ha="right", color=NOTE_COLOUR)


def replicate_lines(axes: Axes, frame: pd.DataFrame, x: str, colour: str, line: Any = "-") -> None:
    """A thin line of ``value`` over x for each replicate."""
    for _, rows in frame.groupby("replicate", sort=True):
        axes.plot(rows[x], rows["value"], color=colour, ls=line, lw=0.35, alpha=0.45, zorder=2)


def mean_line(
    axes: Axes, band: pd.DataFrame, colour: str, line: Any = "-", *, shaded: bool = True
) -> None:
    """The mean over replicates and, with several of them, its interval as a band."""
    x = band["x"].to_numpy()
    if shaded and np.isfinite(band["low"]).any():
        low, high = band["low"].to_numpy(), band["high"].to_numpy()
        axes.fill_between(x, low, high, color=colour, alpha=0.18, lw=0, zorder=1)
    axes.plot(x, band["mean"], color=colour, ls=line, lw=1.1, zorder=3)


def limit_to(
    axes: Axes, values: ArrayLike, *, log: bool = False, axis: Literal["x", "y"] = "y"
) -> None:
    """Fits an axis to the measured values, so that a wide band cannot squeeze them."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite) & ((finite > 0) | (not log))]
    if not finite.size:
        return
    low, high = float(finite.min()), float(finite.max())
    if log:
        margin = max(10 ** (0.06 * np.log10(high / low)), 1.25)
        bounds = (low / margin, high * margin)
    else:
        margin = 0.06 * (high - low) or 0.06 * abs(high) or 0.5
        bounds = (low - margin, high + margin)
    (axes.set_ylim if axis == "y" else axes.set_xlim)(*bounds)


def log_axis(axes: Axes, axis: Literal["x", "y"] = "y") -> None:
    """A logarithmic axis with few labels, and more of them within less than a decade."""
    (axes.set_yscale if axis == "y" else axes.set_xscale)("log")
    chosen = axes.yaxis if axis == "y" else axes.xaxis
    chosen.set_major_locator(LogLocator(numticks=6))
    chosen.set_minor_locator(LogLocator(subs=tuple(range(2, 10)), numticks=6))
    chosen.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(1, 0.4)))


def dots(
    axes: Axes,
    x: float | int,
    values: ArrayLike,
    summary: Interval,
    colour: str,
    *,
    filled: bool = True,
    spread: float = 0.22,
    marker: str = "o",
    clip: bool = False,
) -> None:
    """A dot for each replicate, and the mean with its interval beside them as a bar."""
    n = np.size(values)
    offset = np.linspace(-spread / 2, spread / 2, n) if n > 1 else np.zeros(n)
    axes.plot(
        x + offset, values, ls="none", marker=marker, ms=2.4, mec=colour, mew=0.5,
        mfc=colour if filled else "white", alpha=0.85, zorder=3, clip_on=clip,
    )  # fmt: skip
    if not np.isfinite(summary.low):
        return
    axes.vlines(x, summary.low, summary.high, color=colour, lw=0.9, zorder=2)
    axes.hlines(summary.centre, x - 0.9 * spread, x + 0.9 * spread, color=colour, lw=1.2, zorder=2)


def heat_map(
    axes: Axes,
    values: ArrayLike,
    colours: str,
    limits: tuple[float, float] | None = None,
    *,
    square: bool = True,
) -> QuadMesh:
    """A matrix as colours, row 0 at the bottom; signed ones symmetric about 0 without limits."""
    grid = np.asarray(values, dtype=float)
    if limits is None:
        size = float(np.abs(grid).max(initial=0.0)) or 1.0
        limits = (-size, size) if colours == SIGNED else (0.0, size)
    rows, columns = grid.shape
    mesh = axes.pcolormesh(
        np.arange(columns + 1) - 0.5,
        np.arange(rows + 1) - 0.5,
        grid,
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        rasterized=True,
    )
    axes.spines[:].set_visible(colours == MAGNITUDES)  # its background is that of the page
    axes.spines[:].set_linewidth(0.3)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(-0.5, rows - 0.5)
    if square:
        axes.set_box_aspect(rows / columns)
    return mesh


def colour_bar(
    figure: Figure, mesh: QuadMesh, panels: Axes | Sequence[Axes], label: str, **placed: Any
) -> Axes:
    """The scale of a heat map, as thin as it can be."""
    options = {"shrink": 0.6, "aspect": 30, "pad": 0.015, **placed}
    bar = figure.colorbar(mesh, ax=panels, **options)
    bar.outline.set_visible(False)
    bar.ax.tick_params(width=0.4, size=1.6)
    bar.set_label(label)
    return bar.ax


def reference_line(axes: Axes, y: float | int) -> None:
    """A dotted level line, such as chance."""
    axes.axhline(y, color=REFERENCE_COLOUR, ls=(0, (1, 1.5)), lw=0.8, zorder=0)


def line_end(axes: Axes, line: pd.DataFrame, text: str, colour: str, style: Style) -> None:
    """A direct label at the last point of a mean line."""
    last = line.iloc[-1]
    axes.annotate(
        text, (last["x"], last["mean"]), (2, 0), textcoords="offset points", va="center",
        fontsize=small_pt(style), color=colour, annotation_clip=False, zorder=6,
    )  # fmt: skip


def corner_text(
    axes: Axes, text: str, style: Style, *, corner: str = "upper left", colour: str = INK
) -> Text:
    """Small text in a corner of a panel."""
    vertical, horizontal = corner.split()
    return axes.text(
        0.02 if horizontal == "left" else 0.98,
        0.97 if vertical == "upper" else 0.03,
        text,
        transform=axes.transAxes,
        ha=horizontal,
        va="top" if vertical == "upper" else "bottom",
        fontsize=small_pt(style),
        color=colour,
        linespacing=1.15,
        zorder=5,
    )


def empty(axes: Axes, text: str, style: Style) -> None:
    """A panel that has nothing to show, and says why."""
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center",
        fontsize=small_pt(style), color=NOTE_COLOUR,
    )  # fmt: skip


def variant_title(
    axes: Axes, name: str, colour: str, place: Literal["center", "left"] = "center"
) -> None:
    """The name of a variant in its colour, above its panel."""
    axes.set_title(readable(name), loc=place, color=colour, fontweight="bold")


def row_title(axes: Axes, name: str, colour: str, label: str) -> None:
    """The name of a variant in its colour, left of its row, outside the label of the axis."""
    axes.set_ylabel(label)
    axes.annotate(
        readable(name), (0, 0.5), (-27, 0), xycoords="axes fraction", textcoords="offset points",
        rotation=90, ha="right", va="center", color=colour, fontweight="bold",
    )  # fmt: skip


def percent(share: float) -> str:
    """A share as a whole percentage."""
    return f"{100 * share:.0f} %"


def readable(name: str) -> str:
    """A variant's name as words."""
    return name.replace("_", " ")


def ticks_at(axes: Axes, positions: Sequence[float | int], labels: Sequence[str]) -> None:
    """Labelled categories along the x axis, without tick marks."""
    axes.set_xticks(list(positions), list(labels))
    axes.tick_params(axis="x", length=0)
    axes.xaxis.set_minor_locator(NullLocator())


def letter(axes: Axes, text: str) -> None:
    """The letter by which a text refers to a panel."""
    axes.annotate(
        text, (0, 1), (-4, 3), xycoords="axes fraction", textcoords="offset points",
        fontweight="bold", ha="right", va="bottom",
    )  # fmt: skip
