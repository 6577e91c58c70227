"""The embedding in the Fourier basis: which frequencies it uses."""

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from mechflow import fourier
from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Label, Source
from mechflow.figures.style import CONTROL_COLOUR, INK, REFERENCE_COLOUR, SIGNED, new_figure, styled
from mechflow.studies.modular_addition import outcomes
from mechflow.studies.modular_addition.config import Figures
from mechflow.studies.modular_addition.figures import shown

_MATRICES = {"W_E": "norm in $W_E$", "W_L": "norm in $W_L$"}


@styled
def draw_embedding_fourier(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """W_E in the Fourier basis: component by residual dimension."""
    variants = shown.compared(data, figures)
    colours = shown.colours(data, style)
    keys = outcomes.key_frequencies(data)
    figure = new_figure(style, 2, 78)
    grid = figure.subplots(1, len(variants), squeeze=False)[0]
    source = Source()
    for axes, variant in zip(grid, variants, strict=True):
        values = data.tensors("spectra_arrays", variant)["W_E_fourier"][figures.replicate]
        mesh = panels.heat_map(axes, values, SIGNED, square=False)
        panels.variant_title(axes, variant, colours[variant])
        panels.colour_bar(figure, mesh, axes, "coefficient", location="bottom", pad=0.03)
        axes.set_xlabel("dimension of the residual stream")
        _frequency_ticks(axes, len(values), keys[variant, figures.replicate])
        source.add_map(
            values, "component", "dimension", panel="W_E", variant=variant,
            replicate=figures.replicate,
        )  # fmt: skip
    grid[0].set_ylabel("frequency k, cos below sin (key ones marked)")
    panels.note(figure, shown.single(data, figures, variants))
    return figure, source.table()


def _frequency_ticks(axes: Axes, p: int, keys: tuple[int, ...]) -> None:
    """Ticks at some frequencies, and a mark at each key frequency, between its two components."""
    every = max(1, round(p / 2 / 6 / 5) * 5)
    ticks = range(every, (p - 1) // 2 + 1, every)
    axes.set_yticks([2 * k - 0.5 for k in ticks], [str(k) for k in ticks])
    if not keys:
        return
    edge = np.full(len(keys), 1.012)
    axes.plot(
        edge, [2 * k - 0.5 for k in keys], ls="none", marker="<", ms=2.4, color=INK, mew=0,
        transform=axes.get_yaxis_transform(), clip_on=False,
    )  # fmt: skip


@styled
def draw_embedding_norms(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Norm of each Fourier component of W_E and W_L, and the key frequencies of all replicates."""
    variants = shown.compared(data, figures)
    colours = shown.colours(data, style)
    norms = shown.of(data.table("spectra"), quantity="fourier_norm")
    keys = outcomes.key_frequencies(data)
    most = max(len(keys[variant]) for variant in variants)
    strip = 0.3 + 0.12 * most
    figure = new_figure(style, 2, 66 + 16 * strip)
    grid = figure.subplots(
        3, len(variants), squeeze=False, sharex="col", height_ratios=(1, 1, strip)
    )
    source = Source()
    for column, variant in enumerate(variants):
        panels.variant_title(grid[0, column], variant, colours[variant])
        chosen = keys[variant, figures.replicate]
        for axes, matrix in zip(grid[:2, column], _MATRICES, strict=True):
            rows = shown.of(norms, variant=variant, matrix=matrix, weights="latent")
            _mirrored_bars(axes, rows, figures.replicate, chosen, colours[variant], style, source)
        _key_strip(grid[2, column], keys[variant], variant, colours[variant], source)
        grid[2, column].set_xlabel("frequency k")
    for axes, label in zip(grid[:2, 0], _MATRICES.values(), strict=True):
        axes.set_ylabel(label)
    grid[2, 0].set_ylabel("seed")
    panels.key(
        figure,
        [
            panels.Mark("key frequency (in the variant's colour)", INK, marker="s"),
            panels.Mark("other frequency", REFERENCE_COLOUR, marker="s"),
            panels.Mark("mean of untrained networks, scaled to equal norm", CONTROL_COLOUR),
        ],
    )
    count = shown.scale(data, variants, norms, f"bars: training seed {figures.replicate}")
    panels.note(figure, count)
    return figure, source.table()


def _mirrored_bars(
    axes: Axes, rows: pd.DataFrame, replicate: int, keys: tuple[int, ...], colour: str,
    style: Style, source: Source,
) -> None:  # fmt: skip
    """Norms of one network, cosines up and sines down; the untrained mean as a line.

    Untrained networks have norms of quite another size, so their mean is scaled to the same
    total norm: what is compared is how it is spread over frequencies.
    """
    variant, matrix = str(rows["variant"].iloc[0]), str(rows["matrix"].iloc[0])
    p = int(rows["index"].max()) + 1
    frequency = fourier.component_frequency(p).numpy()
    sign = np.where(np.arange(p) % 2 == 1, 1.0, -1.0)
    trained = shown.of(rows, model="trained", replicate=replicate).sort_values("index")
    untrained = shown.of(rows, model="untrained").groupby("index")["value"].mean().to_numpy()
    size = np.linalg.norm(untrained[1:])
    untrained = untrained * (np.linalg.norm(trained["value"].iloc[1:]) / (size or 1.0))
    frame = pd.DataFrame(
        {
            "x": frequency,
            "component": fourier.component_labels(p),
            "y": trained["value"].to_numpy(),
            "key": np.isin(frequency, keys),
        }
    )
    frame = frame.iloc[1:]  # the constant is no frequency
    shades = np.where(frame["key"], colour, REFERENCE_COLOUR)
    axes.bar(frame["x"], frame["y"] * sign[1:], width=0.7, color=shades, lw=0)
    labels = {"panel": matrix, "variant": variant}
    source.add(frame, **labels, series="trained", kind="replicate", replicate=replicate)
    for direction, name in ((1.0, "cos"), (-1.0, "sin")):
        part = untrained[1:][sign[1:] == direction]
        x = frequency[1:][sign[1:] == direction]
        axes.plot(x, direction * part, color=CONTROL_COLOUR, lw=0.6, drawstyle="steps-mid")
        source.add(
            pd.DataFrame({"x": x, "component": [f"{name} {k}" for k in x], "y": part}),
            **labels, series="untrained", kind="mean",
        )  # fmt: skip
    axes.axhline(0, color=INK, lw=0.4)
    top = 1.5 * max(float(frame["y"].max()), float(untrained[1:].max()), 1e-12)
    axes.set_ylim(-top, top)
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panels.corner_text(axes, "cos", style, corner="upper right")
    panels.corner_text(axes, "sin", style, corner="lower right")


def _key_strip(axes: Axes, keys: pd.Series, variant: str, colour: str, source: Source) -> None:
    """The key frequencies of every replicate, one row each."""
    for row, (replicate, chosen) in enumerate(keys.items()):
        axes.axhline(row, color=REFERENCE_COLOUR, lw=0.3, zorder=0)
        axes.plot(chosen, [row] * len(chosen), ls="none", marker="s", ms=2, color=colour, mew=0)
        frame = pd.DataFrame({"x": chosen, "y": row}, dtype=float)
        labels = {"panel": "key frequencies", "variant": variant, "series": "key"}
        source.add(frame, **labels, kind="replicate", replicate=int(str(replicate)))
    axes.set_ylim(len(keys) - 0.5, -0.5)
    numbers = [str(replicate) for replicate in keys.index]
    every = max(1, len(numbers) // 5)
    axes.set_yticks(range(0, len(numbers), every), numbers[::every])


@styled
def draw_key_inner_products(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Cosines of the angles between the key components of W_E."""
    variants = shown.compared(data, figures)
    colours = shown.colours(data, style)
    keys = outcomes.key_frequencies(data)
    figure = new_figure(style, 2, 24 + 120 / max(2, len(variants)))
    grid = figure.subplots(1, len(variants), squeeze=False)[0]
    source = Source()
    mesh = None
    for axes, variant in zip(grid, variants, strict=True):
        values = data.tensors("spectra_arrays", variant)["W_E_fourier"][figures.replicate]
        chosen = keys[variant, figures.replicate]
        panels.variant_title(axes, variant, colours[variant])
        if not chosen:
            panels.empty(axes, "no key frequency", style)
            continue
        cosines, rows = _cosines(values, chosen)
        mesh = panels.heat_map(axes, cosines, SIGNED, (-1.0, 1.0))
        _pair_ticks(axes, rows)
        labels: dict[str, Label] = {
            "panel": "cosine", "variant": variant, "replicate": figures.replicate,
        }  # fmt: skip
        names = [fourier.component_labels(len(values))[row] for row in rows]
        frame = pd.DataFrame(cosines.float().numpy(), index=names, columns=names)
        frame = frame.rename_axis("row").melt(
            ignore_index=False, var_name="column", value_name="value"
        )
        source.add(frame.reset_index(), **labels)
    if mesh is not None:
        panels.colour_bar(
            figure,
            mesh,
            list(grid),
            "cosine",
            location="right",
            shrink=0.7,
            ticks=[-1, -0.5, 0, 0.5, 1],
        )
    grid[0].set_ylabel("key frequency k (cos, sin)")
    panels.note(figure, shown.single(data, figures, variants))
    return figure, source.table(("row", "column", "value"))


def _cosines(values: Tensor, keys: tuple[int, ...]) -> tuple[Tensor, list[int]]:
    """Cosines between the rows of the key frequencies, and which rows these are."""
    frequency = fourier.component_frequency(len(values))
    rows = torch.isin(frequency, torch.tensor(keys)).nonzero()[:, 0]
    units = torch.nn.functional.normalize(values[rows].double(), dim=1)
    return units @ units.T, rows.tolist()


def _pair_ticks(axes: Axes, rows: list[int]) -> None:
    """The number of each frequency between its cosine and its sine, and lines between pairs."""
    frequency = [(row + 1) // 2 for row in rows]
    distinct = sorted(set(frequency))
    places = [float(np.mean([i for i, k in enumerate(frequency) if k == d])) for d in distinct]
    every = max(1, len(distinct) // 12)
    names = [str(k) for k in distinct]
    axes.set_xticks(places[::every], names[::every])
    axes.set_yticks(places[::every], names[::every])
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.set_xlabel("key frequency k (cos, sin)")
    if len(distinct) <= 12:
        for edge in range(1, len(frequency)):
            if frequency[edge] != frequency[edge - 1]:
                axes.axhline(edge - 0.5, color="white", lw=0.8)
                axes.axvline(edge - 0.5, color="white", lw=0.8)
