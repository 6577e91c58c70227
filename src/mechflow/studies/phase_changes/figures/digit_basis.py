"""The digits of the addition model in the Fourier basis of ten points."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from torch import Tensor

from mechflow import fourier
from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import dots
from mechflow.figures.source import Label, Source
from mechflow.figures.style import CONTROL_COLOUR, INK, SIGNED, new_figure, styled
from mechflow.statistics import clipped
from mechflow.studies import networks
from mechflow.studies.phase_changes import variants
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.figures import palette
from mechflow.studies.phase_changes.figures.curves import SOURCE_COLUMNS, nothing
from mechflow.studies.phase_changes.tasks.addition import BASE

NO_ADDITION = "no variant on addition was run"
FREQUENCY_TICKS = ([0.0, 1.5, 3.5, 5.5, 7.5, 9.0], ["0", "1", "2", "3", "4", "5"])
"""The number of each frequency between its cosine and its sine."""
GRAMS = {
    ("trained", "digits"): "digit_gram",
    ("trained", "Fourier basis"): "digit_gram_fourier",
    ("untrained", "digits"): "digit_gram_untrained",
    ("untrained", "Fourier basis"): "digit_gram_fourier_untrained",
}
"""Where the Gram matrices of the digits' embeddings are kept, by model and basis."""

RANDOM_BASIS = "random basis"
_BASES = ("digits", "Fourier basis", RANDOM_BASIS)
_MATRICES = {"W_E": "norm of the row of $W_E$", "W_U": "norm of the row of $W_U$"}


