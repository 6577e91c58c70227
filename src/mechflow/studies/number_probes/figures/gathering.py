"""From which layer on the last token of a number holds all of its digits."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import new_figure, small_pt, styled
from mechflow.studies.number_probes import answers, outcomes
from mechflow.studies.number_probes.config import Figures
from mechflow.studies.number_probes.figures import layered, palette

PROBE = f"{palette.LEAST_SQUARES}digits"
ENOUGH = 0.9
"""Share of its largest value from which a score counts as there."""
CHANCE = 0.1
"""A digit guessed."""


@styled
def draw_digit_gathering(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Each decimal place and all of them together, by layer, beside random weights."""
    variant = figures.main
    targets = digit_targets(data, variant)
    last = outcomes.last_layer(data, variant)
    figure = new_figure(style, 2, 56)
    figure.set_layout_engine("constrained", wspace=0.06)
    grid = figure.subplots(1, len(targets), squeeze=False, sharey=True)[0]
    source = Source()
    colour = palette.probe_colour(PROBE)
    for axes, (target, title) in zip(grid, targets.items(), strict=True):
        axes.set_title(title, loc="left")
        axes.set_ylim(-0.02, 1.02)
        palette.early_layer_axis(axes, last)
        if target != "value":
            panels.reference_line(axes, CHANCE)
        scores = outcomes.accuracies(data, variant, PROBE, target=target)
        layered.draw(axes, scores, colour, "-", source, panel=title, variant=variant, series="main")
        _mark_there(axes, scores, colour, title, variant, source, style)
        untrained_drawn = _untrained(axes, data, figures, target, title, source)
    grid[0].set_ylabel("share of held-out numbers\nwhose digit is read")
    marks = [panels.Mark("trained model", colour)]
    if untrained_drawn:
        marks.append(_mark_of(palette.UNTRAINED))
    marks.append(panels.Mark(f"first layer with {panels.percent(ENOUGH)} of the most", marker="v"))
    panels.key(figure, marks)
    panels.note(figure, layered.scale_text(data, variant, scores))
    return figure, source.table()


def digit_targets(data: FigureData, variant: str) -> dict[str, str]:
    """The decimal places that were probed, the ones first, and all of them; with their names."""
    table = data.table("probes")
    targets = table.loc[(table["variant"] == variant) & (table["probe"] == "digits"), "target"]
    places = sorted({int(t.partition(".")[2]) for t in targets if t.startswith("digit.")})
    return {f"digit.{place}": answers.PLACES[place] for place in places} | {"value": "all digits"}


def first_layer_there(scores: pd.DataFrame) -> int:
    """The first layer whose mean over fits reaches 90 % of the largest one."""
    mean = scores.mean().sort_index()
    return int(mean.index[mean >= ENOUGH * mean.max()][0])


def _mark_there(
    axes: Axes, scores: pd.DataFrame, colour: str, panel: str, variant: str, source: Source,
    style: Style,
) -> None:  # fmt: skip
    layer = first_layer_there(scores)
    height = float(scores[layer].mean())
    axes.plot(layer, height, marker="v", ms=3.5, color=colour, zorder=5, clip_on=False)
    last = int(scores.columns.max())
    right = layer <= last / 3
    axes.annotate(
        palette.layer_name(layer, last), (layer, height),
        (5 if right else -5, -5), textcoords="offset points",
        ha="left" if right else "right", va="top", fontsize=small_pt(style), color=colour,
        zorder=6,
    )  # fmt: skip
    source.add_row(
        panel=panel, variant=variant, series="main", kind="first layer", x=layer, mean=height
    )


def _untrained(
    axes: Axes, data: FigureData, figures: Figures, target: str, panel: str, source: Source
) -> bool:
    """The same with random weights; whether there is such a line."""
    if figures.untrained is None:
        return False
    scores = outcomes.accuracies(data, figures.untrained, PROBE, target=target)
    found = layered.draw(
        axes, scores, palette.CONTROL_COLOURS[palette.UNTRAINED],
        palette.CONTROL_LINES[palette.UNTRAINED], source,
        panel=panel, variant=figures.untrained, series=palette.UNTRAINED,
    )  # fmt: skip
    return found is not None


def _mark_of(control: str) -> panels.Mark:
    return panels.Mark(
        palette.CONTROL_NAMES[control],
        palette.CONTROL_COLOURS[control],
        palette.CONTROL_LINES[control],
    )
