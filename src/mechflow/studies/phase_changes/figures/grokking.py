"""When networks with a finite train set learn it, and when they learn the test set."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from mechflow.config.study import Style
from mechflow.curves import censored_summary
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import INK, REFERENCE_COLOUR, new_figure, small_pt, styled
from mechflow.studies import networks
from mechflow.studies.phase_changes import outcomes, variants
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.figures import curves, palette

_COLUMNS = 3
_ROW_MM = 4.0
_EDGE = 1.05
"""Where networks that never learn are marked, as a multiple of the last step."""


@styled
def draw_grokking(data: FigureData, figures: Figures, style: Style) -> tuple[Figure, pd.DataFrame]:
    """Steps at which train and test set are learnt, network by network, and the delay."""
    names = variants.finite(data)
    source = Source()
    if not names:
        text = "no variant with a finite train set was run"
        return curves.nothing(style, text), source.table(curves.SOURCE_COLUMNS)
    times = outcomes.grokking_times(data)
    colours = palette.colours(data, style)
    columns = min(_COLUMNS, len(names))
    blocks = -(-len(names) // columns)
    seeds = int(times.groupby("variant").size().max())
    figure = new_figure(style, 2 if columns > 1 else 1, 8 + (24 + _ROW_MM * seeds) * blocks)
    grid = figure.subplots(blocks, columns, squeeze=False)
    for axes, name in zip(grid.flat, names, strict=False):
        found = networks.select(times, variant=name)
        last = networks.select(data.table("curves"), variant=name)["step"].max()
        _networks(axes, found, float(last), colours[name], source)
        axes.set_title(panels.readable(name), color=colours[name], fontweight="bold", pad=21)
        _delay(axes, found, style)
        axes.set_xlabel(palette.STEP)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel("seed")
    panels.key(
        figure,
        [
            panels.Mark("train set learnt", INK, marker="o", filled=False),
            panels.Mark("test set learnt", INK, marker="o"),
            panels.Mark("not by the end of training", INK, marker=">", filled=False),
        ],
    )
    panels.note(figure, palette.scale(data, names, times))
    return figure, source.table()


def _networks(axes: Axes, times: pd.DataFrame, last: float, colour: str, source: Source) -> None:
    """A row for each network: when it learns both sets; what it never does is at the edge."""
    edge = _EDGE * last
    variant = str(times["variant"].iloc[0])
    rows = np.arange(len(times))
    starts, ends = (times[name].fillna(edge) for name in ("train_step", "test_step"))
    axes.hlines(rows, starts, ends, color=colour, lw=0.9, alpha=0.55, zorder=2)
    # Where both are learnt at once, the larger open mark surrounds the filled one.
    for series, size, face in (("train", 4.6, "none"), ("test", 2.8, colour)):
        steps = times[f"{series}_step"]
        never = steps.isna().to_numpy()
        for marker, chosen, fill in (("o", ~never, face), (">", never, "none")):
            if chosen.any():
                axes.plot(
                    steps.fillna(edge)[chosen], rows[chosen], ls="none", marker=marker, ms=size,
                    mfc=fill, mec=colour, mew=0.7, zorder=3, clip_on=False,
                )  # fmt: skip
        drawn = times[["replicate"]].assign(x=steps, never_until=np.where(never, last, np.nan))
        source.add(drawn, panel=variant, variant=variant, series=series, kind="replicate")
    axes.axvline(last, color=REFERENCE_COLOUR, lw=0.6, ls=(0, (1, 1.5)), zorder=0)
    axes.set_yticks(rows.tolist(), [str(replicate) for replicate in times["replicate"]])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(times) - 0.5, -0.5)
    axes.set_xlim(0, 1.1 * last)


def _delay(axes: Axes, times: pd.DataFrame, style: Style) -> None:
    """The delay between both sets, in words between the name of the variant and its panel."""
    delay = censored_summary(times["delay"])
    text = f"test set learnt by {times['test_step'].notna().sum()} of {len(times)} seeds"
    if math.isfinite(delay.median):
        text += f",\n{delay.median:.0f} steps after the train set"
    note = axes.annotate(
        text, (0.5, 1), (0, 3), xycoords="axes fraction", textcoords="offset points", ha="center",
        va="bottom", fontsize=small_pt(style), linespacing=1.15,
    )  # fmt: skip
    # The title above it keeps the room; its width must not push panels apart.
    note.set_in_layout(False)
