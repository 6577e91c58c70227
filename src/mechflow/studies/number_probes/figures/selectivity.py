"""How much of what probes read is left after each control is taken away, by layer."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import new_figure, styled
from mechflow.studies.number_probes import outcomes
from mechflow.studies.number_probes.config import Figures
from mechflow.studies.number_probes.figures import layered, palette


@styled
def draw_selectivity(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Accuracy minus that on each control, and the controls' own accuracy below."""
    variant = figures.main
    probes = controlled(data, variant)
    last = outcomes.last_layer(data, variant)
    figure = new_figure(style, 2, 92)
    grid = figure.subplots(2, max(1, len(probes)), squeeze=False, sharey="row", sharex=True)
    source = Source()
    seen: list[str] = []
    for column, probe in enumerate(probes):
        colour = palette.probe_colour(probe)
        panels.variant_title(grid[0, column], palette.probe_name(probe), colour, "left")
        real = outcomes.accuracies(data, variant, probe)
        controls = found_controls(data, figures, probe)
        labels: dict[str, Any] = {"variant": variant, "probe": probe}
        for control, scores in controls.items():
            ink, line = palette.CONTROL_COLOURS[control], palette.CONTROL_LINES[control]
            layered.draw(
                grid[0, column], _gained(data, figures, control, real, scores), ink, line, source,
                bounds=layered.DIFFERENCE, panel="selectivity", series=control, **labels,
            )  # fmt: skip
            layered.draw(
                grid[1, column], scores, ink, line, source,
                panel="controls", series=control, **labels,
            )  # fmt: skip
        layered.draw(
            grid[1, column], real, colour, "-", source, panel="controls", series="none", **labels
        )
        _end_of_real(grid[1, column], real, colour, style)
        seen += [control for control in controls if control not in seen]
        palette.layer_axis(grid[1, column], last)
        for axes in grid[:, column]:
            palette.mark_final_norm(axes, last)
    grid[0, 0].set_ylabel("selectivity\n(read − read on control)")
    grid[1, 0].set_ylabel("share of held-out\nnumbers read")
    grid[1, 0].set_ylim(-0.02, 1.02)
    for axes in grid[0]:
        panels.reference_line(axes, 0.0)
        axes.tick_params(labelbottom=False)
    if not probes:
        for axes in grid.flat:
            panels.empty(axes, "no probe was trained on controls", style)
        return figure, source.table(("panel", "variant", "series", "x", "mean"))
    panels.key(
        figure,
        [
            panels.Mark(
                palette.CONTROL_NAMES[name],
                palette.CONTROL_COLOURS[name],
                palette.CONTROL_LINES[name],
            )
            for name in seen
        ],
    )
    panels.note(figure, _scale(data, variant, real, source.table()))
    return figure, source.table()


def controlled(data: FigureData, variant: str) -> list[str]:
    """The codes whose probes were trained on controls too, in their order."""
    table = data.table("readout")
    kept = (table["variant"] == variant) & (table["control"] != "none")
    return list(dict.fromkeys(table.loc[kept, "basis"]))


def found_controls(data: FigureData, figures: Figures, probe: str) -> dict[str, pd.DataFrame]:
    """Scores on every control that was run, as a row for each fit and a column for each layer.

    Random weights are a variant of their own, whose fits are paired with those of the main one by
    replicate and fold.
    """
    found = {
        control: outcomes.accuracies(data, figures.main, probe, control=control)
        for control in palette.CONTROL_NAMES
        if control != palette.UNTRAINED
    }
    if figures.untrained is not None:
        found[palette.UNTRAINED] = outcomes.accuracies(data, figures.untrained, probe)
    return {control: scores for control, scores in found.items() if not scores.empty}


def _gained(
    data: FigureData, figures: Figures, control: str, real: pd.DataFrame, scores: pd.DataFrame
) -> pd.DataFrame:
    """The probe's scores above those of a control, in pairs where their folds are the same.

    A variant with random weights may divide the numbers otherwise; then only its mean counts.
    """
    if control == palette.UNTRAINED and figures.untrained is not None:
        divided = [
            (config.prompts.limit, config.folds.split, config.folds.folds)
            for config in (data.config(figures.main), data.config(figures.untrained))
        ]
        if divided[0] != divided[1]:
            return (real - scores.mean()).dropna(how="all")
    return outcomes.above_control(real, scores)


def _scale(data: FigureData, variant: str, real: pd.DataFrame, table: pd.DataFrame) -> str:
    """The line below the figure, with the number of folds in which controls were trained."""
    text = layered.scale_text(data, variant, real)
    others = ["none", palette.UNTRAINED]
    drawn = table[(table["panel"] == "controls") & ~table["series"].isin(others)]
    if drawn.empty or drawn["n"].min() == len(real):
        return text
    return f"{text}; controls trained in {drawn['n'].min()} of them"


def _end_of_real(axes: Axes, real: pd.DataFrame, colour: str, style: Style) -> None:
    """Names the line of the probe itself."""
    rows = layered.over_fits(real)
    peak = int(rows["mean"].to_numpy().argmax())
    layer, height = int(rows["x"].iloc[peak]), float(rows["mean"].iloc[peak])
    above = height < 0.85
    axes.annotate(
        "no control", (layer, height), (0, 3 if above else -4),
        textcoords="offset points", ha="center", va="bottom" if above else "top",
        fontsize="small", color=colour, zorder=6,
    )  # fmt: skip
