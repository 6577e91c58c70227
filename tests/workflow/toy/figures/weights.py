"""The toy study's weights."""

import pandas as pd
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures.data import FigureData
from mechflow.studies.toy.config import Figures


def draw_weights(data: FigureData, figures: Figures, style: Style) -> tuple[Figure, pd.DataFrame]:
    """Weights of every variant, divided by its modulus."""
    figure = Figure()
    axes = figure.subplots()
    rows = []
    for variant in data.variants:
        p = data.config(variant).dataset.p
        for replicate, total in enumerate(data.tensors("weights", variant)["total"].tolist()):
            rows.append((variant, replicate, total / p))
    source = pd.DataFrame(rows, columns=["variant", "replicate", "weight"])
    axes.plot(source["replicate"], source["weight"], "o")
    return figure, source
