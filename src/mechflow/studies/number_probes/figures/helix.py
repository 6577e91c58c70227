"""Do the mean states turn smoothly with the number, or in steps with its digits?"""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import CONTROL_COLOUR, INK, new_figure, styled
from mechflow.statistics import summarise
from mechflow.studies.number_probes.config import Figures
from mechflow.studies.number_probes.figures.layered import of
from mechflow.studies.number_probes.figures.number_line import described, numbers_text, shown
from mechflow.studies.number_probes.figures.palette import (
    layer_axis,
    mark_final_norm,
    probe_colour,
)

HELIX, DIGITS = "helix_r2", "digit_circles_r2"
_FITS = {
    HELIX: ("helix: circles of n", probe_colour("sinusoidal")),
    DIGITS: ("circles of each digit", probe_colour("digits")),
}
_LINES: tuple[Any, ...] = ("-", (0, (3.5, 1.2)))
_LOWEST = -0.1


@styled
def draw_helix_or_digits(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Held-out R² of a helix and of digit circles, and their difference fold by fold."""
    variants = shown(data, figures)
    if not variants:
        raise ValueError(f"figures.main is {figures.main}, which did not run")
    table = data.table("geometry")
    table = table[table["quantity"].isin(list(_FITS)) & table["variant"].isin(variants)]
    last = int(table["layer"].max())
    figure = new_figure(style, 1, 104)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.25, 1.0))
    source = Source()
    for variant, line in zip(variants, _LINES, strict=False):
        rows = of(table, variant=variant)
        _scores(above, rows, variant, line, source)
        difference = summarise(differences(rows), ["layer"]).rename(columns={"layer": "x"})
        panels.mean_line(below, difference, INK, line)
        labels = {"panel": "difference", "variant": variant, "series": "helix − digits"}
        source.add(difference, **labels, kind="mean")
    drawn = source.table()
    panels.reference_line(below, 0.0)
    above.set_ylim(_LOWEST, 1.04)
    above.set_ylabel("held-out $R^2$ of mean states")
    below.set_ylabel("$R^2$ of helix − $R^2$ of digits\n← digits     helix →")
    means = drawn[drawn["panel"] == "difference"]
    panels.limit_to(below, pd.concat([means["low"], means["high"], pd.Series([0.0])]))
    layer_axis(below, last)
    for axes in (above, below):
        mark_final_norm(axes, last)
    marks = [panels.Mark(name, colour) for name, colour in _FITS.values()]
    marks += [
        panels.Mark(described(data, variant), INK, line)
        for variant, line in zip(variants, _LINES, strict=False)
    ]
    panels.key(figure, [*marks, panels.Mark("permuted numbers", CONTROL_COLOUR)], columns=2)
    folds = of(table, control="none")["index"].nunique()
    panels.note(figure, f"{numbers_text(data, variants[0])}, n = {folds} folds of them")
    return figure, drawn


def _scores(axes: Axes, rows: pd.DataFrame, variant: str, line: Any, source: Source) -> None:
    """Both fits and their permuted nulls by layer; intervals are over folds of the numbers."""
    for quantity, (name, colour) in _FITS.items():
        found = of(rows, quantity=quantity)
        labels = {"panel": "fit", "variant": variant}
        null = _by_fold(of(found, control="permuted"))
        if not null.empty:
            panels.mean_line(axes, null, CONTROL_COLOUR, line)
            source.add(null, **labels, series=f"{name}, permuted", kind="mean")
        mean = _by_fold(of(found, control="none"))
        panels.mean_line(axes, mean, colour, line)
        source.add(mean, **labels, series=name, kind="mean")


def _by_fold(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval over folds by layer, of the mean over permutations within a fold."""
    folds = rows.groupby(["layer", "index"], sort=True)["value"].mean().reset_index()
    return summarise(folds, ["layer"]).rename(columns={"layer": "x"})


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """R² of the helix minus R² of digit circles in each fold: layer, index, value."""
    observed = of(rows, control="none")
    wide = observed.pivot(index=["layer", "index"], columns="quantity", values="value")
    return (wide[HELIX] - wide[DIGITS]).rename("value").reset_index()
