"""What the neurons of the addition model do with the two digits of a column."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from mechflow import fourier
from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import (
    CONTROL_COLOUR,
    INK,
    LEVELS,
    MAGNITUDES,
    REFERENCE_COLOUR,
    new_figure,
    small_pt,
    styled,
)
from mechflow.studies import networks
from mechflow.studies.phase_changes import variants
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.figures import palette
from mechflow.studies.phase_changes.figures.curves import SOURCE_COLUMNS, nothing
from mechflow.studies.phase_changes.figures.digit_basis import (
    FREQUENCY_TICKS,
    mark,
    trained_beside_untrained,
)
from mechflow.studies.phase_changes.tasks.addition import BASE

MATRIX = "neurons.digit."
"""How the table calls the neurons at one place, before the power of ten predicted there."""
NO_NEURONS = "no variant on addition with an MLP was run"

_FREQUENCIES = range(1, BASE // 2 + 1)
_SMALL_BAR: dict[str, Any] = {"location": "right", "shrink": 0.9, "aspect": 20}
_HEIGHTS_MM = (33, 29)


@styled
def draw_digit_neurons(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Shares of the neurons' variance by frequency, and neurons as functions of two digits."""
    spectra = data.table("spectra")
    spectra = spectra[spectra["matrix"].str.startswith(MATRIX)]
    chosen = [v for v in variants.of_task(data, "addition") if v in set(spectra["variant"])]
    source = Source()
    if not chosen:
        return nothing(style, NO_NEURONS), source.table(SOURCE_COLUMNS)
    colours = palette.colours(data, style)
    figure = new_figure(style, 2, 12 + sum(_HEIGHTS_MM) * len(chosen))
    parts = figure.subfigures(
        2 * len(chosen), 1, squeeze=False, height_ratios=_HEIGHTS_MM * len(chosen)
    )[:, 0]
    for index, variant in enumerate(chosen):
        rows = networks.select(spectra, variant=variant)
        _by_digit(parts[2 * index], rows, colours[variant], style, source)
        arrays = data.tensors("spectra_arrays", variant)
        grid = list(parts[2 * index + 1].subplots(1, 1 + arrays["pair_means"].shape[1]))
        power = _power_map(grid[0], arrays, variant, style, source)
        panels.colour_bar(figure, power, grid[0], "root of share", **_SMALL_BAR)
        means = _examples(grid[1:], arrays, variant, figures.replicate, style, source)
        panels.colour_bar(figure, means, grid[1:], "mean / largest", ticks=[0, 1], **_SMALL_BAR)
    panels.key(
        figure,
        [
            panels.Mark("trained (in the variant's colour)", INK, marker="o"),
            panels.Mark("untrained", CONTROL_COLOUR, marker="o", filled=False),
            panels.Mark("neurons without structure", REFERENCE_COLOUR, (0, (1, 1.5))),
        ],
    )
    count = palette.scale(data, chosen, spectra)
    panels.note(figure, f"{count}; neurons of training seed {figures.replicate}")
    return figure, source.table()


def _by_digit(
    figure: SubFigure, rows: pd.DataFrame, colour: str, style: Style, source: Source
) -> None:
    """One panel for each digit of the answer, units last, as they are written."""
    variant = str(rows["variant"].iloc[0])
    matrices = sorted(set(rows["matrix"]), key=_power, reverse=True)
    grid = figure.subplots(1, len(matrices), squeeze=False, sharey=True)[0]
    for axes, matrix in zip(grid, matrices, strict=True):
        part = networks.select(rows, matrix=matrix)
        labels = {"panel": matrix, "variant": variant}
        axes.set_title(f"{palette.group_name(matrix.removeprefix('neurons.'))} predicted")
        _shares(axes, networks.select(part, quantity="frequency_power"), colour, labels, source)
        _without_structure(axes, labels, source)
        noise = networks.select(part, quantity="sampling_share").groupby("model")["value"].mean()
        for model, value in noise.items():
            source.add_row(**labels, series=f"noise, {model}", kind="text", value=float(value))
        text = "\n".join(
            f"{'noise' if model == 'trained' else model} {panels.percent(noise[model])}"
            for model in ("trained", "untrained")
        )
        panels.corner_text(axes, text, style, corner="upper right")
        axes.set_xticks(list(_FREQUENCIES))
        axes.set_xlabel("frequency k")
    grid[0].set_ylim(0.0, 1.0)
    panels.row_title(grid[0], variant, colour, "share of variance")


