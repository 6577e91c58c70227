"""At which periods the mean states repeat along the number line, layer by layer."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import CONTROL_COLOUR, NOTE_COLOUR, SIGNED, new_figure, styled
from mechflow.periods import periods
from mechflow.statistics import clipped, jackknife_interval
from mechflow.studies.number_probes.config import Figures
from mechflow.studies.number_probes.figures.layered import End, label_ends, of
from mechflow.studies.number_probes.figures.number_line import (
    described,
    layers_upwards,
    numbers_text,
    ordered_colours,
    shown,
)
from mechflow.studies.number_probes.figures.palette import (
    layer_axis,
    mark_final_norm,
    variant_colours,
)

FloatArray = NDArray[np.float64]

CELLS_PER_DECADE = 40
"""Columns of the heat map in each tenfold range of periods; where frequencies are closer, a
column shows the largest of them, so that a peak of one frequency can be seen."""
_LOWEST_SHARE = 3e-4
"""Shares below it are cut off."""
_HEIGHT_MM = 40.0
_FAINTEST = 10.0
"""The scale reaches at least this far to both sides of the null."""


@styled
def draw_period_spectrum(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Power of the mean states at each period over the permuted null, and its share at some."""
    variants = shown(data, figures)
    colours = variant_colours(data.variants, style)
    if not variants:
        raise ValueError(f"figures.main is {figures.main}, which did not run")
    ratios = {variant: _ratios(data, variant) for variant in variants}
    strongest = max(float(ratio.max()) for ratio in ratios.values())
    limit = math.log10(max(strongest, _FAINTEST))
    table = of(data.table("geometry"), quantity="period_share")
    figure = new_figure(style, 2, 14 + 52 * len(variants))
    grid = figure.subplots(len(variants), 2, squeeze=False, width_ratios=(1.0, 0.95))
    source = Source()
    for (left, right), variant in zip(grid, variants, strict=True):
        rows = of(table, variant=variant)
        marked = sorted(rows["index"].unique().tolist())
        mesh = _map(left, ratios[variant], limit, variant, source)
        _period_axis(left, marked)
        left.set_ylabel("layer")
        left.set_title(described(data, variant), color=colours[variant], fontweight="bold")
        _shares(right, rows, variant, style, source)
    for row in grid[:-1]:
        row[0].set_xlabel("")
    _scale(figure, mesh, list(grid[:, 0]), limit)
    panels.note(figure, _numbers(data, variants, table))
    return figure, source.table()


def _ratios(data: FigureData, variant: str) -> FloatArray:
    """Share of power at each frequency over its mean over permutations: [layers, frequencies]."""
    arrays = data.tensors("geometry_arrays", variant)
    observed, null = (arrays[name].double().numpy() for name in ("spectrum", "spectrum_permuted"))
    ratio: FloatArray = np.divide(observed, null, out=np.ones_like(observed), where=null > 0)
    return ratio


def cells(n_freq: int) -> list[NDArray[np.int64]]:
    """Frequencies k = 1 .. n_freq that share a column of the heat map, long periods first."""
    k = np.arange(1, n_freq + 1)
    column = np.floor(CELLS_PER_DECADE * np.log10(k)).astype(int)
    return [k[column == found] for found in np.unique(column)]


def _map(axes: Axes, ratio: FloatArray, limit: float, variant: str, source: Source) -> QuadMesh:
    groups = cells(ratio.shape[1])
    numbers = round(float(periods_of(ratio.shape[1])[0]))
    largest = np.stack([ratio[:, group - 1].max(axis=1) for group in groups], axis=1)
    edges = numbers / np.array([groups[0][0] - 0.5, *(group[-1] + 0.5 for group in groups)])
    layers = np.arange(len(ratio) + 1) - 0.5
    smallest = np.finfo(float).tiny
    mesh = axes.pcolormesh(
        edges, layers, np.log10(largest.clip(smallest)), cmap=SIGNED, vmin=-limit, vmax=limit,
        rasterized=True,
    )  # fmt: skip
    axes.spines[:].set_visible(False)
    layers_upwards(axes, len(ratio) - 1)
    for column, group in enumerate(groups):
        frame = pd.DataFrame({"layer": range(len(ratio)), "value": largest[:, column]})
        source.add(
            frame.assign(shortest=numbers / group[-1], longest=numbers / group[0]),
            panel="spectrum", variant=variant, series="share over null", kind="cell",
        )  # fmt: skip
    return mesh


