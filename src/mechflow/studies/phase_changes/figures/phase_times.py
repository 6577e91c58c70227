"""When the loss of each group of answers falls, and how long that takes."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import dots
from mechflow.figures.source import Source
from mechflow.figures.style import INK, NOTE_COLOUR, new_figure, small_pt, styled
from mechflow.studies import networks
from mechflow.studies.phase_changes import outcomes, variants
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.figures import curves, palette

_ROW_MM = 5.0
_REPLICATES = (-0.36, 0.14)
_MEAN = 0.33
"""Where replicates and their mean stand about the middle of a row."""


class Row(NamedTuple):
    """One line of a panel; a variant's name has no group."""

    variant: str
    group: str | None


@styled
def draw_phase_times(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Steepest step and duration of the drop for every variant on infinite data, group by group."""
    by_task = {task: _rows(data, task) for task in variants.TASKS}
    by_task = {task: rows for task, rows in by_task.items() if rows}
    source = Source()
    if not by_task:
        figure = curves.nothing(style, "no variant on infinite data was run")
        return figure, source.table(curves.SOURCE_COLUMNS)
    changes = outcomes.phase_changes(data)
    colours = palette.colours(data, style)
    most = max(len(rows) for rows in by_task.values())
    height = 24 + _ROW_MM * most
    alone = len(by_task) == 1
    figure = new_figure(style, 1 if alone else 2, height)
    grid = figure.subplots(1, len(by_task), squeeze=False)
    for axes, (task, rows) in zip(grid[0], by_task.items(), strict=True):
        axes.set_xlim(0, _last_step(data, rows))
        for place, row in enumerate(rows):
            if row.group is not None:
                found = networks.select(changes, variant=row.variant, group=row.group)
                _draw_row(axes, place, found, colours[row.variant], style, source)
        _label_rows(axes, rows, colours)
        axes.set_ylim(most - 0.4, -0.5)
        axes.set_xlabel(palette.STEP)
        axes.set_title(palette.TASK_NAMES[task], fontweight="bold")
    panels.key(
        figure,
        [
            panels.Mark("steepest drop of a seed", marker="o"),
            panels.Mark("75 % to 25 % of the drop remain"),
            panels.Mark("mean of the steepest drops, 95 % interval", marker="D", filled=False),
        ],
        columns=1 if alone else None,
    )
    names = list(dict.fromkeys(row.variant for rows in by_task.values() for row in rows))
    panels.note(figure, palette.scale(data, names, changes))
    return figure, source.table()


def _rows(data: FigureData, task: str) -> list[Row]:
    """For each variant its name, the whole loss and each group."""
    return [
        Row(name, group)
        for name in variants.of_task(data, task, finite=False)
        for group in (None, outcomes.ALL, *outcomes.groups(data, name))
    ]


def _draw_row(
    axes: Axes, place: int, found: pd.DataFrame, colour: str, style: Style, source: Source
) -> None:
    """The replicates of one group below one another, and their mean across them."""
    n = len(found)
    heights = place + (np.linspace(*_REPLICATES, n) if n > 1 else np.zeros(1))
    axes.hlines(heights, found["t75"], found["t25"], color=colour, lw=0.9, alpha=0.55, zorder=2)
    axes.plot(
        found["steepest_step"], heights, ls="none", marker="o", ms=2.0, mew=0, color=colour,
        zorder=3,
    )  # fmt: skip
    variant, group = str(found["variant"].iloc[0]), str(found["group"].iloc[0])
    labels = {"panel": variant, "variant": variant, "series": group}
    columns = {"steepest_step": "x", "t75": "low", "t25": "high"}
    single = found[["replicate", *columns]].rename(columns=columns)
    source.add(single, **labels, kind="replicate")
    changed = int(found["steepest_step"].notna().sum())
    if changed < n:
        text = f"in {changed} of {n} seeds" if changed else f"none in {n} seeds"
        late = found["t50"].mean() > axes.get_xlim()[1] / 2
        _say(axes, place, text, "left" if late else "right", style)
        return
    mean = dots(found["steepest_step"])
    axes.plot(mean.centre, place + _MEAN, "D", ms=2.4, mfc="white", mec=INK, mew=0.7, zorder=5)
    axes.hlines(place + _MEAN, mean.low, mean.high, color=INK, lw=0.7, zorder=4)
    source.add_row(**labels, kind="mean", x=mean.centre, low=mean.low, high=mean.high, n=mean.n)


def _say(axes: Axes, place: int, text: str, free: Literal["left", "right"], style: Style) -> None:
    """A note at the end of a row that is free of marks."""
    inwards = 2 if free == "left" else -2
    axes.annotate(
        text, (float(free == "right"), place), (inwards, 0), xycoords=axes.get_yaxis_transform(),
        ha=free, va="center", textcoords="offset points", fontsize=small_pt(style),
        color=NOTE_COLOUR, zorder=6,
    )  # fmt: skip


def _label_rows(axes: Axes, rows: Sequence[Row], colours: dict[str, str]) -> None:
    """Groups along the y axis from above, under the names of their variants."""
    texts = [
        panels.readable(row.variant) if row.group is None else palette.group_name(row.group)
        for row in rows
    ]
    axes.set_yticks(range(len(rows)), texts)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        if row.group is None:
            label.set(color=colours[row.variant], fontweight="bold")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", length=0)


def _last_step(data: FigureData, rows: Sequence[Row]) -> int:
    table = data.table("curves")
    names = {row.variant for row in rows}
    return int(table.loc[table["variant"].isin(names), "step"].max())
