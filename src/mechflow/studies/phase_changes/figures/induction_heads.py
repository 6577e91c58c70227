"""Do induction circuits form when the loss drops? Scores of heads through training."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import CONTROL_COLOUR, REFERENCE_COLOUR, new_figure, styled
from mechflow.studies import networks
from mechflow.studies.phase_changes import induction_circuit, outcomes, variants
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.figures import circuits, curves, lines, palette
from mechflow.studies.phase_changes.roles import INDUCTION, PREVIOUS_TOKEN

MOST_COLUMNS = 4
"""Variants that find room beside each other."""

_DASHED = (0, (3.5, 1.2))
_DROP_COLOUR = "#f1ecd9"
_REFERENCES = ("blind", "positional", "optimal")


class _Panel(NamedTuple):
    """One score, and the role whose best head stands out."""

    score: str
    role: str
    label: str
    bounds: tuple[float, float]


_SCORES = (
    _Panel("previous_token", PREVIOUS_TOKEN, "previous-token\nscore", (0.0, 1.0)),
    _Panel("prefix_matching", INDUCTION, "prefix-matching\nscore", (0.0, 1.0)),
    _Panel("copying", INDUCTION, "copying score", (-1.0, 1.0)),
)


@styled
def draw_induction_heads(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Test loss above, scores of heads below, over the same steps; a column for each variant."""
    ordered = _ordered(data)
    names, left_out = ordered[:MOST_COLUMNS], ordered[MOST_COLUMNS:]
    source = Source()
    if not names:
        text = "no variant of the task induction was run"
        return curves.nothing(style, text), source.table(curves.SOURCE_COLUMNS)
    losses = networks.select(data.table("curves"), metric="loss", split="test")
    changes = outcomes.phase_changes(data)
    colours = palette.colours(data, style)
    figure = new_figure(style, 2 if len(names) > 1 else 1, 150)
    grid = figure.subplots(4, len(names), squeeze=False, sharex="col", sharey="row")
    for column, name in zip(grid.T.tolist(), names, strict=True):
        panels.variant_title(column[0], name, colours[name])
        own = networks.select(losses, variant=name)
        _mark_drop(column, networks.select(changes, variant=name, group=outcomes.ALL), source)
        labels = {"panel": "loss", "variant": name, "series": "test"}
        lines.seeds_and_mean(column[0], own, colours[name], source, labels, log=True)
        for axes, panel in zip(column[1:], _SCORES, strict=True):
            _scores(axes, data, name, panel, source)
        column[-1].set_xlim(0, own["step"].max())
        column[-1].set_xlabel(palette.STEP)
    _losses_axis(grid[0].tolist(), data, losses, names, style, source)
    table = source.table()
    for axes, panel in zip(grid[1:, 0], _SCORES, strict=True):
        axes.set_ylabel(panel.label)
        panels.limit_to(axes, [0.0, *table.loc[table["panel"] == panel.score, "y"]])
    panels.key(figure, _marks(), columns=3 if len(names) > 1 else 2)
    more = f"; not drawn: {', '.join(map(panels.readable, left_out))}" if left_out else ""
    panels.note(figure, palette.scale(data, names, losses) + more)
    return figure, table


def _ordered(data: FigureData) -> list[str]:
    """The main variant first, then the negative control, then the others."""
    main = variants.main_variant(data, "induction")

    def place(name: str) -> tuple[bool, bool]:
        return name != main, not variants.is_negative_control(data, name)

    return sorted(variants.of_task(data, "induction"), key=place)


def _mark_drop(column: Sequence[Axes], changes: pd.DataFrame, source: Source) -> None:
    """The steps over which 75 % to 25 % of the drop of the loss remain, over all replicates."""
    dropped = changes.dropna(subset=["t75", "t25"])
    for _, change in dropped.iterrows():
        source.add_row(
            panel="loss", variant=str(change["variant"]), series="drop", kind="replicate",
            replicate=int(change["replicate"]), low=float(change["t75"]), x=float(change["t50"]),
            high=float(change["t25"]),
        )  # fmt: skip
    if dropped.empty:
        return
    for axes in column:
        axes.axvspan(dropped["t75"].min(), dropped["t25"].max(), color=_DROP_COLOUR, lw=0, zorder=0)


def _losses_axis(
    row: Sequence[Axes], data: FigureData, losses: pd.DataFrame, names: Sequence[str],
    style: Style, source: Source,
) -> None:  # fmt: skip
    """Scale of the losses, and the losses that they are compared with."""
    levels = {
        name: {kind: palette.reference_losses(data, [name], kind) for kind in _REFERENCES}
        for name in names
    }
    fresh = [name for name in names if not variants.is_finite(data, name)] or names
    every = [y for of_name in levels.values() for ys in of_name.values() for y in ys]
    # What memorises its train set can be far worse than blind, and would squeeze the others.
    row[0].set_ylim(0.0, 1.1 * max([*losses.loc[losses["variant"].isin(fresh), "value"], *every]))
    row[0].set_ylabel("test loss [nats]")
    palette.mark_references(row[-1], levels[names[-1]], style)
    for axes, (name, found) in zip(row, levels.items(), strict=True):
        for kind, values in found.items():
            for y in values:
                panels.reference_line(axes, y)
                source.add_row(panel="loss", variant=name, series=kind, kind="reference", y=y)


def _scores(axes: Axes, data: FigureData, variant: str, panel: _Panel, source: Source) -> None:
    """All heads of all replicates, the best of each replicate with mean and band."""
    rows = outcomes.scores(data, variant, panel.score)
    best = induction_circuit.best_heads(data, variant, panel.role)
    stands_out = circuits.chosen(rows, {replicate: head.name for replicate, head in best.items()})
    labels = {"panel": panel.score, "variant": variant}
    if not stands_out.all():
        others = {**labels, "series": "other heads"}
        lines.each(axes, rows[~stands_out], circuits.OTHER_COLOUR, source, others)
    lines.seeds_and_mean(
        axes, rows[stands_out], circuits.ROLE_COLOURS[panel.role], source,
        {**labels, "series": circuits.ROLE_NAMES[panel.role]}, bounds=panel.bounds,
    )  # fmt: skip
    _baseline(axes, outcomes.scores(data, variant, panel.score, "uniform"), labels, source)


def _baseline(axes: Axes, uniform: pd.DataFrame, labels: dict[str, str], source: Source) -> None:
    """What attention scores that is uniform; 0 where attention has no part in the score."""
    if uniform.empty:
        panels.reference_line(axes, 0.0)
        return
    level = float(np.mean(uniform["value"]))
    axes.axhline(level, color=CONTROL_COLOUR, ls=_DASHED, lw=1.0, zorder=2)
    source.add_row(**labels, series="uniform attention", kind="reference", y=level)


def _marks() -> list[panels.Mark]:
    return [
        *(
            panels.Mark(f"best {circuits.ROLE_NAMES[role]}", circuits.ROLE_COLOURS[role])
            for role in (PREVIOUS_TOKEN, INDUCTION)
        ),
        panels.Mark("other heads", circuits.OTHER_COLOUR),
        panels.Mark("uniform attention", CONTROL_COLOUR, _DASHED),
        panels.Mark("reference", REFERENCE_COLOUR, (0, (1, 1.5))),
        panels.Mark("loss drops, in any replicate", _DROP_COLOUR, marker="s"),
    ]
