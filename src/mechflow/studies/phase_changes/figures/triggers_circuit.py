"""The circuit of the skip trigram: attention to the trigger, and what is copied from it."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import band, per_replicate
from mechflow.figures.source import Label, Source
from mechflow.figures.style import (
    CONTROL_COLOUR,
    INK,
    REFERENCE_COLOUR,
    SIGNED,
    new_figure,
    small_pt,
    styled,
)
from mechflow.studies import networks
from mechflow.studies.phase_changes import outcomes, variants
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.figures import curves, palette
from mechflow.studies.phase_changes.tasks.skip_trigram import FIRST_NOISE

_DASHED = (0, (3.5, 1.2))
_ATTENTION = "trigger_attention"
_MEAN = "mean over triggers"
_TABLES = 3
"""Checkpoints whose tables are drawn, as many as there are panels above them."""
_STRIP_WIDTH = 0.11


class Tables(NamedTuple):
    """What one head does with each token at some checkpoints."""

    steps: tuple[int, ...]
    scores: Float[np.ndarray, "step token"]
    """Attention score of the query to each token, minus the mean over the tokens: softmax sees
    differences only."""
    logits: Float[np.ndarray, "step token answer"]
    """What attention to the token adds to each logit, minus the mean over the answers."""
    head: int


@styled
def draw_trigger_circuit(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Loss, attention and its gradient by trigger; below, tables of the head by token."""
    source = Source()
    name = variants.main_variant(data, "skip_trigram")
    if name is None:
        text = "no variant of the task skip trigram was run"
        return curves.nothing(style, text), source.table(curves.SOURCE_COLUMNS)
    figure = new_figure(style, 2, 132)
    widths = (_STRIP_WIDTH, 1 - _STRIP_WIDTH) * _TABLES
    grid = GridSpec(2, len(widths), figure, height_ratios=(0.42, 0.58), width_ratios=widths)
    above = [figure.add_subplot(grid[0, place : place + 2]) for place in range(0, len(widths), 2)]
    groups = outcomes.groups(data, name)
    _curves(above, data, name, groups, figures.replicate, source)
    tables = tables_of(data, name, figures.replicate)
    _tables(figure, grid, tables, groups, style, (name, figures.replicate), source)
    shades = palette.shades(groups)
    ends = dict.fromkeys((groups[0], groups[-1]))
    panels.key(
        figure,
        [
            *(panels.Mark(palette.group_name(group), shades[group]) for group in ends),
            panels.Mark(f"{_MEAN}, all seeds", INK),
            panels.Mark("uniform attention", CONTROL_COLOUR, _DASHED),
            panels.Mark("blind", REFERENCE_COLOUR, (0, (1, 1.5))),
        ],
    )
    scale = palette.scale(data, [name], data.table("progress"))
    shown = f"triggers and tables of training seed {figures.replicate}"
    panels.note(figure, f"variant {panels.readable(name)}, {scale}; {shown}")
    return figure, source.table()


def tables_of(data: FigureData, variant: str, replicate: int) -> Tables:
    """The tables of the head that attends to triggers most: at first, amid the drop, at last."""
    arrays = {
        key: values[replicate].double().numpy()
        for key, values in data.tensors("spectra_arrays", variant).items()
    }
    first_trigger = FIRST_NOISE + data.config(variant).data.skip_trigram.n_triggers
    scores = arrays["qk"]
    preference = scores[-1, :, first_trigger:].mean(-1) - scores[-1, :, :first_trigger].mean(-1)
    head = int(preference.argmax())
    steps = arrays["table_steps"].astype(int)
    kept = _amid_drop(steps, _loss(data, variant, replicate))
    scores, logits = scores[kept, head], arrays["ov"][kept, head]
    return Tables(
        tuple(steps[kept].tolist()),
        scores - scores.mean(-1, keepdims=True),
        logits - logits.mean(-1, keepdims=True),
        head,
    )


def _loss(data: FigureData, variant: str, replicate: int) -> pd.Series:
    rows = networks.select(
        data.table("progress"),
        variant=variant, metric="loss", control="none", replicate=replicate,
    )  # fmt: skip
    return rows.set_index("step")["value"].sort_index()


def _amid_drop(steps: np.ndarray, loss: pd.Series) -> list[int]:
    """Places of the first and last step, and of the one at which the loss is nearest half-way."""
    last = len(steps) - 1
    if last < 2:
        return list(range(len(steps)))
    half = (loss.iloc[0] + loss.iloc[-1]) / 2
    away = np.abs(np.interp(steps[1:last], loss.index, loss) - half)
    return [0, 1 + int(away.argmin()), last]


