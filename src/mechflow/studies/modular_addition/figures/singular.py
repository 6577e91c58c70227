"""Singular values of embeddings and of the neuron-logit map, and directions of the embedding."""

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow import fourier
from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import band
from mechflow.figures.source import Source
from mechflow.figures.style import CONTROL_COLOUR, INK, new_figure, small_pt, styled
from mechflow.studies.modular_addition.config import Figures
from mechflow.studies.modular_addition.figures import shown

_MATRICES = {
    "W_E": "$W_E$",
    "W_L": "$W_L = W_{out} W_U$",
    "pattern.h0": "attention to a, head 0",
}
_SMALLEST_SHOWN = 1e-4
_SERIES = (
    ("trained", "latent", "trained", "-"),
    ("trained", "quantised", "trained, quantised weights", (0, (3.5, 1.2))),
    ("untrained", "latent", "untrained", (0, (3.5, 1.2))),
    ("gaussian", "latent", "Gaussian matrix", (0, (1, 1.2))),
)


@styled
def draw_singular_values(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Singular values of W_E, W_L and an attention pattern beside both controls."""
    variants = shown.compared(data, figures)
    colours = shown.colours(data, style)
    spectra = data.table("spectra")
    values = _normalised(shown.of(spectra, quantity="singular_value"))
    ranks = shown.of(spectra, quantity="effective_rank", model="trained", weights="latent")
    figure = new_figure(style, 2, 46 * len(_MATRICES))
    grid = figure.subplots(len(_MATRICES), len(variants), squeeze=False, sharex="row", sharey="row")
    source = Source()
    for column, variant in enumerate(variants):
        panels.variant_title(grid[0, column], variant, colours[variant])
        for axes, (matrix, name) in zip(grid[:, column], _MATRICES.items(), strict=True):
            rows = shown.of(values, variant=variant, matrix=matrix)
            _spectra(axes, rows, colours[variant], {"panel": matrix, "variant": variant}, source)
            rank = shown.of(ranks, variant=variant, matrix=matrix)["value"].mean()
            text = f"{name}\neffective rank {rank:.1f}"
            panels.corner_text(axes, text, style, corner="upper right")
            source.add_row(
                panel=matrix, variant=variant, series="effective rank", kind="text", y=rank
            )
            axes.set_xlabel("rank")
            if column == 0:
                axes.set_ylabel("singular value\n(share of the norm)")
    # Limits last: setting one end of a shared axis fixes the other as well.
    for axes, matrix in zip(grid[:, 0], _MATRICES, strict=True):
        if matrix.startswith("pattern"):
            # The mean dwarfs all that depends on a and b.
            axes.set_yscale("log")
            axes.set_ylim(_SMALLEST_SHOWN, 2)
        else:
            axes.set_ylim(bottom=0)
    marks = [
        panels.Mark(label, INK if model == "trained" else CONTROL_COLOUR, line)
        for model, weights, label, line in _SERIES
        if not shown.of(values, model=model, weights=weights).empty
    ]
    panels.key(figure, marks)
    panels.note(figure, shown.scale(data, variants, values))
    return figure, source.table()


def _normalised(rows: pd.DataFrame) -> pd.DataFrame:
    """Singular values divided by the Frobenius norm of their matrix; ranks from 1."""
    keys = ["variant", "replicate", "model", "weights", "matrix"]
    squares = rows["value"].pow(2).groupby([rows[k] for k in keys]).transform("sum")
    norm = np.sqrt(squares).where(squares > 0, 1.0)
    return rows.assign(value=rows["value"] / norm, index=rows["index"] + 1)


def _spectra(
    axes: Axes, rows: pd.DataFrame, colour: str, labels: dict[str, str], source: Source
) -> None:
    for model, weights, name, line in _SERIES:
        part = shown.of(rows, model=model, weights=weights)
        if part.empty:
            continue
        mean = band(part, "index")
        ink = colour if model == "trained" else CONTROL_COLOUR
        panels.mean_line(axes, mean, ink, line, shaded=weights == "latent")
        source.add(mean.rename(columns={"mean": "y"}), **labels, series=name, kind="mean")


@styled
def draw_principal_directions(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """The first left singular vectors of W_E over the residues."""
    variants = shown.compared(data, figures)
    colours = shown.colours(data, style)
    directions = {
        v: data.tensors("spectra_arrays", v)["W_E_directions"][figures.replicate] for v in variants
    }
    count = max(d.shape[1] for d in directions.values())
    figure = new_figure(style, 2, 14 + 16 * count)
    grid = figure.subplots(count, len(variants), squeeze=False, sharex="col", sharey=True)
    source = Source()
    for column, variant in enumerate(variants):
        panels.variant_title(grid[0, column], variant, colours[variant], "left")
        for row, axes in enumerate(grid[:, column]):
            if row >= directions[variant].shape[1]:
                axes.set_axis_off()
                continue
            values = directions[variant][:, row].double()
            axes.axhline(0, color=CONTROL_COLOUR, lw=0.3, zorder=0)
            axes.plot(values, color=colours[variant], lw=0.9, marker="o", ms=1.1)
            k, share = _main_frequency(values)
            axes.set_title(
                f"k = {k} holds {panels.percent(share)}",
                loc="right",
                fontsize=small_pt(style),
                pad=1,
            )
            frame = pd.DataFrame({"x": range(len(values)), "y": values.numpy()})
            labels = {"panel": f"direction {row + 1}", "variant": variant, "series": "direction"}
            source.add(frame, **labels, kind="replicate", replicate=figures.replicate)
            source.add_row(
                panel=f"direction {row + 1}", variant=variant, series="main frequency",
                kind="text", replicate=figures.replicate, x=k, y=share,
            )  # fmt: skip
            if column == 0:
                axes.set_ylabel(f"direction {row + 1}")
        grid[-1, column].set_xlabel("residue")
    panels.note(figure, shown.single(data, figures, variants))
    return figure, source.table()


def _main_frequency(values: torch.Tensor) -> tuple[int, float]:
    """The frequency with the most power in a function of the residue, and its share."""
    shares = fourier.frequency_power(fourier.transform_1d(values[:, None]), share=True)
    best = shares.max(dim=0)
    return int(best.indices) + 1, float(best.values)
