"""The principal components of the mean states, as functions of the number."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import new_figure, small_pt, styled
from mechflow.studies.number_probes.config import Figures
from mechflow.studies.number_probes.figures import palette
from mechflow.studies.number_probes.figures.layered import of
from mechflow.studies.number_probes.figures.number_line import (
    chosen_layers,
    numbers_text,
    ordered_colours,
)

FloatArray = NDArray[np.float64]

_SHOWN = 4
"""Components that are drawn, at most."""
_BASE = 10
_NUMBERS = "plasma"
"""Colour map of the number line, unlike that of digits."""


@styled
def draw_principal_components(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Scores on the leading components over the numbers, at some layers of the main variant."""
    if figures.main not in data.variants:
        raise ValueError(f"figures.main is {figures.main}, which did not run")
    scores = data.tensors("geometry_arrays", figures.main)["pc_scores"].double().numpy()
    table = of(data.table("geometry"), variant=figures.main, quantity="component_share")
    share = table.pivot(index="layer", columns="index", values="value").to_numpy()
    last = len(scores) - 1
    layers = chosen_layers(last, figures.layer)
    count = min(_SHOWN, scores.shape[2])
    figure = new_figure(style, 2, 16 + 29 * len(layers))
    ratios = [1.3] * count + [1.0]
    grid = figure.subplots(len(layers), count + 1, squeeze=False, width_ratios=ratios)
    source = Source()
    points = None
    for row, layer in zip(grid, layers, strict=True):
        own = scores[layer] / max(np.abs(scores[layer]).max(), np.finfo(float).tiny)
        labels = {"panel": palette.layer_name(layer, last), "variant": figures.main}
        _components(list(row[:count]), own, share[layer], labels, style, source)
        points = _plane(row[count], own)
        row[0].set_ylabel(f"{palette.layer_name(layer, last)}\nscore")
    for axes in grid[:-1, :count].flat:
        axes.tick_params(labelbottom=False)
    for axes in grid[-1, :count]:
        axes.set_xlabel("number n")
    if points is not None:
        grid[-1, count].set_xlabel("PC 1")
        bar = figure.colorbar(points, ax=list(grid[:, count]), shrink=0.4, aspect=28, pad=0.03)
        bar.outline.set_visible(False)
        bar.ax.tick_params(width=0.4, size=1.6)
        bar.set_label("number n")
    figure.legend(
        handles=_digit_marks(), loc="outside upper center", ncols=_BASE + 1, handletextpad=0.1,
        columnspacing=0.8, title="last digit of n", title_fontsize=small_pt(style),
    )  # fmt: skip
    scale = numbers_text(data, figures.main)
    panels.note(figure, f"{scale}; scores are shares of the largest at the layer")
    return figure, source.table()


def _digit_colours() -> list[str]:
    return list(ordered_colours(range(_BASE)).values())


def _digit_marks() -> list[Line2D]:
    return [
        panels.Mark(str(digit), colour, marker="o").handle()
        for digit, colour in enumerate(_digit_colours())
    ]


def _components(
    row: Sequence[Axes], scores: FloatArray, share: FloatArray, labels: dict[str, str],
    style: Style, source: Source,
) -> None:  # fmt: skip
    """One panel for each component, titled with the share of variance that it holds."""
    for component, axes in enumerate(row):
        _over_numbers(axes, scores[:, component])
        name, held = f"PC {component + 1}", float(share[component])
        axes.set_title(f"{name}: {panels.percent(held)}", fontsize=small_pt(style))
        axes.set_ylim(-1.08, 1.08)
        axes.tick_params(labelleft=component == 0)
        frame = pd.DataFrame({"number": range(len(scores)), "value": scores[:, component]})
        source.add(frame, **labels, series=name, kind="score")
        source.add_row(**labels, series=f"{name}, share of variance", kind="text", value=held)


def _over_numbers(axes: Axes, scores: FloatArray) -> None:
    """A dot for each number, in the colour of its last digit."""
    n = np.arange(len(scores))
    for digit, colour in enumerate(_digit_colours()):
        axes.plot(
            n[digit::_BASE], scores[digit::_BASE], ls="none", marker="o", ms=0.9, mew=0,
            color=colour, rasterized=True,
        )  # fmt: skip


def _plane(axes: Axes, scores: FloatArray) -> PathCollection | None:
    """The first component against the second, coloured along the number line."""
    if scores.shape[1] < 2:
        axes.set_axis_off()
        return None
    axes.set_ylabel("PC 2")
    return axes.scatter(
        scores[:, 0], scores[:, 1], c=np.arange(len(scores)), cmap=_NUMBERS, s=1.4, lw=0,
        rasterized=True,
    )  # fmt: skip
