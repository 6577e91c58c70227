"""Sums without a carry, with one, and with a cascade: are those with more carries learnt later?"""

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.curves import first_step_reaching
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import band, dots
from mechflow.figures.source import Source
from mechflow.figures.style import INK, new_figure, small_pt, styled
from mechflow.statistics import clipped, mean_interval
from mechflow.studies import networks
from mechflow.studies.phase_changes import outcomes, variants
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.figures import lines, palette
from mechflow.studies.phase_changes.figures.curves import SOURCE_COLUMNS, nothing
from mechflow.studies.phase_changes.figures.digit_basis import NO_ADDITION
from mechflow.studies.phase_changes.tasks.addition import SUBSETS

NAMES: Mapping[str, str] = {"none": "no carry", "one": "one carry", "cascade": "cascade"}
COLOURS: Mapping[str, str] = {"none": "#cf9fd6", "one": "#9a45ab", "cascade": "#430a55"}
"""Colours of the kinds of sum, darker for more carries."""

_OVERALL_LINE = (0, (3.5, 1.2))


@styled
def draw_carries(data: FigureData, figures: Figures, style: Style) -> tuple[Figure, pd.DataFrame]:
    """Loss and accuracy of each kind of sum through training, and when each is learnt."""
    chosen = variants.of_task(data, "addition")
    source = Source()
    if not chosen:
        return nothing(style, NO_ADDITION), source.table(SOURCE_COLUMNS)
    colours = palette.colours(data, style)
    progress = networks.select(data.table("progress"), split="test", control="none")
    figure = new_figure(style, 2, 152)
    grid = figure.subplots(
        4, len(chosen), squeeze=False, sharey="row", height_ratios=(1, 1, 0.75, 0.75)
    )
    for column, variant in enumerate(chosen):
        rows = networks.select(progress, variant=variant)
        losses, accuracies, behind, learnt = grid[:, column]
        panels.variant_title(losses, variant, colours[variant])
        _curves(losses, rows, "loss", source)
        _curves(accuracies, rows, "accuracy", source)
        panels.reference_line(accuracies, outcomes.LEARNT)
        _behind(behind, rows, source)
        for axes in (losses, accuracies, behind):
            axes.set_xlim(0, rows["step"].max())
            axes.tick_params(labelbottom=axes is behind)
        behind.set_xlabel(palette.STEP)
        _learnt(learnt, learning_steps(rows), variant, style, source)
    shown = progress[progress["metric"].isin([f"loss.carries.{kind}" for kind in SUBSETS])]
    shown = shown[shown["variant"].isin(chosen)]
    panels.log_axis(grid[0, 0])
    panels.limit_to(grid[0, 0], shown["value"], log=True)
    for axes, variant in zip(grid[0], chosen, strict=True):
        palette.mark_references(
            axes, {"blind": palette.reference_losses(data, [variant], "blind")}, style
        )
    grid[0, 0].set_ylabel(palette.LOSS)
    grid[1, 0].set_ylim(0.0, 1.02)
    grid[1, 0].set_ylabel("accuracy per digit")
    table = source.table()
    behind_others = networks.select(table, panel="behind", kind="replicate")
    panels.limit_to(grid[2, 0], behind_others["y"])
    grid[2, 0].set_ylabel("accuracy minus\nthat without carry")
    grid[3, 0].set_ylabel(f"learnt ({panels.percent(outcomes.LEARNT)} right)\nat step [updates]")
    grid[3, 0].set_ylim(0.0, 1.05 * shown["step"].max())
    panels.key(
        figure,
        [
            *(panels.Mark(NAMES[kind], COLOURS[kind]) for kind in SUBSETS),
            panels.Mark("all sums of the test set", INK, _OVERALL_LINE),
        ],
    )
    panels.note(figure, palette.scale(data, chosen, shown))
    return figure, table