def periods_of(n_freq: int) -> FloatArray:
    """The period of each frequency of an even number of numbers."""
    found: FloatArray = periods(2 * n_freq).numpy()
    return found


def _period_axis(axes: Axes, marked: list[int]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(marked))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda period, _: f"{period:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("period along the number line")


def _scale(figure: Figure, mesh: QuadMesh, maps: list[Axes], limit: float) -> None:
    """The scale of the heat maps, with the null in its middle."""
    share = 0.9 / len(maps)
    bar = figure.colorbar(mesh, ax=maps, shrink=share, aspect=28, pad=0.02, extend="min")
    bar.outline.set_visible(False)
    whole = range(-math.floor(limit), math.floor(limit) + 1)
    bar.set_ticks(list(whole), labels=[_times(power) for power in whole])
    bar.ax.tick_params(width=0.4, size=1.6)
    bar.ax.minorticks_off()
    bar.set_label("power over permuted numbers")


def _times(power: int) -> str:
    return f"{10**power}×" if power >= 0 else f"1/{10**-power}"


def _shares(axes: Axes, rows: pd.DataFrame, variant: str, style: Style, source: Source) -> None:
    """Share of power at each marked period by layer, over the range of permutations."""
    colours = ordered_colours(rows["index"].tolist())
    last = int(rows["layer"].max())
    labels = {"panel": "share", "variant": variant}
    null = _null_range(of(rows, control="permuted"))
    for period, band in null.groupby("index"):
        axes.fill_between(
            band["x"], band["low"].clip(lower=_LOWEST_SHARE), band["high"], color=CONTROL_COLOUR,
            alpha=0.22, lw=0, zorder=0,
        )  # fmt: skip
        named = {"series": f"period {period}, permuted", "kind": "range"}
        source.add(band.drop(columns="index"), **labels, **named)
    ends = []
    for period, colour in colours.items():
        line = share_by_layer(of(rows, control="none", index=period))
        panels.mean_line(axes, line.clip(lower=_LOWEST_SHARE), colour)
        source.add(line, **labels, series=f"period {period}", kind="estimate")
        end = max(float(line["mean"].iloc[-1]), _LOWEST_SHARE)
        ends.append(End(end, f"period {period}", colour))
    axes.set_yscale("log")
    axes.set_ylim(_LOWEST_SHARE, 1.0)
    layer_axis(axes, last)
    mark_final_norm(axes, last)
    axes.set_ylabel("share of power at one period")
    label_ends(axes, ends, _HEIGHT_MM, style)
    if not null.empty:
        panels.corner_text(
            axes, "grey: permuted numbers", style, corner="lower right", colour=NOTE_COLOUR
        )


def share_by_layer(rows: pd.DataFrame) -> pd.DataFrame:
    """Shares of all prompts with jackknife intervals, cut at 0 and 1: x, mean, low, high, n.

    Args:
        rows: shares at one period; draw 0 is all prompts, others leave a group out.
    """
    found = []
    for layer, own in rows.groupby("layer", sort=True):
        whole = float(own.loc[own["draw"] == 0, "value"].iloc[0])
        without = own.loc[own["draw"] > 0, "value"].to_numpy()
        found.append((layer, *clipped(jackknife_interval(whole, without), 0.0, 1.0)))
    return pd.DataFrame(found, columns=["x", "mean", "low", "high", "n"])


def _null_range(rows: pd.DataFrame) -> pd.DataFrame:
    """The range of 95 % of the permutations, by period and layer."""
    groups = rows.groupby(["index", "layer"])["value"]
    found = pd.DataFrame(
        {"low": groups.quantile(0.025), "high": groups.quantile(0.975), "n": groups.size()}
    )
    return found.reset_index().rename(columns={"layer": "x"})


def _numbers(data: FigureData, variants: tuple[str, ...], rows: pd.DataFrame) -> str:
    permuted = of(rows, control="permuted")
    draws = int(permuted["draw"].max()) if len(permuted) else 0
    groups = int(of(rows, control="none")["draw"].max())
    scale = numbers_text(data, variants[0])
    return f"{scale}, n = {groups} jackknife groups, {draws} permutations"
