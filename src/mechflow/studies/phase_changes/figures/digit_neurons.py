"""What the neurons of the addition model do with the two digits of a column."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from mechflow import fourier
from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import dots
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
from mechflow.statistics import clipped
from mechflow.studies import networks
from mechflow.studies.phase_changes import variants
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.digits import BASE
from mechflow.studies.phase_changes.figures import palette
from mechflow.studies.phase_changes.figures.curves import SOURCE_COLUMNS, nothing
from mechflow.studies.phase_changes.figures.digit_basis import FREQUENCY_TICKS

MATRIX = "neurons.digit."
"""How the table calls the neurons at one place, before the power of ten predicted there."""
NO_NEURONS = "no variant on addition with an MLP was run"

_FREQUENCIES = range(1, BASE // 2 + 1)
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
        _examples(parts[2 * index + 1], arrays, variant, figures.replicate, style, source)
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
    for model, shift, ink in (("trained", -0.18, colour), ("untrained", 0.18, CONTROL_COLOUR)):
        for k in _FREQUENCIES:
            part = networks.select(rows, model=model, index=k)[["replicate", "value"]]
            summary = clipped(dots(part["value"].to_numpy()), 0.0, 1.0)
            panels.dots(
                axes, k + shift, part["value"].to_list(), summary, ink,
                filled=model == "trained", spread=0.22,
            )  # fmt: skip
            marks = {**labels, "series": model, "x": k}
            source.add(part, **marks, kind="replicate")
            source.add_row(
                **marks, kind="mean", value=summary.centre, low=summary.low, high=summary.high,
                n=summary.n,
            )  # fmt: skip


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


def _examples(
    figure: SubFigure, arrays: dict[str, Tensor], variant: str, replicate: int, style: Style,
    source: Source,
) -> None:  # fmt: skip
    """The power of all neurons where the units are predicted, and a few of the neurons."""
    neurons = arrays["pair_means"][replicate].double()
    numbers = arrays["pair_mean_neurons"][replicate].tolist()
    grid = figure.subplots(1, 1 + len(neurons))
    power = arrays["pair_power"][:, 0].double().mean(0)
    power_map = panels.heat_map(grid[0], power.sqrt(), MAGNITUDES)
    grid[0].set_title("all neurons", fontsize=small_pt(style))
    grid[0].set_xticks(*FREQUENCY_TICKS)
    grid[0].set_yticks(*FREQUENCY_TICKS)
    grid[0].tick_params(length=0)
    grid[0].set_xlabel("$k_y$")
    grid[0].set_ylabel("$k_x$")
    panels.colour_bar(
        figure, power_map, grid[0], "root of share", location="right", shrink=0.9, aspect=20
    )
    labels = {"variant": variant, "kind": "map"}
    source.add_map(power, "k_x", "k_y", panel="power, units predicted", series="trained", **labels)
    mesh = None
    for axes, neuron, values in zip(grid[1:], numbers, neurons, strict=True):
        largest = float(values.abs().max())
        mesh = panels.heat_map(axes, values / (largest or 1.0), LEVELS, (0.0, 1.0))
        axes.set_title(f"{neuron}: max {largest:.2g}", fontsize=small_pt(style))
        source.add_map(
            values, "x", "y", panel=f"neuron {neuron}", series="trained", replicate=replicate,
            **labels,
        )  # fmt: skip
        _digit_axes(axes, first=axes is grid[1])
    if mesh is not None:
        panels.colour_bar(
            figure, mesh, list(grid[1:]), "mean / largest", location="right", shrink=0.9,
            aspect=20, ticks=[0, 1],
        )  # fmt: skip


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