@styled
def draw_fourier_basis(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """The basis, its Gram matrix, and those of digit embeddings in it and without it."""
    chosen = variants.of_task(data, "addition")
    source = Source()
    if not chosen:
        return nothing(style, NO_ADDITION), source.table(SOURCE_COLUMNS)
    colours = palette.colours(data, style)
    grams = {variant: data.tensors("spectra_arrays", variant) for variant in chosen}
    figure = new_figure(style, 2, 58 + 46 * len(chosen))
    above, *below = figure.subfigures(
        1 + len(chosen), 1, squeeze=False, height_ratios=[1.08] + [1] * len(chosen)
    )[:, 0]
    basis_axes, identity_axes, shares_axes = above.subplots(1, 3, width_ratios=(1, 1, 1.5))
    _basis(figure, basis_axes, identity_axes, source)
    _shares(shares_axes, grams, colours, source)
    for part, variant in zip(below, chosen, strict=True):
        grid = list(part.subplots(1, len(GRAMS)))
        mesh = _grams(grid, grams[variant], variant, figures.replicate, style, source)
        panels.colour_bar(figure, mesh, grid, "inner product", location="right", shrink=0.8)
        panels.row_title(grid[0], variant, colours[variant], "digit")
    panels.key(
        figure,
        [
            panels.Mark("trained (in the variant's colour)", INK, marker="o"),
            panels.Mark("untrained", CONTROL_COLOUR, marker="o", filled=False),
        ],
    )
    networks_shown = pd.DataFrame(
        [(v, r) for v, arrays in grams.items() for r in range(len(arrays["digit_gram"]))],
        columns=networks.KEY,
    )
    count = palette.scale(data, chosen, networks_shown)
    panels.note(figure, f"{count}; Gram matrices of training seed {figures.replicate}")
    return figure, source.table()


def _basis(figure: Figure, axes: Axes, gram_axes: Axes, source: Source) -> None:
    """The rows of the basis, and their inner products."""
    basis = fourier.fourier_basis(BASE)
    gram = basis @ basis.T
    for panel, values, limit, name, indices in (
        (axes, basis, 0.5, "basis", ("component", "digit")),
        (gram_axes, gram, 1.0, "basis Gram matrix", ("row", "column")),
    ):
        mesh = panels.heat_map(panel, values, SIGNED, (-limit, limit))
        panel.invert_yaxis()
        panels.colour_bar(
            figure, mesh, panel, "", location="right", shrink=0.8, ticks=[-limit, 0, limit]
        )
        source.add_map(values, *indices, panel=name, series="Fourier basis", kind="map")
    axes.set_title("Fourier basis of ten points")
    axes.set_yticks(range(BASE), fourier.component_labels(BASE))
    axes.set_xticks(range(0, BASE, 3))
    axes.set_xlabel("digit")
    error = float((gram - torch.eye(BASE, dtype=gram.dtype)).abs().max())
    gram_axes.set_title("its Gram matrix: the identity")
    gram_axes.set_xlabel(f"row of frequency k; error {error:.0e}".replace("e-", "e−"))
    _frequency_ticks(gram_axes, "xy")
    source.add_row(panel="basis Gram matrix", series="largest error", kind="text", value=error)


def _grams(
    grid: Sequence[Axes], arrays: Mapping[str, Tensor], variant: str, replicate: int,
    style: Style, source: Source,
) -> QuadMesh:  # fmt: skip
    """Gram matrices of one network and of the same before training, on one scale of colours."""
    found = {key: arrays[name][replicate] for key, name in GRAMS.items() if name in arrays}
    limit = max(float(gram.abs().max()) for gram in found.values()) or 1.0
    mesh: QuadMesh | None = None
    for axes, key in zip(grid, GRAMS, strict=True):
        model, basis = key
        if key not in found:
            panels.empty(axes, f"{model}: not stored", style)
            continue
        axes.set_title(f"{model}, {'in ' if 'Fourier' in basis else ''}{basis}")
        mesh = panels.heat_map(axes, found[key], SIGNED, (-limit, limit))
        axes.invert_yaxis()
        if basis == "digits":
            axes.set_xticks(range(0, BASE, 3))
            axes.set_yticks(range(0, BASE, 3))
            axes.set_xlabel("digit")
        else:
            _frequency_ticks(axes, "xy")
            axes.set_xlabel("row of frequency k")
        source.add_map(
            found[key], "row", "column", panel="Gram matrix", variant=variant,
            series=f"{model}, {basis}", kind="map", replicate=replicate,
        )  # fmt: skip
    assert mesh is not None, "trained networks have Gram matrices"
    return mesh


def _shares(
    axes: Axes, grams: Mapping[str, Mapping[str, Tensor]], colours: Mapping[str, str],
    source: Source,
) -> None:  # fmt: skip
    """How much of each Gram matrix is off its diagonal, by basis."""
    models = [(variant, model) for variant in grams for model in ("trained", "untrained")]
    room = 0.85 / len(models)
    for place, basis in enumerate(_BASES):
        for shift, (variant, model) in enumerate(models):
            kept_in = "Fourier basis" if basis == RANDOM_BASIS else basis
            name = GRAMS[model, kept_in]
            if name not in grams[variant]:
                continue
            gram = grams[variant][name].double()
            measure = off_diagonal_of_random_bases if basis == RANDOM_BASIS else off_diagonal
            values = measure(gram).numpy()
            single = pd.DataFrame({"replicate": range(len(values)), "value": values})
            trained = model == "trained"
            ink = colours[variant] if trained else CONTROL_COLOUR
            look = {"colour": ink, "filled": trained, "spread": 0.45 * room}
            where = place + room * (shift - (len(models) - 1) / 2)
            labels = {"panel": "off the diagonal", "variant": variant, "series": model}
            mark(axes, where, single, look, {**labels, "basis": basis}, source)
    panels.ticks_at(axes, range(len(_BASES)), _BASES)
    axes.set_xlim(-0.5, len(_BASES) - 0.5)
    axes.set_ylim(bottom=0.0)
    axes.set_ylabel("share of the Gram matrix\noff its diagonal")


def mark(
    axes: Axes, place: float | int, values: pd.DataFrame, look: Mapping[str, Any],
    labels: Mapping[str, Label], source: Source, bounds: tuple[float, float] = (0.0, 1.0),
) -> None:  # fmt: skip
    """Dots of training seeds with their mean and interval, drawn and kept as source data.

    Args:
        axes: the panel.
        place: where along the x axis.
        values: columns replicate and value.
        look: colour and further options of ``panels.dots``.
        labels: what the source data call it.
        source: what is drawn.
        bounds: least and largest possible value.
    """
    summary = clipped(dots(values["value"].to_numpy()), *bounds)
    panels.dots(axes, place, values["value"].to_list(), summary, **{"spread": 0.18, **look})
    source.add(values[["replicate", "value"]], **labels, kind="replicate")
    source.add_row(
        **labels, kind="mean", value=summary.centre, low=summary.low, high=summary.high,
        n=summary.n,
    )  # fmt: skip


def off_diagonal(gram: Float[Tensor, "*R n n"]) -> Float[Tensor, "*R"]:
    """Share of the sum of squares of a Gram matrix that is off its diagonal; 0 for zeros."""
    total = gram.square().sum((-2, -1))
    own = gram.diagonal(dim1=-2, dim2=-1).square().sum(-1)
    return torch.where(total > 0, 1 - own / total, 0.0)


def off_diagonal_of_random_bases(gram: Float[Tensor, "*R n n"]) -> Float[Tensor, "*R"]:
    """The expected `off_diagonal` in a random orthonormal basis of what is not constant.

    A direction q drawn uniformly from the sphere in m = n - 1 dimensions has
    E (q^T G q)² = (2 tr G² + (tr G)²) / (m (m + 2)), the moment of fourth order of q.

    Args:
        gram: Gram matrices whose constant, the first row and column, is zero.
    """
    m = gram.shape[-1] - 1
    total = gram.square().sum((-2, -1))
    trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    own = (2 * total + trace.square()) / (m + 2)
    return torch.where(total > 0, 1 - own / total, 0.0)


@styled
def draw_digit_spectrum(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Norm of every Fourier row of the digits' embeddings and unembeddings."""
    chosen = variants.of_task(data, "addition")
    source = Source()
    if not chosen:
        return nothing(style, NO_ADDITION), source.table(SOURCE_COLUMNS)
    colours = palette.colours(data, style)
    spectra = data.table("spectra")
    figure = new_figure(style, 2, 92)
    grid = figure.subplots(2, len(chosen), squeeze=False, sharex=True, sharey="row")
    for column, variant in enumerate(chosen):
        panels.variant_title(grid[0, column], variant, colours[variant], "left")
        for axes, matrix in zip(grid[:, column], _MATRICES, strict=True):
            rows = networks.select(spectra, variant=variant, matrix=matrix)
            _norms(axes, rows, colours[variant], source)
            panels.corner_text(axes, _gini(rows, source), style, corner="upper right")
        panels.ticks_at(grid[1, column], range(BASE), fourier.component_labels(BASE))
        grid[1, column].tick_params(axis="x", rotation=90)
        grid[1, column].set_xlabel("row of the Fourier basis")
    for axes, label in zip(grid[:, 0], _MATRICES.values(), strict=True):
        axes.set_ylabel(label)
        axes.set_ylim(0.0, 1.12 * axes.get_ylim()[1])
    panels.key(
        figure,
        [
            panels.Mark("trained (in the variant's colour)", INK, marker="o"),
            panels.Mark("untrained", CONTROL_COLOUR, marker="o", filled=False),
        ],
    )
    panels.note(figure, palette.scale(data, chosen, spectra))
    return figure, source.table()


def _norms(axes: Axes, rows: pd.DataFrame, colour: str, source: Source) -> None:
    """A dot for each replicate and row of the basis, trained beside untrained."""
    norms = networks.select(rows, quantity="fourier_norm")
    for model, shift, look in trained_beside_untrained(colour):
        for row, part in networks.select(norms, model=model).groupby("index"):
            index = int(str(row))
            labels: dict[str, Label] = {**_labels(rows), "series": model, "x": index}
            mark(axes, index + shift, part, look, labels, source, (0.0, np.inf))


def trained_beside_untrained(colour: str) -> tuple[tuple[str, float, dict[str, Any]], ...]:
    """How dots of trained networks look and how those of untrained ones, and where they stand."""
    return (
        ("trained", -0.18, {"colour": colour}),
        ("untrained", 0.18, {"colour": CONTROL_COLOUR, "filled": False}),
    )


def _gini(rows: pd.DataFrame, source: Source) -> str:
    """How unequal the norms are, in words."""
    found = networks.select(rows, quantity="gini").groupby("model")["value"].mean()
    for model, value in found.items():
        source.add_row(**_labels(rows), series=str(model), kind="gini", value=float(value))
    return f"Gini {found['trained']:.2f}, untrained {found['untrained']:.2f}"


def _labels(rows: pd.DataFrame) -> dict[str, str]:
    return {"panel": str(rows["matrix"].iloc[0]), "variant": str(rows["variant"].iloc[0])}


def _frequency_ticks(axes: Axes, which: str) -> None:
    places, names = FREQUENCY_TICKS
    if "x" in which:
        axes.set_xticks(places, names)
    if "y" in which:
        axes.set_yticks(places, names)
    axes.tick_params(length=0)
