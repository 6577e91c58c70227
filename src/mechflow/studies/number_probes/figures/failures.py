"""Which numbers a probe does not read, and by how much it is wrong."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import LEVELS, new_figure, styled
from mechflow.statistics import Interval, share_interval
from mechflow.studies.number_probes import answers, outcomes
from mechflow.studies.number_probes.config import Figures
from mechflow.studies.number_probes.figures import layered, palette

SHOWN = ("sinusoidal", "digits")
ROW = 100
"""Numbers in one row of the map."""
SIZES = (1, 10, 100)
"""Bounds between classes of errors; each class begins at the one before."""


@styled
def draw_failures(data: FigureData, figures: Figures, style: Style) -> tuple[Figure, pd.DataFrame]:
    """Maps of all numbers, shares by size and by last digit, and errors, for two codes."""
    variant = figures.main
    probes = [p for p in SHOWN if not outcomes.accuracies(data, variant, p).empty]
    source = Source()
    figure = new_figure(style, 2, 118)
    if not probes:
        panels.empty(figure.subplots(), "no probe with these codes was trained", style)
        return figure, source.table(("panel", "variant", "series", "value"))
    limit = data.config(variant).prompts.limit
    grid = figure.add_gridspec(3, 2 * len(probes), height_ratios=(0.8, 1, 1))
    maps: list[Axes] = []
    first: dict[tuple[int, int], Axes] = {}
    for index, probe in enumerate(probes):
        layer = answers.shown_layer(data, variant, probe, figures.layer)
        colour = palette.probe_colour(probe)
        labels: dict[str, Any] = {"variant": variant, "series": probe, "layer": layer}
        shares = answers.by_number(data, variant, probe, layer)
        axes = figure.add_subplot(grid[0, 2 * index : 2 * index + 2])
        title = f"{palette.probe_name(probe)}, "
        title += palette.layer_name(layer, outcomes.last_layer(data, variant))
        axes.set_title(title, loc="left", color=colour, fontweight="bold")
        mesh = _map(axes, shares, limit, labels, source, named=not index)
        maps.append(axes)
        for row, column, draw_panel in (
            (1, 0, _by_size), (1, 1, _by_last_digit), (2, 0, _error_sizes), (2, 1, _wrong_places),
        ):  # fmt: skip
            panel = figure.add_subplot(
                grid[row, 2 * index + column], sharey=first.get((row, column))
            )
            first.setdefault((row, column), panel)
            draw_panel(panel, data, shares, colour, labels, source, style)
            panel.set_ylim(-0.02, 1.02)
            panel.tick_params(labelleft=not column or row == 2)
            if not index and not column:
                panel.set_ylabel("share read" if row == 1 else "share of numbers")
            if row == 2 and column:
                panel.set_ylabel("share of errors")
    bar = panels.colour_bar(figure, mesh, maps, "share read", shrink=0.9, aspect=12)
    bar.set_yticks([0, 0.5, 1])
    fits = outcomes.accuracies(data, variant, probes[0])
    panels.note(figure, layered.scale_text(data, variant, fits))
    return figure, source.table()


def _map(
    axes: Axes, shares: pd.DataFrame, limit: int, labels: dict[str, Any], source: Source, *,
    named: bool,
) -> QuadMesh:  # fmt: skip
    """All numbers, a hundred of them in each row."""
    rows = -(-limit // ROW)
    values = np.full(rows * ROW, np.nan)
    values[shares["number"]] = shares["share"]
    mesh = panels.heat_map(axes, values.reshape(rows, ROW), LEVELS, (0.0, 1.0), square=False)
    axes.set_xticks([0, 20, 40, 60, 80, 99])
    step = max(1, rows // 5)
    axes.set_yticks(range(0, rows, step), [str(ROW * row) for row in range(0, rows, step)])
    axes.set_xlabel("last two digits")
    axes.tick_params(length=0)
    if named:
        axes.set_ylabel("hundreds")
    source.add(
        shares.rename(columns={"number": "x", "share": "value"})[["x", "value", "prompts"]],
        panel="map", kind="number", **labels,
    )  # fmt: skip
    return mesh


def _by_size(
    axes: Axes, data: FigureData, shares: pd.DataFrame, colour: str, labels: dict[str, Any],
    source: Source, style: Style,
) -> None:  # fmt: skip
    found = answers.in_groups(shares, answers.size_class(shares["number"]))
    names = answers.size_class_names([group for group, _ in found])
    _bars(axes, names, [interval for _, interval in found], colour, "size", labels, source)
    axes.tick_params(axis="x", rotation=90)
    axes.set_xlabel("number")


def _by_last_digit(
    axes: Axes, data: FigureData, shares: pd.DataFrame, colour: str, labels: dict[str, Any],
    source: Source, style: Style,
) -> None:  # fmt: skip
    found = answers.in_groups(shares, shares["number"] % 10)
    names = [str(digit) for digit, _ in found]
    _bars(axes, names, [interval for _, interval in found], colour, "last digit", labels, source)
    axes.set_xlabel("last digit")


def _error_sizes(
    axes: Axes, data: FigureData, shares: pd.DataFrame, colour: str, labels: dict[str, Any],
    source: Source, style: Style,
) -> None:  # fmt: skip
    errors = answers.error_sizes(data, labels["variant"], labels["series"], labels["layer"])
    if errors.empty:
        panels.empty(axes, "no number\nis read wrongly", style)
        return
    classes = np.searchsorted(SIZES, errors["error"].abs().to_numpy(), side="right")
    names = [*(f"< {bound}" for bound in SIZES), f"≥ {SIZES[-1]}"]
    found = [
        share_interval(int((classes == index).sum()), len(errors)) for index in range(len(names))
    ]
    _bars(axes, names, found, colour, "size of error", labels, source)
    axes.set_xlabel(f"size of mean error\n({len(errors)} numbers with errors)")


def _wrong_places(
    axes: Axes, data: FigureData, shares: pd.DataFrame, colour: str, labels: dict[str, Any],
    source: Source, style: Style,
) -> None:  # fmt: skip
    errors = answers.single_errors(data, labels["variant"], labels["series"], labels["layer"])
    if errors.empty:
        panels.empty(axes, "no number is read\nwrongly once", style)
        return
    places = len(str(data.config(labels["variant"]).prompts.limit - 1))
    found = answers.wrong_places(errors, places)
    _bars(axes, answers.PLACES[:places], found, colour, "wrong digit", labels, source)
    axes.set_xlabel(f"digit that is wrong\n({len(errors)} single errors)")


def _bars(
    axes: Axes, names: Sequence[str], found: Sequence[Interval], colour: str, panel: str,
    labels: dict[str, Any], source: Source,
) -> None:  # fmt: skip
    """A dot with its interval for each class."""
    for place, (name, interval) in enumerate(zip(names, found, strict=True)):
        axes.vlines(place, interval.low, interval.high, color=colour, lw=0.9)
        axes.plot(place, interval.centre, "o", ms=2.6, color=colour, clip_on=False, zorder=3)
        source.add_row(
            panel=panel, kind="mean", x_name=name, x=place, mean=interval.centre,
            low=interval.low, high=interval.high, n=interval.n, **labels,
        )  # fmt: skip
    panels.ticks_at(axes, range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
