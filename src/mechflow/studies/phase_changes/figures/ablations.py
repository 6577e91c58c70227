"""What is lost without parts of the trained networks: heads by role, single heads, the MLP."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import band, dots, per_replicate
from mechflow.figures.source import Source
from mechflow.figures.style import (
    CONTROL_COLOUR,
    INK,
    REFERENCE_COLOUR,
    new_figure,
    small_pt,
    styled,
)
from mechflow.studies import networks
from mechflow.studies.phase_changes import variants
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.figures import circuits, curves, palette
from mechflow.studies.phase_changes.roles import INDUCTION, PREVIOUS_TOKEN

UNTOUCHED = "untouched"
_THROUGH, _AFTER = "through training", "after training"
_DASHED = (0, (3.5, 1.2))
_MLP_COLOUR = "#c05a00"
_HEAD_SHADES = ("#6b6400", "#cdc673")
"""From the head that matters most to the one that matters least."""
_TICK_WIDTH = 14
_OTHERS = "other heads than "


@dataclass(frozen=True)
class Cut:
    """One thing that is taken out of every replicate, and how it is drawn."""

    name: str
    rows: pd.DataFrame
    """Losses by replicate, draw and step; ``head`` says which head it is in each replicate."""
    colour: str
    line: Any = "-"
    filled: bool = True
    shaded: bool = True
    """Whether the interval of its mean is drawn through training, and not at the end alone."""


@styled
def draw_ablations(data: FigureData, figures: Figures, style: Style) -> tuple[Figure, pd.DataFrame]:
    """Loss without each part, through training and at its end; a column for each task."""
    source = Source()
    names = {task: variants.main_variant(data, task) for task in _ORDER}
    used = [name for name in names.values() if name]
    colours = palette.colours(data, style)
    losses = networks.select(data.table("interventions"), metric="loss", split="test")
    figure = new_figure(style, 2, 118)
    grid = figure.subplots(2, len(_ORDER), squeeze=False)
    for (above, below), (task, name) in zip(grid.T, names.items(), strict=True):
        if name is None:
            text = f"no variant of the task\n{palette.TASK_NAMES[task]} was run"
            panels.empty(above, text, style)
            below.set_axis_off()
            continue
        own = networks.select(losses, variant=name)
        cuts = role_cuts(own) if task == "induction" else part_cuts(own)
        panels.variant_title(above, name, colours[name])
        _through_training(above, cuts, name, source)
        _at_the_end(below, cuts, name, source)
        if task == "induction":
            _controlled(below, own, style)
        for axes, panel in ((above, _THROUGH), (below, _AFTER)):
            _fit(axes, data, name, own, panel, style, source)
    grid[0, 0].set_ylabel("test loss [nats]")
    grid[1, 0].set_ylabel("test loss after training [nats]")
    panels.key(figure, _marks(), columns=4)
    ablation = dict.fromkeys(data.config(name).interventions.ablation for name in used)
    text = f"ablation: {', '.join(ablation)}; " if used else ""
    panels.note(figure, text + palette.scale(data, used, losses))
    return figure, source.table(curves.SOURCE_COLUMNS)


_ORDER = ("induction", *(task for task in variants.TASKS if task != "induction"))


def role_cuts(losses: pd.DataFrame) -> list[Cut]:
    """Heads by their role, and as many other heads of the same layers."""
    found = [_untouched(losses)]
    for role, line in ((INDUCTION, "-"), (PREVIOUS_TOKEN, _DASHED)):
        rows = networks.select(losses, site=role)
        name, colour = f"{circuits.ROLE_NAMES[role]}s", circuits.ROLE_COLOURS[role]
        found.append(Cut(name, networks.select(rows, control="none"), colour))
        random = networks.select(rows, control="random_heads")
        found.append(Cut(f"{_OTHERS}{name}", random, CONTROL_COLOUR, line))
    return [cut for cut in found if not cut.rows.empty]


def part_cuts(losses: pd.DataFrame) -> list[Cut]:
    """Each single head, ranked within its replicate by what is lost without it, and each MLP.

    Heads of different replicates have nothing but their number in common, so the first rank
    stands for the head of each replicate that matters most after training.
    """
    single = losses[losses["site"].str.fullmatch(r"L\d+H\d+")]
    ends = single[single["step"] == single.groupby("replicate")["step"].transform("max")]
    order = ends.groupby("replicate")["value"].rank(method="first", ascending=False)
    ranks = ends.assign(rank=order.astype(int))[["replicate", "site", "rank"]]
    ranked = single.merge(ranks, on=["replicate", "site"], validate="many_to_one")
    found = [_untouched(losses)]
    n_heads = int(ranks["rank"].max()) if len(ranks) else 0
    for rank, colour in zip(range(1, n_heads + 1), _shades(n_heads), strict=True):
        name = f"head of rank {rank}" if n_heads > 1 else f"head {ranks['site'].iloc[0]}"
        rows = ranked[ranked["rank"] == rank].rename(columns={"site": "head"})
        found.append(Cut(name, rows, colour, shaded=n_heads == 1))
    mlps = losses[losses["intervention"].str.endswith("_mlp")]
    layers = sorted(mlps["site"].unique())
    for layer in layers:
        name = f"MLP {layer}" if len(layers) > 1 else "MLP"
        found.append(Cut(name, networks.select(mlps, site=layer), _MLP_COLOUR))
    return found


def _untouched(losses: pd.DataFrame) -> Cut:
    return Cut(UNTOUCHED, networks.select(losses, intervention="none"), INK, filled=False)


def _shades(n: int) -> list[str]:
    """Colours of heads by their rank."""
    shades = LinearSegmentedColormap.from_list("heads", _HEAD_SHADES)
    return [to_hex(shades(place)) for place in np.linspace(0, 1, n).tolist()]


def _through_training(axes: Axes, cuts: Sequence[Cut], variant: str, source: Source) -> None:
    for cut in cuts:
        rows = per_replicate(cut.rows, ["step"], log=True)
        labels = {"panel": _THROUGH, "variant": variant, "series": cut.name}
        mean = band(rows, "step", log=True)
        panels.replicate_lines(axes, rows, "step", cut.colour, cut.line)
        panels.mean_line(axes, mean, cut.colour, cut.line, shaded=cut.shaded)
        single = rows.rename(columns={"step": "x", "value": "y"})
        source.add(_with_heads(single, cut), **labels, kind="replicate")
        source.add(mean.rename(columns={"mean": "y"}), **labels, kind="mean")
    axes.set_xlim(0, max(cut.rows["step"].max() for cut in cuts))
    axes.set_xlabel(palette.STEP)


def _at_the_end(axes: Axes, cuts: Sequence[Cut], variant: str, source: Source) -> None:
    for place, cut in enumerate(cuts):
        last = cut.rows.groupby("replicate")["step"].transform("max")
        rows = per_replicate(cut.rows[cut.rows["step"] == last], ["step"], log=True)
        summary = dots(rows["value"].to_numpy(), log=True)
        marker = "o" if cut.line == "-" else "s"
        panels.dots(
            axes, place, rows["value"].to_list(), summary, cut.colour, filled=cut.filled,
            marker=marker, clip=True,
        )  # fmt: skip
        labels = {"panel": _AFTER, "variant": variant, "series": cut.name}
        single = rows[["replicate", "value"]].rename(columns={"value": "y"})
        source.add(_with_heads(single, cut), **labels, kind="replicate")
        source.add_row(
            **labels, kind="mean", y=summary.centre, low=summary.low, high=summary.high,
            n=summary.n,
        )  # fmt: skip
    panels.ticks_at(axes, range(len(cuts)), [_tick(cut.name) for cut in cuts])
    axes.tick_params(axis="x", rotation=90)
    axes.set_xlim(-0.6, len(cuts) - 0.4)
    axes.set_xlabel("taken out")


def _tick(name: str) -> str:
    """What is taken out, along the axis."""
    if name == UNTOUCHED:
        return "nothing"
    return fill("as many others" if name.startswith(_OTHERS) else name, _TICK_WIDTH)


def _controlled(axes: Axes, losses: pd.DataFrame, style: Style) -> None:
    """Says in how many replicates there are other heads, where not in all of them."""
    n = losses["replicate"].nunique()
    random = networks.select(losses, control="random_heads")
    counts = {
        role: networks.select(random, site=role)["replicate"].nunique()
        for role in (INDUCTION, PREVIOUS_TOKEN)
    }
    if all(count == n for count in counts.values()):
        return
    first, second = (f"{count} of {n} (" for count in counts.values())
    text = f"as many other heads exist in\n{first}induction), {second}previous-token) seeds"
    axes.set_title(text, fontsize=small_pt(style))


def _with_heads(rows: pd.DataFrame, cut: Cut) -> pd.DataFrame:
    """The same with the name of the head that is meant in each replicate, where it is one."""
    if "head" not in cut.rows:
        return rows
    heads = cut.rows.groupby("replicate")["head"].first()
    return rows.assign(head=rows["replicate"].map(heads))


def _fit(
    axes: Axes, data: FigureData, variant: str, losses: pd.DataFrame, panel: str, style: Style,
    source: Source,
) -> None:  # fmt: skip
    """A logarithmic axis for all losses of a column, and the loss that ignores the sequence."""
    blind = palette.reference_losses(data, [variant], "blind")
    panels.log_axis(axes)
    panels.limit_to(axes, [*losses["value"], *blind], log=True)
    palette.mark_references(axes, {"blind": blind}, style)
    for y in blind:
        source.add_row(panel=panel, variant=variant, series="blind", kind="reference", y=y)


def _marks() -> list[panels.Mark]:
    most, least = _HEAD_SHADES
    return [
        panels.Mark(UNTOUCHED, INK),
        *(
            panels.Mark(f"without {circuits.ROLE_NAMES[role]}s", circuits.ROLE_COLOURS[role])
            for role in (INDUCTION, PREVIOUS_TOKEN)
        ),
        panels.Mark("without as many other heads", CONTROL_COLOUR),
        panels.Mark("without the head of rank 1", most),
        panels.Mark("... of the last rank", least),
        panels.Mark("without the MLP", _MLP_COLOUR),
        panels.Mark("blind", REFERENCE_COLOUR, (0, (1, 1.5))),
    ]
