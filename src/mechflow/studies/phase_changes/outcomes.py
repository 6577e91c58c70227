"""When and how sharply each network's loss fell, out of the tidy tables.

Numbers by group of answers come as frames with the columns variant, replicate and group; the
group ``all`` is the whole loss. What never happened is NaN.
"""

import math

import numpy as np
import pandas as pd

from mechflow.figures.data import FigureData
from mechflow.phase import Grokking, PhaseChange, grokking, phase_change, steepest_step
from mechflow.studies import networks
from mechflow.studies.phase_changes import variants

ALL = "all"
"""The group of all answers."""

LEAST_SHARE = 0.5
"""A loss has a phase change if it falls by this share of the way from answers that ignore the
sequence to the best ones. A model that only narrows down which answers are likely stays above."""

SMOOTHING = 0.05
"""Length of the window in which the steepest drop is looked for, as a share of training."""

LEARNT = 0.9
"""Accuracy from which a set of examples counts as learnt."""

SUSTAINED = 3
"""Evaluations in a row that a threshold asks for, here as in phase changes."""


def groups(data: FigureData, variant: str) -> tuple[str, ...]:
    """The groups of answers of a variant, such as ``digit.0``, in the order of the task."""
    metrics = networks.select(data.table("curves"), variant=variant)["metric"].unique()
    return tuple(m.removeprefix("loss.") for m in metrics if m.startswith("loss."))


def loss_name(group: str) -> str:
    """The metric of a group's loss in the table of curves."""
    return "loss" if group == ALL else f"loss.{group}"


def references(data: FigureData, kind: str, group: str = ALL) -> pd.Series:
    """A loss that curves are compared with, in nats, by variant and replicate.

    Args:
        data: with the table of progress.
        kind: ``uniform`` (all possible answers equally likely), ``blind`` (the best answer that
            ignores the sequence) or ``optimal`` (the best answer).
        group: a group of answers; ``uniform`` is the same for all of them.
    """
    rows = networks.select(data.table("progress"), metric=_reference_name(kind, group))
    return networks.means(networks.select(rows, split="test", control="none"))


def scores(data: FigureData, variant: str, name: str, control: str = "none") -> pd.DataFrame:
    """Rows of the table of progress called ``<name>.<column>``, with that column of their own."""
    rows = networks.select(data.table("progress"), variant=variant, control=control, split="test")
    rows = rows[rows["metric"].str.startswith(f"{name}.")]
    return rows.assign(column=rows["metric"].str.removeprefix(f"{name}."))


def above_zero(losses: pd.Series) -> pd.Series:
    """Losses whose logarithm is finite: one that underflowed is the smallest normal float."""
    return losses.clip(lower=np.finfo(np.float64).tiny)


def phase_changes(data: FigureData) -> pd.DataFrame:
    """The phase change of every network's test loss, for all answers and for each group.

    The plateau that a loss falls from is that of answers that ignore the sequence. The steepest
    drop is looked for below the plateau and until a quarter of the drop remains.
    Columns are those of `PhaseChange` after variant, replicate and group.
    """
    curves = networks.select(data.table("curves"), split="test")
    curves = curves[curves["metric"].map(_is_loss)]
    known = networks.select(data.table("progress"), split="test", control="none")
    levels = known.groupby(["metric", *networks.KEY])["value"].mean().to_dict()
    found = []
    for (variant, replicate, metric), rows in curves.groupby([*networks.KEY, "metric"], sort=False):
        group = ALL if metric == "loss" else str(metric).removeprefix("loss.")
        blind, optimal = (
            float(levels[_reference_name(kind, group), variant, replicate])
            for kind in ("blind", "optimal")
        )
        change = _change(rows.set_index("step")["value"], blind, optimal)
        found.append((variant, replicate, group, *change))
    columns = [*networks.KEY, "group", *PhaseChange._fields]
    return pd.DataFrame(found, columns=columns)


def grokking_times(data: FigureData) -> pd.DataFrame:
    """When each network with a finite train set learns it, and the test set.

    Columns are those of `Grokking` after variant and replicate.
    """
    train, test = (networks.curves(data, "accuracy", split) for split in ("train", "test"))
    chosen = variants.finite(data)
    found = [
        (*network, *grokking(curve.index, curve, test[network], LEARNT, SUSTAINED))
        for variant in chosen
        for network, curve in train.items()
        if network[0] == variant
    ]
    return pd.DataFrame(found, columns=[*networks.KEY, *Grokking._fields])


def _reference_name(kind: str, group: str) -> str:
    """The metric in the table of progress."""
    return f"{kind}_loss" if group == ALL or kind == "uniform" else f"{kind}_loss.{group}"


def _is_loss(metric: str) -> bool:
    return metric == "loss" or metric.startswith("loss.")


def _change(curve: pd.Series, blind: float, optimal: float) -> PhaseChange:
    curve = above_zero(curve)
    window = _window(curve)
    least_drop = LEAST_SHARE * (blind - optimal) / blind
    change = phase_change(
        curve.index, curve, blind, window, sustained=SUSTAINED, least_drop=least_drop
    )
    if math.isnan(change.t25):
        return change._replace(steepest_step=math.nan, slope=math.nan)
    falling = _falling(curve, blind, change.t25, window)
    step, slope = steepest_step(falling.index, falling, window)
    return change._replace(steepest_step=step, slope=slope)


def _falling(curve: pd.Series, blind: float, t25: float, window: int) -> pd.Series:
    """A curve until a quarter of the drop remains, level where it is above the plateau.

    To unlearn the initial weights is a steep drop too, and the logarithm of the small loss that is
    left in the end is noisy. It goes on for as long as the last window needs.
    """
    last = curve.index.searchsorted(max(t25 + window / 2, window))
    return curve.clip(upper=blind).iloc[: last + 1]


def _window(curve: pd.Series) -> int:
    """The smoothing window in steps, wide enough for an evaluation on either side."""
    steps = curve.index.to_series()
    return max(round(SMOOTHING * float(steps.iloc[-1])), 2 * int(steps.diff().max()))
