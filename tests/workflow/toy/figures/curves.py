"""The toy study's curves."""

import pandas as pd
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures.data import FigureData
from mechflow.studies.toy.config import Figures


def draw_curves(data: FigureData, figures: Figures, style: Style) -> tuple[Figure, pd.DataFrame]:
    """Loss against step."""
    curves = data.table("curves")
    figure = Figure(figsize=(style.column_width_mm / 25.4, 2))
    axes = figure.subplots()
    for variant, rows in curves.groupby("variant", sort=False):
        colour = style.colours.get(str(variant))
        axes.plot(rows["replicate"], rows["value"], "o", label=variant, color=colour)
    if figures.legend:
        axes.legend()
    return figure, curves
