"""Attention from the "=" token."""

import pandas as pd
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import LEVELS, new_figure, styled
from mechflow.studies.modular_addition.config import Figures
from mechflow.studies.modular_addition.figures import shown

_TO_A = 0


@styled
def draw_attention(data: FigureData, figures: Figures, style: Style) -> tuple[Figure, pd.DataFrame]:
    """The share of attention that "=" pays to a, over all pairs (a, b), head by head."""
    variants = shown.compared(data, figures)
    colours = shown.colours(data, style)
    patterns = {
        v: data.tensors("spectra_arrays", v)["attention"][figures.replicate, :, _TO_A]
        for v in variants
    }
    heads = max(len(pattern) for pattern in patterns.values())
    figure = new_figure(style, 2, 12 + len(variants) * min(48, 160 / heads))
    grid = figure.subplots(len(variants), heads, squeeze=False)
    source = Source()
    mesh = None
    for row, variant in zip(grid, variants, strict=True):
        for head, axes in enumerate(row):
            if head >= len(patterns[variant]):
                axes.set_axis_off()
                continue
            values = patterns[variant][head]
            mesh = panels.heat_map(axes, values, LEVELS, (0.0, 1.0))
            labels = {"panel": f"head {head}", "variant": variant}
            source.add_map(values, "a", "b", **labels, replicate=figures.replicate)
            if axes in grid[0]:
                axes.set_title(f"head {head}")
            if axes in grid[-1]:
                axes.set_xlabel("b")
            else:
                axes.tick_params(labelbottom=False)
            if head:
                axes.tick_params(labelleft=False)
        panels.row_title(row[0], variant, colours[variant], "a")
    if mesh is not None:
        panels.colour_bar(figure, mesh, list(grid.flat), "attention to a", location="right")
    panels.note(figure, shown.single(data, figures, variants))
    return figure, source.table()
