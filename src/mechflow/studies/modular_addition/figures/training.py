"""Training curves, and how often signs of weights flip."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import band
from mechflow.figures.source import Source
from mechflow.figures.style import INK, REFERENCE_COLOUR, SPLIT_LINES, new_figure, small_pt, styled
from mechflow.statistics import CensoredSummary, censored_summary, first_step_reaching
from mechflow.studies.modular_addition.config import Figures
from mechflow.studies.modular_addition.figures import shown

_COLUMNS = 3


@styled
def draw_training_curves(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Loss and accuracy of every variant against the training step, for both splits."""
    curves = data.table("curves")
    curves = curves[curves["step"] > 0]
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
        _generalisation(below, rows, style, source)
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
    for axes in grid[-1]:
        axes.set_xlabel(shown.STEP)
    panels.key(
        figure,
        [
            panels.Mark("test", line=SPLIT_LINES["test"]),
            panels.Mark("train", line=SPLIT_LINES["train"]),
            panels.Mark("all answers equally likely", REFERENCE_COLOUR, (0, (1, 1.5))),
            panels.Mark("a seed's first step at 99 % test accuracy", INK, marker="v"),
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


def _generalisation(axes: Axes, rows: pd.DataFrame, style: Style, source: Source) -> None:
    """Marks the step at which each replicate generalised, and says when and how many did."""
    accuracy = shown.of(rows, metric="accuracy", split="test")
    variant = str(accuracy["variant"].iloc[0])
    steps = {}
    for replicate, curve in accuracy.groupby("replicate", sort=True):
        step = first_step_reaching(curve["step"], curve["value"], shown.GENERALISED)
        steps[replicate] = step
        source.add_row(
            panel="accuracy", variant=variant, series="reaches 99 %", kind="replicate",
            replicate=int(str(replicate)), x=step, y=1.0,
        )  # fmt: skip
    reached = [step for step in steps.values() if step == step]
    axes.plot(reached, [1.03] * len(reached), ls="none", marker="v", ms=3, color=INK, clip_on=False)
    text = _reached(censored_summary(list(steps.values())))
    axes.annotate(
        text, (0.02, 0.86), xycoords="axes fraction", fontsize=small_pt(style), va="top",
        bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 0.8}, zorder=6, linespacing=1.15,
    )  # fmt: skip


def _reached(summary: CensoredSummary) -> str:
    if not summary.reached:
        return f"99 %: 0 of {summary.n} seeds"
    middle = f"\nmedian step {summary.median:.0f}" if summary.reached > summary.n / 2 else ""
    return f"99 %: {summary.reached} of {summary.n} seeds{middle}"


@styled
def draw_bit_flips(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """The share of weights whose sign changes in an update, matrix by matrix."""
    prefix = "flip_rate."
    variants = shown.compared(data, figures)
    curves = data.table("curves")
    flips = curves[curves["metric"].str.startswith(prefix) & (curves["step"] > 0)]
    flips = flips[flips["variant"].isin(variants)]
    colours = shown.colours(data, style)
    matrices = list(dict.fromkeys(flips["metric"]))
    columns = min(_COLUMNS, max(1, len(matrices)))
    rows = max(1, -(-len(matrices) // columns))
    figure = new_figure(style, 2, 14 + 36 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    source = Source()
    for axes, metric in zip(grid.flat, matrices, strict=False):
        for variant in variants:
            part = shown.of(flips, variant=variant, metric=metric)
            if part.empty:
                continue
            mean = band(part, "step")
            floor = _smallest_positive(flips["value"])
            panels.replicate_lines(axes, part, "step", colours[variant])
            mean["low"] = mean["low"].clip(lower=floor / 10)
            panels.mean_line(axes, mean, colours[variant])
            labels = {"panel": metric.removeprefix(prefix), "variant": variant, "series": "flips"}
            single = part[["replicate", "step", "value"]]
            single = single.rename(columns={"step": "x", "value": "y"})
            source.add(single, **labels, kind="replicate")
            source.add(mean.rename(columns={"mean": "y"}), **labels, kind="mean")
        axes.set_title(_matrix_name(metric))
    for axes in grid.flat[len(matrices) :]:
        axes.set_axis_off()
    if not matrices:
        panels.empty(grid[0, 0], "no flip rates were recorded", style)
        return figure, pd.DataFrame({"panel": pd.Series(dtype=str)})
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


def _smallest_positive(values: pd.Series) -> float:
    positive = values[values > 0]
    return float(positive.min()) if len(positive) else 1e-12


def _matrix_name(metric: str) -> str:
    """``$W_Q$`` for ``flip_rate.blocks.0.attn.W_Q``, with the block where there are several."""
    *_, block, _, matrix = metric.split(".")
    stem, _, index = matrix.partition("_")
    layer = "" if block == "0" else f" (block {block})"
    return rf"${stem}_{{{index}}}$" + layer