def _curves(
    row: Sequence[Axes], data: FigureData, variant: str, groups: Sequence[str], replicate: int,
    source: Source,
) -> None:  # fmt: skip
    """Loss, attention and gradient of each trigger, and their mean over triggers."""
    losses = networks.select(data.table("curves"), variant=variant, split="test")
    losses = losses[losses["metric"].str.startswith("loss.trigger.")]
    losses = losses.assign(column=losses["metric"].str.removeprefix("loss.trigger."))
    attention = outcomes.scores(data, variant, _ATTENTION)
    gradient = outcomes.scores(data, variant, "attention_gradient")
    shades = palette.shades(groups)
    means = []
    for axes, rows, label, log in (
        (row[0], losses, "test loss [nats]", True),
        (row[1], attention, "attention from query to trigger", False),
        (row[2], gradient, "gradient of the loss with respect\nto that attention [nats]", False),
    ):
        panel = str(rows["metric"].iloc[0]).rpartition(".")[0]
        labels = {"panel": panel, "variant": variant}
        _by_trigger(axes, rows[rows["replicate"] == replicate], shades, labels, source)
        means.append(_mean(axes, rows, labels, log, source))
        axes.set_xlim(0, rows["step"].max())
        axes.set_xlabel(palette.STEP)
        axes.set_ylabel(label)
    blind = palette.reference_losses(data, [variant], "blind")
    panels.log_axis(row[0])
    panels.limit_to(row[0], [*losses["value"], *blind], log=True)
    for y in blind:
        panels.reference_line(row[0], y)
        source.add_row(panel="loss.trigger", variant=variant, series="blind", kind="reference", y=y)
    uniform = outcomes.scores(data, variant, _ATTENTION, "uniform")["value"].mean()
    row[1].axhline(uniform, color=CONTROL_COLOUR, ls=_DASHED, lw=1.0, zorder=2)
    source.add_row(
        panel=_ATTENTION, variant=variant, series="uniform attention", kind="reference",
        y=float(uniform),
    )  # fmt: skip
    row[1].set_ylim(-0.03, 1.03)
    panels.reference_line(row[2], 0.0)
    shown = gradient.loc[gradient["replicate"] == replicate, "value"]
    panels.limit_to(row[2], [0.0, *shown, *means[2]["mean"]])


def _by_trigger(
    axes: Axes, rows: pd.DataFrame, shades: dict[str, str], labels: dict[str, str], source: Source
) -> None:
    """A line for each trigger of the replicate that is shown."""
    for trigger, own in rows.groupby(rows["column"].astype(int), sort=True):
        group = f"trigger.{trigger}"
        axes.plot(own["step"], own["value"], color=shades[group], lw=0.6, zorder=2)
        drawn = own[["replicate", "step", "value"]].rename(columns={"step": "x", "value": "y"})
        source.add(drawn, **labels, series=group, kind="replicate")


def _mean(
    axes: Axes, rows: pd.DataFrame, labels: dict[str, str], log: bool, source: Source
) -> pd.DataFrame:
    """The mean over triggers, then over replicates, with its interval; returns it."""
    mean = band(per_replicate(rows, ["step"], log=log), "step", log=log)
    if labels["panel"] == _ATTENTION:
        mean[["low", "high"]] = mean[["low", "high"]].clip(0.0, 1.0)
    panels.mean_line(axes, mean, INK)
    source.add(mean.rename(columns={"mean": "y"}), **labels, series=_MEAN, kind="mean")
    return mean


def _tables(
    figure: Figure, grid: GridSpec, tables: Tables, groups: Sequence[str], style: Style,
    shown: tuple[str, int], source: Source,
) -> None:  # fmt: skip
    """For each checkpoint a strip of attention scores and the table of logits."""
    drawn: list[Axes] = []
    meshes: list[QuadMesh] = []
    limits = [(-float(np.abs(t).max()), float(np.abs(t).max())) for t in tables[1:3]]
    for place, step in enumerate(tables.steps):
        strip, table = (figure.add_subplot(grid[1, 2 * place + side]) for side in (0, 1))
        scores, logits = tables.scores[place], tables.logits[place]
        meshes = [
            panels.heat_map(strip, scores[:, None], SIGNED, limits[0], square=False),
            panels.heat_map(table, logits, SIGNED, limits[1], square=False),
        ]
        _table_axes(strip, table, len(groups), place == 0, style)
        table.set_title(f"step {step}")
        labels: dict[str, Label] = {
            "variant": shown[0], "kind": "map", "replicate": shown[1], "step": step,
            "head": f"L0H{tables.head}",
        }  # fmt: skip
        source.add_map(scores[:, None], "token", "answer", panel="QK", **labels)
        source.add_map(logits, "token", "answer", panel="OV", **labels)
        drawn += [strip, table]
    for mesh, label, panel in zip(
        meshes,
        ("attention score (QK)", "added to the logit (OV)"),
        (drawn[:2], drawn[-2:]),
        strict=True,
    ):
        panels.colour_bar(figure, mesh, panel, label, location="bottom", shrink=0.9, pad=0.02)


def _table_axes(strip: Axes, table: Axes, n_triggers: int, first: bool, style: Style) -> None:
    """Tokens down the side by their kinds, answers along the bottom."""
    edges = [0, 1, FIRST_NOISE, FIRST_NOISE + n_triggers, FIRST_NOISE + 2 * n_triggers]
    names = ("start", "query", "noise", "trigger")
    for axes in (strip, table):
        axes.invert_yaxis()
        for edge in edges[1:-1]:
            axes.axhline(edge - 0.5, color=INK, lw=0.4)
        axes.tick_params(left=False, labelleft=False)
    if first:
        middles = [(a + b - 1) / 2 for a, b in pairwise(edges)]
        strip.set_yticks(middles, names)
        strip.tick_params(labelleft=True)
        strip.set_ylabel("token attended to")
    strip.set_xticks([0], ["QK"])
    strip.tick_params(bottom=False)
    table.set_xticks(sorted({0, n_triggers - 1}))
    table.tick_params(bottom=False)
    table.set_xlabel("answer (OV)", fontsize=small_pt(style), labelpad=0)
