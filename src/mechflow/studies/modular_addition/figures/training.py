"""Training curves, and how often signs of weights flip."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.curves import censored_summary
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import band
from mechflow.figures.source import Source
from mechflow.figures.style import INK, REFERENCE_COLOUR, SPLIT_LINES, new_figure, small_pt, styled
from mechflow.studies.modular_addition import outcomes
from mechflow.studies.modular_addition.config import Figures
from mechflow.studies.modular_addition.figures import shown

_COLUMNS = 3
_BINS = 10
_MATRICES = ("W_Q", "W_K", "W_V", "W_O", "W_in", "W_out")


@styled
def draw_training_curves(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Loss and accuracy of every variant against the training step, for both splits."""
    curves = data.table("curves")
    curves = curves[curves["step"] > 0]
    steps = outcomes.generalisation_steps(data)
    colours = shown.colours(data, style)
    columns = min(_COLUMNS, len(data.variants))
    blocks = -(-len(data.variants) // columns)
    figure = new_figure(style, 2, 12 + 62 * blocks)
    grid = figure.subplots(2 * blocks, columns, squeeze=False, sharex=True, sharey="row")
    source = Source()
    for index in range(blocks * columns):
        block, column = divmod(index, columns)
        above, below = grid[2 * block, column], grid[2 * block + 1, column]
        if index >= len(data.variants):
            above.set_axis_off()
            below.set_axis_off()
            continue
        variant = data.variants[index]
        rows = shown.of(curves, variant=variant)
        _curve(above, shown.of(rows, metric="loss"), colours[variant], source)
        _curve(below, shown.of(rows, metric="accuracy"), colours[variant], source)
        panels.variant_title(above, variant, colours[variant])
        uniform = shown.uniform_loss(data, variant)
        panels.reference_line(above, uniform)
        source.add_row(panel="loss", variant=variant, series="uniform", kind="reference", y=uniform)
        text = _generalisation(below, steps.loc[variant], variant, source)
        below.set_title(text, fontsize=small_pt(style), pad=5)
        if index + columns >= len(data.variants):
            below.tick_params(labelbottom=True)
            below.set_xlabel(shown.STEP)
        if column == 0:
            above.set_ylabel("loss (nats)")
            below.set_ylabel("accuracy")
    for block in range(blocks):
        losses = shown.of(curves, metric="loss")
        used = data.variants[block * columns : (block + 1) * columns]
        panels.log_axis(grid[2 * block, 0])
        losses = losses[losses["variant"].isin(used)]
        floor = [shown.uniform_loss(data, v) for v in used]
        panels.limit_to(grid[2 * block, 0], [*losses["value"], *floor], log=True)
        grid[2 * block + 1, 0].set_ylim(-0.03, 1.05)
    panels.log_axis(grid[0, 0], "x")
    panels.limit_to(grid[0, 0], curves["step"], log=True, axis="x")
    panels.key(
        figure,
        [
            panels.Mark("test", line=SPLIT_LINES["test"]),
            panels.Mark("train", line=SPLIT_LINES["train"]),
            panels.Mark("all answers equally likely", REFERENCE_COLOUR, (0, (1, 1.5))),
            panels.Mark("test accuracy of a seed stays at 99 %", INK, marker="v"),
        ],
    )
    panels.note(figure, shown.scale(data, data.variants, curves))
    return figure, source.table()


def _curve(axes: Axes, rows: pd.DataFrame, colour: str, source: Source) -> None:
    """Both splits of one metric: each replicate, their mean and its interval."""
    for split, line in SPLIT_LINES.items():
        part = shown.of(rows, split=split)
        metric, variant = str(part["metric"].iloc[0]), str(part["variant"].iloc[0])
        mean = band(part, "step", log=metric == "loss")
        if metric == "accuracy":
            mean[["low", "high"]] = mean[["low", "high"]].clip(0.0, 1.0)
        panels.replicate_lines(axes, part, "step", colour, line)
        panels.mean_line(axes, mean, colour, line)
        labels = {"panel": metric, "variant": variant, "series": split}
        single = part[["replicate", "step", "value"]].rename(columns={"step": "x", "value": "y"})
        source.add(single, **labels, kind="replicate")
        source.add(mean.rename(columns={"mean": "y"}), **labels, kind="mean")


def _generalisation(axes: Axes, steps: pd.Series, variant: str, source: Source) -> str:
    """Marks the step at which each replicate generalised; says when and how many did."""
    for replicate, step in steps.items():
        source.add_row(
            panel="accuracy", variant=variant, series="stays at 99 %", kind="replicate",
            replicate=int(str(replicate)), x=step, y=1.0,
        )  # fmt: skip
    reached = steps.dropna()
    if len(reached):
        high = [1.04] * len(reached)
        axes.plot(reached, high, ls="none", marker="v", ms=3, mew=0, color=INK, clip_on=False)
    summary = censored_summary(steps)
    count = f"{summary.reached} of {summary.n} seeds generalise"
    middle = f", median step {summary.median:.0f}" if math.isfinite(summary.median) else ""
    return count + middle


@styled
def draw_bit_flips(data: FigureData, figures: Figures, style: Style) -> tuple[Figure, pd.DataFrame]:
    """The share of weights whose sign changes in an update, matrix by matrix."""
    prefix = "flip_rate."
    variants = shown.compared(data, figures)
    curves = data.table("curves")
    flips = curves[curves["metric"].str.startswith(prefix) & (curves["step"] > 0)]
    flips = _binned(flips[flips["variant"].isin(variants)])
    colours = shown.colours(data, style)
    matrices = sorted(flips["metric"].unique(), key=_order)
    columns = min(_COLUMNS, len(matrices))
    rows = -(-len(matrices) // columns)
    figure = new_figure(style, 2, 14 + 36 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    source = Source()
    floor = _smallest_positive(flips["value"])
    for axes, metric in zip(grid.flat, matrices, strict=False):
        for variant in variants:
            part = shown.of(flips, variant=variant, metric=metric)
            mean = band(part, "step")
            # A logarithmic axis has no zero: lines end there, instead of falling out of the panel.
            part = part.assign(value=part["value"].where(part["value"] > 0))
            mean = mean.assign(
                mean=mean["mean"].where(mean["mean"] > 0), low=mean["low"].clip(lower=floor / 10)
            )
            panels.replicate_lines(axes, part, "step", colours[variant])
            panels.mean_line(axes, mean, colours[variant])
            labels = {"panel": metric.removeprefix(prefix), "variant": variant, "series": "flips"}
            single = part[["replicate", "step", "value"]]
            single = single.rename(columns={"step": "x", "value": "y"})
            source.add(single, **labels, kind="replicate")
            source.add(mean.rename(columns={"mean": "y"}), **labels, kind="mean")
        axes.set_title(_matrix_name(metric))
    for axes in grid.flat[len(matrices) :]:
        axes.set_axis_off()
    panels.log_axis(grid[0, 0])
    panels.log_axis(grid[0, 0], "x")
    panels.limit_to(grid[0, 0], flips["value"], log=True)
    panels.limit_to(grid[0, 0], flips["step"], log=True, axis="x")
    for axes in grid[:, 0]:
        axes.set_ylabel("signs flipped per step")
    for axes in grid[-1]:
        axes.set_xlabel(shown.STEP)
    panels.key(figure, [panels.Mark(panels.readable(v), colours[v]) for v in variants])
    panels.note(figure, shown.scale(data, variants, flips))
    return figure, source.table()


def _binned(flips: pd.DataFrame) -> pd.DataFrame:
    """Mean rates over stretches of training of equal length in log step.

    The rates of single steps are mostly zero in small matrices, and cannot be drawn as they are.
    """
    if flips.empty:
        return flips
    low, high = flips["step"].min(), flips["step"].max()
    edges = np.geomspace(low, high * 1.0001, _BINS + 1)
    stretch = np.searchsorted(edges, flips["step"].to_numpy(), side="right") - 1
    keys = ["variant", "replicate", "metric"]
    table = flips.assign(stretch=stretch).groupby([*keys, "stretch"], as_index=False)
    binned = table.agg(value=("value", "mean"))
    middle = np.sqrt(edges[:-1] * edges[1:])
    return binned.assign(step=middle[binned["stretch"]])


def _order(metric: str) -> tuple[str, int]:
    """Sorts matrices as data flows through a block."""
    *block, matrix = metric.split(".")
    return block[2], _MATRICES.index(matrix) if matrix in _MATRICES else len(_MATRICES)


def _smallest_positive(values: pd.Series) -> float:
    positive = values[values > 0]
    return float(positive.min()) if len(positive) else 1e-12


def _matrix_name(metric: str) -> str:
    """``$W_Q$`` for ``flip_rate.blocks.0.attn.W_Q``, with the block where there are several."""
    *_, block, _, matrix = metric.split(".")
    stem, _, index = matrix.partition("_")
    layer = "" if block == "0" else f" (block {block})"
    return rf"${stem}_{{{index}}}$" + layer