def _shares(
    axes: Axes, rows: pd.DataFrame, colour: str, labels: dict[str, str], source: Source
) -> None:
    for model, shift, look in trained_beside_untrained(colour):
        for k in _FREQUENCIES:
            part = networks.select(rows, model=model, index=k)
            mark(axes, k + shift, part, look, {**labels, "x": k, "series": model}, source)


def _without_structure(axes: Axes, labels: dict[str, str], source: Source) -> None:
    """What functions of two digits have at each frequency if all directions are alike."""
    for k, share in zip(_FREQUENCIES, unstructured_shares(), strict=True):
        axes.hlines(
            share, k - 0.45, k + 0.45, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (1, 1.5)), zorder=0
        )
        source.add_row(**labels, series="without structure", kind="reference", x=k, value=share)


def unstructured_shares() -> list[float]:
    """Dimensions of each frequency's block {const, cos k, sin k}² without its constant, over all.

    The share of the variance that noise has there.
    """
    rows = np.bincount(fourier.component_frequency(BASE).numpy())[1:]
    return [float(((1 + n) ** 2 - 1) / (BASE**2 - 1)) for n in rows]


def _power_map(
    axes: Axes, arrays: dict[str, Tensor], variant: str, style: Style, source: Source
) -> QuadMesh:
    """The power of all neurons where the units are predicted, mean over networks."""
    power = arrays["pair_power"][:, 0].double().mean(0)
    mesh = panels.heat_map(axes, power.sqrt(), MAGNITUDES)
    axes.set_title("all neurons", fontsize=small_pt(style))
    axes.set_xticks(*FREQUENCY_TICKS)
    axes.set_yticks(*FREQUENCY_TICKS)
    axes.tick_params(length=0)
    axes.set_xlabel("$k_y$")
    axes.set_ylabel("$k_x$")
    source.add_map(
        power, "k_x", "k_y", panel="power, units predicted", variant=variant, series="trained",
        kind="map",
    )  # fmt: skip
    return mesh


def _examples(
    grid: Sequence[Axes], arrays: dict[str, Tensor], variant: str, replicate: int, style: Style,
    source: Source,
) -> QuadMesh:  # fmt: skip
    """Neurons of one network as functions of the two digits."""
    neurons = arrays["pair_means"][replicate].double()
    numbers = arrays["pair_mean_neurons"][replicate].tolist()
    for place, (axes, neuron, values) in enumerate(zip(grid, numbers, neurons, strict=True)):
        largest = float(values.abs().max())
        mesh = panels.heat_map(axes, values / (largest or 1.0), LEVELS, (0.0, 1.0))
        axes.set_title(f"{neuron}: max {largest:.2g}", fontsize=small_pt(style))
        source.add_map(
            values, "x", "y", panel=f"neuron {neuron}", variant=variant, series="trained",
            kind="map", replicate=replicate,
        )  # fmt: skip
        _digit_axes(axes, first=place == 0)
    return mesh


def _digit_axes(axes: Axes, *, first: bool) -> None:
    ticks: Sequence[int] = range(0, BASE, 3)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.set_xlabel("digit y")
    if first:
        axes.set_ylabel("digit x")
    else:
        axes.tick_params(labelleft=False)


def _power(matrix: str) -> int:
    return int(matrix.removeprefix(MATRIX))
