"""Neurons of the MLP as functions of the pair (a, b)."""

import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from mechflow import fourier
from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import band, dots
from mechflow.figures.source import Source
from mechflow.figures.style import (
    CONTROL_COLOUR,
    INK,
    LEVELS,
    MAGNITUDES,
    new_figure,
    small_pt,
    styled,
)
from mechflow.statistics import clipped
from mechflow.studies.modular_addition import outcomes
from mechflow.studies.modular_addition.config import Figures
from mechflow.studies.modular_addition.figures import shown

_COLUMNS = 3


@styled
def draw_neuron_activations(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Activations of the first neurons over all pairs (a, b)."""
    return _neuron_maps(data, figures, style, spectra=False)


@styled
def draw_neuron_spectra(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """The same neurons in the two-dimensional Fourier basis."""
    return _neuron_maps(data, figures, style, spectra=True)


def _neuron_maps(
    data: FigureData, figures: Figures, style: Style, *, spectra: bool
) -> tuple[Figure, pd.DataFrame]:
    """A grid of variants by neurons, each map scaled to its own largest value."""
    variants = shown.compared(data, figures)
    colours = shown.colours(data, style)
    arrays = {v: data.tensors("spectra_arrays", v) for v in variants}
    maps = {v: arrays[v]["example_neurons"][figures.replicate] for v in variants}
    count = max(len(values) for values in maps.values())
    x, y = ("$k_b$", "$k_a$") if spectra else ("b", "a")
    figure = new_figure(style, 2, 12 + len(variants) * (4 + 150 / count))
    grid = figure.subplots(len(variants), count, squeeze=False)
    source = Source()
    mesh = None
    for row, variant in zip(grid, variants, strict=True):
        fraction = arrays[variant]["neuron_fraction"][figures.replicate]
        for neuron, axes in enumerate(row):
            if neuron >= len(maps[variant]):
                axes.set_axis_off()
                continue
            values = maps[variant][neuron].double()
            best = fraction[:, neuron].max(dim=0)
            title = f"k = {int(best.indices) + 1}: {panels.percent(float(best.values))}"
            if spectra:
                values = frequency_map(values)
            largest = float(values.abs().max())
            if largest == 0:
                title = "silent"
            elif not spectra:
                title = f"max {largest:.2g}"
            scaled = values / (largest or 1.0)
            mesh = panels.heat_map(axes, scaled, MAGNITUDES if spectra else LEVELS, (0.0, 1.0))
            axes.set_title(title, fontsize=small_pt(style))
            labels = {"panel": f"neuron {neuron}", "variant": variant}
            rows, columns = ("k_a", "k_b") if spectra else ("a", "b")
            source.add_map(values, rows, columns, **labels, replicate=figures.replicate)
            if axes in grid[-1]:
                axes.set_xlabel(x)
            else:
                axes.tick_params(labelbottom=False)
            if neuron:
                axes.tick_params(labelleft=False)
        panels.row_title(row[0], variant, colours[variant], y)
    if mesh is not None:
        label = "norm / largest" if spectra else "activation / largest"
        panels.colour_bar(figure, mesh, list(grid.flat), label, location="right")
    panels.note(figure, shown.single(data, figures, variants))
    return figure, source.table()


def frequency_map(values: Float[Tensor, "p p"]) -> Float[Tensor, "k k"]:
    """Norm of a function of (a, b) at each pair of frequencies, without the constant.

    Cosine and sine of a frequency count as one: 0 .. p // 2 for a by the same for b.
    """
    p = len(values)
    power = fourier.transform_2d(values.reshape(p * p, 1), p)[..., 0].square()
    power[0, 0] = 0.0
    membership = torch.arange(p // 2 + 1)[:, None] == fourier.component_frequency(p)
    sums = membership.to(power)
    return (sums @ power @ sums.T).sqrt()


@styled
def draw_neurons_explained(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Share of each neuron's variance in its best frequency, sorted, for every variant."""
    colours = shown.colours(data, style)
    fractions = _sorted(shown.of(data.table("spectra"), quantity="neuron_fraction_explained"))
    above = outcomes.neurons_explained(data)
    columns = min(_COLUMNS, len(data.variants))
    rows = -(-len(data.variants) // columns)
    figure = new_figure(style, 2, 14 + 42 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    source = Source()
    for axes in grid.flat[len(data.variants) :]:
        axes.set_axis_off()
    for index, (axes, variant) in enumerate(zip(grid.flat, data.variants, strict=False)):
        panels.variant_title(axes, variant, colours[variant], "left")
        threshold = data.config(variant).spectra.key_frequencies.neuron_fraction
        panels.reference_line(axes, threshold)
        for model, colour in (("untrained", CONTROL_COLOUR), ("trained", colours[variant])):
            part = shown.of(fractions, variant=variant, model=model)
            mean = band(part, "x")
            mean[["low", "high"]] = mean[["low", "high"]].clip(0.0, 1.0)
            panels.replicate_lines(axes, part, "x", colour)
            panels.mean_line(axes, mean, colour)
            labels = {"panel": variant, "variant": variant, "series": model}
            single = part[["replicate", "x", "value"]].rename(columns={"value": "y"})
            source.add(single, **labels, kind="replicate")
            source.add(mean.rename(columns={"mean": "y"}), **labels, kind="mean")
        share = clipped(dots(above.loc[variant].to_numpy()), 0.0, 1.0)
        text = f"{panels.percent(share.centre)} above {threshold:g}"
        if share.low == share.low:
            text += f" [{100 * share.low:.0f}, {100 * share.high:.0f}]"
        axes.set_title(text, loc="right", fontsize=small_pt(style))
        labels = {"panel": variant, "variant": variant, "series": "neurons above the threshold"}
        source.add_row(**labels, kind="text", y=share.centre, low=share.low, high=share.high)
        if index + columns >= len(data.variants):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("share of neurons, sorted")
    for axes in grid[:, 0]:
        axes.set_ylabel("variance explained\nby one frequency")
    grid[0, 0].set_ylim(0, 1.02)
    grid[0, 0].set_xlim(0, 1)
    grid[0, 0].set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    panels.key(
        figure,
        [
            panels.Mark("trained (in the variant's colour)", INK),
            panels.Mark("untrained", CONTROL_COLOUR),
            panels.Mark("threshold of a cluster", CONTROL_COLOUR, (0, (1, 1.5))),
        ],
    )
    panels.note(figure, shown.scale(data, data.variants, fractions))
    return figure, source.table()


def _sorted(rows: pd.DataFrame) -> pd.DataFrame:
    """Neurons from the best explained one on, with their place as a share of all neurons."""
    keys = ["variant", "replicate", "model"]
    ordered = rows.sort_values([*keys, "value"], ascending=[True] * 3 + [False])
    groups = ordered.groupby(keys)["value"]
    return ordered.assign(x=(groups.cumcount() + 0.5) / groups.transform("size"))