def _curves(axes: Axes, rows: pd.DataFrame, metric: str, source: Source) -> None:
    """A line for each kind of sum; the loss of all sums beside them."""
    labels = {"panel": metric, "variant": str(rows["variant"].iloc[0])}
    log = metric == "loss"
    series = [(f"{metric}.carries.{kind}", kind, COLOURS[kind]) for kind in SUBSETS]
    for name, kind, colour in series:
        part = networks.select(rows, metric=name)
        bounds = None if log else (0.0, 1.0)
        own = {**labels, "series": kind}
        lines.seeds_and_mean(axes, part, colour, source, own, log=log, bounds=bounds)
    overall = networks.select(rows, metric=metric)
    if not overall.empty:
        mean = band(overall, "step", log=log)
        axes.plot(mean["x"], mean["mean"], color=INK, ls=_OVERALL_LINE, lw=0.8, zorder=4)
        source.add(mean.rename(columns={"mean": "y"}), **labels, series="all", kind="mean")


def _behind(axes: Axes, rows: pd.DataFrame, source: Source) -> None:
    """How much less accurate each network is on sums with carries than on those without."""
    labels = {"panel": "behind", "variant": str(rows["variant"].iloc[0])}
    plain, *others = SUBSETS
    by_kind = {
        kind: networks.select(rows, metric=f"accuracy.carries.{kind}").set_index(
            ["replicate", "step"]
        )["value"]
        for kind in SUBSETS
    }
    panels.reference_line(axes, 0.0)
    for kind in others:
        gap = (by_kind[kind] - by_kind[plain]).reset_index()
        lines.seeds_and_mean(axes, gap, COLOURS[kind], source, {**labels, "series": kind})


def learning_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """The step at which each network has learnt each kind of sum, a column each; NaN for never.

    Args:
        rows: progress of one variant.
    """
    found = {
        kind: {
            replicate: first_step_reaching(
                curve["step"], curve["value"], outcomes.LEARNT, outcomes.SUSTAINED
            )
            for replicate, curve in networks.select(
                rows, metric=f"accuracy.carries.{kind}"
            ).groupby("replicate")
        }
        for kind in SUBSETS
    }
    return pd.DataFrame(found).rename_axis("replicate")


def _learnt(axes: Axes, steps: pd.DataFrame, variant: str, style: Style, source: Source) -> None:
    """Dots of all networks that learnt each kind, how many never did, and how much later."""
    labels = {"panel": "learnt", "variant": variant}
    for place, kind in enumerate(SUBSETS):
        present = steps[kind].dropna()
        summary = clipped(dots(steps[kind].to_numpy()), 0.0, math.inf)
        if len(present):
            panels.dots(axes, place, present.to_list(), summary, COLOURS[kind], spread=0.3)
        if len(present) < len(steps):
            axes.annotate(
                f"{len(steps) - len(present)} of {len(steps)} never", (place, 0), (0, 2),
                xycoords=("data", "axes fraction"), textcoords="offset points", ha="center",
                va="bottom", fontsize=small_pt(style), color=COLOURS[kind],
            )  # fmt: skip
        single = steps[kind].rename("y").reset_index()
        source.add(single, **labels, series=kind, kind="replicate")
        source.add_row(
            **labels, series=kind, kind="mean", y=summary.centre, low=summary.low,
            high=summary.high, n=summary.n,
        )  # fmt: skip
    panels.ticks_at(axes, range(len(SUBSETS)), [NAMES[kind] for kind in SUBSETS])
    axes.set_xlim(-0.5, len(SUBSETS) - 0.5)
    axes.set_title(_later(steps, labels, source), fontsize=small_pt(style))


def _later(steps: pd.DataFrame, labels: dict[str, str], source: Source) -> str:
    """How much later cascades are learnt than sums without a carry, network by network."""
    first, *_, last = SUBSETS
    delays = (steps[last] - steps[first]).dropna()
    found = mean_interval(delays)
    source.add_row(
        **labels, series="delay of cascades", kind="text", y=found.centre, low=found.low,
        high=found.high, n=found.n,
    )  # fmt: skip
    if not found.n:
        return "no network learnt both\nno carry and cascade"
    text = f"cascade − no carry:\n{_steps(found.centre)} steps"
    if math.isfinite(found.low):
        text += f" [{_steps(found.low)}, {_steps(found.high)}]"
    return f"{text}, n = {found.n}" if found.n < len(steps) else text


def _steps(value: float) -> str:
    return f"{value:.0f}".replace("-", "−")
