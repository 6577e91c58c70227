"""What trained probes are made of: singular values, and the functions of the number they read."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import band
from mechflow.figures.source import Source
from mechflow.figures.style import REFERENCE_COLOUR, new_figure, styled
from mechflow.studies.number_probes import outcomes
from mechflow.studies.number_probes.config import Figures
from mechflow.studies.number_probes.figures.layered import End, label_ends, of
from mechflow.studies.number_probes.figures.number_line import (
    chosen_layers,
    numbers_text,
    ordered_colours,
)
from mechflow.studies.number_probes.figures.palette import (
    layer_axis,
    layer_name,
    mark_final_norm,
    probe_colour,
    probe_name,
)

MATRIX = "readout."
_FUNCTIONS = 4
"""Singular functions that are drawn, at most."""
_SMALLEST = 1e-3
"""Singular values below this share of the largest are cut off."""
_LOWEST_SHARE = 1e-5
_HEIGHT_MM = 22.0


@styled
def draw_probe_maps(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Singular values, effective ranks and periods of the probes' maps, and what they read."""
    if figures.main not in data.variants:
        raise ValueError(f"figures.main is {figures.main}, which did not run")
    table = of(data.table("spectra"), variant=figures.main)
    bases = [name.removeprefix(MATRIX) for name in dict.fromkeys(table["matrix"])]
    figure = new_figure(style, 2, 12 + 68 * len(bases))
    source = Source()
    rows = figure.subfigures(len(bases), 1, squeeze=False)[:, 0]
    for part, basis in zip(rows, bases, strict=True):
        part.suptitle(
            probe_name(basis), color=probe_colour(basis), fontweight="bold",
            fontsize=style.font_size_pt,
        )  # fmt: skip
        above, below = part.subfigures(2, 1, height_ratios=(1.35, 1.0))
        own = of(table, matrix=f"{MATRIX}{basis}")
        labels = {"variant": figures.main, "basis": basis}
        left, middle, right = above.subplots(1, 3)
        _singular_values(left, of(own, quantity="singular_value"), labels, source)
        _effective_rank(middle, of(own, quantity="effective_rank"), basis, labels, source)
        _period_shares(right, of(own, quantity="period_share"), labels, style, source)
        layer = figures.layer
        if layer is None:
            layer = outcomes.best_layer(data, figures.main, basis)
        layer = min(layer, int(own["layer"].max()))
        _functions(below, data, figures.main, basis, layer, own, source)
    last = int(table["layer"].max())
    layers = ordered_colours(chosen_layers(last)).items()
    panels.key(figure, [panels.Mark(layer_name(layer, last), ink) for layer, ink in layers])
    replicates = table["replicate"].nunique()
    note = "one probe a layer" if replicates == 1 else f"n = {replicates} replicates"
    panels.note(figure, f"{numbers_text(data, figures.main)}, {note}, first fold of the numbers")
    return figure, source.table()


def _singular_values(
    axes: Axes, rows: pd.DataFrame, labels: dict[str, str], source: Source
) -> None:
    """Singular values over the largest one, by rank, at some layers."""
    last = int(rows["layer"].max())
    largest = rows.groupby(["replicate", "layer"])["value"].transform("max")
    scaled = rows.assign(value=rows["value"] / largest.where(largest > 0, 1.0))
    scaled = scaled.assign(index=rows["index"] + 1)
    for layer, colour in ordered_colours(chosen_layers(last)).items():
        mean = band(of(scaled, layer=layer), "index")
        panels.mean_line(axes, mean[mean["mean"] >= _SMALLEST], colour)
        source.add(
            mean,
            **labels,
            panel="singular values",
            series=layer_name(layer, last),
            kind="mean",
        )
    axes.set_yscale("log")
    axes.set_ylim(_SMALLEST, 1.3)
    axes.set_xlabel("rank")
    axes.set_ylabel("singular value\n(of the largest)")


def _effective_rank(
    axes: Axes, rows: pd.DataFrame, basis: str, labels: dict[str, str], source: Source
) -> None:
    last = int(rows["layer"].max())
    mean = band(rows, "layer")
    panels.mean_line(axes, mean, probe_colour(basis))
    source.add(mean, **labels, panel="effective rank", series="effective rank", kind="mean")
    axes.set_ylim(0, 1.08 * float(mean["mean"].max()))
    layer_axis(axes, last)
    mark_final_norm(axes, last)
    axes.set_ylabel("effective rank")


def _period_shares(
    axes: Axes, rows: pd.DataFrame, labels: dict[str, str], style: Style, source: Source
) -> None:
    """Share of the map's power at each period, by layer."""
    last = int(rows["layer"].max())
    ends = []
    for period, colour in ordered_colours(rows["index"].tolist()).items():
        mean = band(of(rows, index=period), "layer")
        panels.mean_line(axes, mean.clip(lower=_LOWEST_SHARE), colour)
        source.add(mean, **labels, panel="periods", series=f"period {period}", kind="mean")
        end = max(float(mean["mean"].iloc[-1]), _LOWEST_SHARE)
        ends.append(End(end, f"period {period}", colour))
    axes.set_yscale("log")
    axes.set_ylim(_LOWEST_SHARE, 1.0)
    layer_axis(axes, last)
    mark_final_norm(axes, last)
    axes.set_ylabel("share of power")
    label_ends(axes, ends, _HEIGHT_MM, style)


def _functions(
    figure: SubFigure, data: FigureData, variant: str, basis: str, layer: int,
    rows: pd.DataFrame, source: Source,
) -> None:  # fmt: skip
    """The leading functions of the number, whose sums the map reads from the states."""
    found = data.tensors("spectra_arrays", variant)[f"singular_functions.{basis}"]
    functions = found[0, layer].double().numpy()
    name = layer_name(layer, found.shape[1] - 1)
    values = of(rows, quantity="singular_value", layer=layer)
    values = values[values["replicate"] == values["replicate"].min()]
    squares = values.set_index("index")["value"].pow(2)
    grid = figure.subplots(1, min(_FUNCTIONS, len(functions)), squeeze=False, sharey=True)[0]
    largest = float(np.abs(functions[: len(grid)]).max())
    for rank, axes in enumerate(grid):
        share = float(squares.get(rank, 0.0) / max(squares.sum(), np.finfo(float).tiny))
        axes.axhline(0, color=REFERENCE_COLOUR, lw=0.3, zorder=0)
        axes.plot(
            functions[rank], ls="none", marker="o", ms=0.9, mew=0, color=probe_colour(basis),
            rasterized=True,
        )  # fmt: skip
        axes.set_title(f"function {rank + 1}, {name}: {panels.percent(share)}")
        axes.set_ylim(-1.08 * largest, 1.08 * largest)
        axes.set_xlabel("number n")
        frame = pd.DataFrame({"x": range(functions.shape[1]), "value": functions[rank]})
        labels = {"variant": variant, "basis": basis, "panel": f"function {rank + 1}"}
        source.add(frame, **labels, series=name, kind="function")
        source.add_row(**labels, series="share of squares", kind="text", value=share)
    grid[0].set_ylabel("singular function")
