"""Loss of each group of answers against the step: digits, triggers, copies."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import REFERENCE_COLOUR, new_figure, styled
from mechflow.studies import networks
from mechflow.studies.phase_changes import outcomes, variants
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.figures import curves, lines, palette

_COLUMNS = 3
_FEW = 7
"""Groups up to which bands and replicates can be told apart, and names on a linear scale."""


@styled
def draw_digits(data: FigureData, figures: Figures, style: Style) -> tuple[Figure, pd.DataFrame]:
    """Test loss of each digit of the answer, for all variants of addition."""
    return _by_variant(data, "addition", style)


@styled
def draw_triggers(data: FigureData, figures: Figures, style: Style) -> tuple[Figure, pd.DataFrame]:
    """Test loss of each trigger, for all variants of the skip trigram task."""
    return _by_variant(data, "skip_trigram", style)


@styled
def draw_copies(data: FigureData, figures: Figures, style: Style) -> tuple[Figure, pd.DataFrame]:
    """Test loss in each later copy of the subsequence, for all variants of induction."""
    return _by_variant(data, "induction", style)


def _by_variant(data: FigureData, task: str, style: Style) -> tuple[Figure, pd.DataFrame]:
    """A column for each variant, infinite data first: losses above, their logarithms below."""
    names = [name for f in (False, True) for name in variants.of_task(data, task, finite=f)]
    source = Source()
    if not names:
        text = f"no variant of the task {palette.TASK_NAMES[task]} was run"
        return curves.nothing(style, text), source.table(curves.SOURCE_COLUMNS)
    losses = networks.select(data.table("curves"), split="test")
    losses = losses[losses["metric"].str.startswith("loss.") & losses["variant"].isin(names)]
    colours = palette.colours(data, style)
    columns = min(_COLUMNS, len(names))
    blocks = -(-len(names) // columns)
    figure = new_figure(style, 2 if columns > 1 else 1, 8 + curves.HEIGHT_MM * blocks)
    grid = figure.subplots(2 * blocks, columns, squeeze=False)
    for index in range(blocks * columns):
        block, column = divmod(index, columns)
        above, below = grid[2 * block, column], grid[2 * block + 1, column]
        if index >= len(names):
            above.set_axis_off()
            below.set_axis_off()
            continue
        name = names[index]
        rows = networks.select(losses, variant=name)
        for axes, scale in ((above, "linear"), (below, "log")):
            _groups(axes, data, rows, scale, style, source)
        panels.variant_title(above, name, colours[name])
        above.tick_params(labelbottom=False)
        below.set_xlabel(palette.STEP)
        if column == 0:
            above.set_ylabel(palette.LOSS)
            below.set_ylabel(palette.LOSS)
    panels.key(
        figure,
        [
            panels.Mark("test loss", line="-"),
            panels.Mark("blind: the sequence is ignored", REFERENCE_COLOUR, (0, (1, 1.5))),
        ],
    )
    panels.note(figure, palette.scale(data, names, losses))
    return figure, source.table()


def _groups(
    axes: Axes, data: FigureData, rows: pd.DataFrame, scale: str, style: Style, source: Source
) -> None:
    """The groups of one variant on one scale, each with its name at the end of its line."""
    variant = str(rows["variant"].iloc[0])
    groups = outcomes.groups(data, variant)
    shades = palette.shades(groups)
    blind = _blind_losses(data, variant, groups)
    many = len(groups) > _FEW
    ends = {}
    for group in groups:
        labels = {"panel": scale, "variant": variant, "series": group}
        part = networks.select(rows, metric=outcomes.loss_name(group))
        if many:
            mean = lines.mean_alone(axes, part, shades[group], source, labels)
        else:
            mean = lines.seeds_and_mean(axes, part, shades[group], source, labels, log=True)
        ends[palette.group_name(group)] = (float(mean["mean"].iloc[-1]), shades[group])
    curves.fit(axes, rows, {"blind": blind}, scale)
    for y in blind:
        panels.reference_line(axes, y)
        source.add_row(panel=scale, variant=variant, series="blind", kind="reference", y=y)
    if scale == "log" or not many:
        palette.label_ends(axes, ends, style)


def _blind_losses(data: FigureData, variant: str, groups: Sequence[str]) -> list[float]:
    """The different losses of answers that ignore the sequence."""
    found = [y for g in groups for y in palette.reference_losses(data, [variant], "blind", g)]
    return np.unique(np.round(found, 9)).tolist()
