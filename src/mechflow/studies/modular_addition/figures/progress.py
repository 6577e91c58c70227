"""Progress measures through training, beside those of random frequencies."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import band, per_replicate
from mechflow.figures.source import Source
from mechflow.figures.style import (
    CONTROL_COLOUR,
    INK,
    REFERENCE_COLOUR,
    new_figure,
    styled,
)
from mechflow.studies.modular_addition.config import Figures
from mechflow.studies.modular_addition.figures import shown

_DASHED = (0, (3.5, 1.2))
_DOTTED = (0, (1, 0.8))
_LINES: tuple[Any, ...] = ("-", _DASHED)
_RANDOM = "random_frequencies"


@dataclass(frozen=True)
class _Panel:
    """A loss that is set against the whole network's loss on the same split."""

    measure: str
    split: str
    label: str


_LOSSES = (
    _Panel("restricted_loss", "test", "restricted loss\non test pairs (nats)"),
    _Panel("excluded_loss", "train", "excluded loss\non train pairs (nats)"),
)
_NORMS = (
    (("gini.W_E", "gini.W_L"), "Gini coefficient"),
    (("squared_weights",), "sum of squared\nweights"),
)


@styled
def draw_progress_measures(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Restricted and excluded loss, Gini and squared weights of every checkpoint."""
    variants = shown.compared(data, figures)
    colours = shown.colours(data, style)
    progress = data.table("progress")
    progress = progress[(progress["step"] > 0) & progress["variant"].isin(variants)]
    figure = new_figure(style, 2, 168)
    grid = figure.subplots(4, len(variants), squeeze=False, sharex=True, sharey="row")
    source = Source()
    for column, variant in enumerate(variants):
        rows = shown.of(progress, variant=variant)
        panels.variant_title(grid[0, column], variant, colours[variant])
        for axes, panel in zip(grid[:2, column], _LOSSES, strict=True):
            uniform = shown.uniform_loss(data, variant)
            panels.reference_line(axes, uniform)
            _losses(axes, rows, panel, colours[variant], source)
            source.add_row(
                panel=panel.measure, variant=variant, series="uniform", kind="reference", y=uniform
            )
        for axes, (measures, _) in zip(grid[2:, column], _NORMS, strict=True):
            _norms(axes, rows, measures, colours[variant], style, source)
        grid[-1, column].set_xlabel(shown.STEP)
    for axes, panel in zip(grid[:2, 0], _LOSSES, strict=True):
        axes.set_ylabel(panel.label)
        panels.log_axis(axes)
        drawn = progress["metric"].isin(["loss", panel.measure])
        panels.limit_to(
            axes, progress.loc[drawn & (progress["split"] == panel.split), "value"], log=True
        )
    for axes, (measures, label) in zip(grid[2:, 0], _NORMS, strict=True):
        axes.set_ylabel(label)
        panels.limit_to(axes, progress.loc[progress["metric"].isin(measures), "value"])
    panels.log_axis(grid[0, 0], "x")
    panels.limit_to(grid[0, 0], progress["step"], log=True, axis="x")
    panels.key(figure, _marks(), columns=3)
    panels.note(figure, shown.scale(data, variants, progress))
    return figure, source.table()


def _marks() -> list[panels.Mark]:
    coloured = "(in the variant's colour)"
    return [
        panels.Mark(f"key frequencies {coloured}", INK),
        panels.Mark("the same by another definition", INK, _DASHED),
        panels.Mark("as many random frequencies", CONTROL_COLOUR),
        panels.Mark("whole network, same pairs", INK, _DOTTED),
        panels.Mark("all answers equally likely", REFERENCE_COLOUR, (0, (1, 1.5))),
    ]


def _losses(axes: Axes, rows: pd.DataFrame, panel: _Panel, colour: str, source: Source) -> None:
    """A measure for the key frequencies, for random ones, and the network's own loss."""
    measured = shown.of(rows, metric=panel.measure, split=panel.split)
    definitions = list(dict.fromkeys(measured["definition"]))
    random = per_replicate(shown.of(measured, control=_RANDOM), ["step"], log=True)
    series: list[tuple[str, pd.DataFrame, str, Any, bool]] = [
        ("random frequencies", random, CONTROL_COLOUR, "-", True)
    ]
    for definition, line in zip(definitions, _LINES, strict=False):
        key = shown.of(measured, control="none", definition=definition)
        series.append((f"key frequencies, {definition}", key, colour, line, line == "-"))
    own = shown.of(rows, metric="loss", split=panel.split)
    series.append((f"{panel.split} loss", own, INK, _DOTTED, False))
    for name, part, ink, style, shaded in series:
        if part.empty:
            continue
        _add(axes, part, ink, style, source, shaded, True, {
            "panel": panel.measure, "variant": str(rows["variant"].iloc[0]), "series": name,
        })  # fmt: skip


def _norms(
    axes: Axes, rows: pd.DataFrame, measures: tuple[str, ...], colour: str, style: Style,
    source: Source,
) -> None:  # fmt: skip
    for measure, line in zip(measures, _LINES, strict=False):
        part = shown.of(rows, metric=measure)
        variant = str(rows["variant"].iloc[0])
        labels = {"panel": measure.partition(".")[0], "variant": variant, "series": measure}
        mean = _add(axes, part, colour, line, source, True, False, labels)
        if len(measures) > 1:
            panels.line_end(axes, mean, f"${measure.partition('.')[2]}$", colour, style)


def _add(
    axes: Axes, part: pd.DataFrame, colour: str, line: Any, source: Source,
    shaded: bool, log: bool, labels: dict[str, str],
) -> pd.DataFrame:  # fmt: skip
    """Draws a mean with its band and, where it is shaded, the replicates; returns the mean."""
    mean = band(part, "step", log=log)
    panels.mean_line(axes, mean, colour, line, shaded=shaded)
    source.add(mean.rename(columns={"mean": "y"}), **labels, kind="mean")
    if shaded:
        panels.replicate_lines(axes, part, "step", colour, line)
        single = part[["replicate", "step", "value"]]
        single = single.rename(columns={"step": "x", "value": "y"})
        source.add(single, **labels, kind="replicate")
    return mean
