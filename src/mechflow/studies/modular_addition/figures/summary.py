"""Is the algorithm of the quantised networks another one? All numbers side by side, with tests."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import dots
from mechflow.figures.source import Source
from mechflow.figures.style import new_figure, small_pt, styled
from mechflow.statistics import clipped, compare_groups, mann_whitney
from mechflow.studies import networks
from mechflow.studies.modular_addition import outcomes
from mechflow.studies.modular_addition.config import Figures
from mechflow.studies.modular_addition.figures import shown

REFERENCE = "full"
"""The variant that the others are tested against, where it is among those compared."""

_COLUMNS = 4


@dataclass(frozen=True)
class Quantity:
    """One number of every network."""

    name: str
    title: str
    measure: Callable[[FigureData], pd.Series]
    log: bool = False
    bounds: tuple[float, float] = (-math.inf, math.inf)
    """Values that can occur; intervals are cut there."""


def restricted_ratio(data: FigureData) -> pd.Series:
    """Test loss of the final logits restricted to the key frequencies, over their own."""
    rows = shown.of(data.table("progress"), split="test", control="none")
    rows = rows[rows["step"] == rows.groupby(networks.KEY)["step"].transform("max")]
    restricted = shown.of(rows, metric="restricted_loss", definition="sum_directions")
    own = shown.of(rows, metric="loss").set_index(networks.KEY)["value"]
    return restricted.set_index(networks.KEY)["value"] / own


def loss_ratio(data: FigureData, intervention: str) -> pd.Series:
    """Test loss after an intervention on W_E, over that of the untouched network."""
    rows = shown.of(data.table("interventions"), split="test", metric="loss", control="none")
    after = shown.of(rows, intervention=intervention, site="W_E").set_index(networks.KEY)["value"]
    return after / shown.of(rows, intervention="none").set_index(networks.KEY)["value"]


_SHARE = (0.0, 1.0)
_COUNT = (0.0, math.inf)

QUANTITIES = (
    Quantity("steps", "step of 99 % test accuracy", outcomes.generalisation_steps, bounds=_COUNT),
    Quantity(
        "test_loss",
        "final test loss (nats)",
        lambda data: networks.final_values(data, "loss", "test"),
        log=True,
    ),
    Quantity("key", "key frequencies", outcomes.key_frequency_counts, bounds=_COUNT),
    Quantity("neurons", "neurons explained", outcomes.neurons_explained, bounds=_SHARE),
    Quantity(
        "gini_W_E",
        "Gini of $W_E$",
        lambda data: outcomes.spectral(data, "gini", "W_E"),
        bounds=_SHARE,
    ),
    Quantity(
        "gini_W_L",
        "Gini of $W_L$",
        lambda data: outcomes.spectral(data, "gini", "W_L", weights="forward"),
        bounds=_SHARE,
    ),
    Quantity(
        "rank_W_E",
        "effective rank of $W_E$",
        lambda data: outcomes.spectral(data, "effective_rank", "W_E"),
        bounds=_COUNT,
    ),
    Quantity(
        "rank_W_L",
        "effective rank of $W_L$",
        lambda data: outcomes.spectral(data, "effective_rank", "W_L", weights="forward"),
        bounds=_COUNT,
    ),
    Quantity(
        "logits",
        "logit variance in key freq.",
        lambda data: outcomes.spectral(data, "logit_variance_explained", "logits", weights=""),
        bounds=_SHARE,
    ),
    Quantity("restricted", "restricted / test loss", restricted_ratio, log=True),
    Quantity(
        "removed",
        "loss ratio, key removed",
        lambda data: loss_ratio(data, "remove_key"),
        log=True,
    ),
    Quantity(
        "kept",
        "loss ratio, only key kept",
        lambda data: loss_ratio(data, "keep_key"),
        log=True,
    ),
)


@styled
def draw_summary(data: FigureData, figures: Figures, style: Style) -> tuple[Figure, pd.DataFrame]:
    """Every quantity for the compared variants, with intervals, effect sizes and tests."""
    variants = shown.compared(data, figures)
    reference = REFERENCE if REFERENCE in variants else variants[0]
    colours = shown.colours(data, style)
    rows = -(-len(QUANTITIES) // _COLUMNS)
    figure = new_figure(style, 2, 8 + 44 * rows)
    grid = figure.subplots(rows, _COLUMNS, squeeze=False)
    source = Source()
    for axes, quantity in zip(grid.flat, QUANTITIES, strict=True):
        values = _values(quantity, data, variants)
        axes.set_title(quantity.title, fontsize=style.font_size_pt)
        _dots(axes, quantity, values, variants, colours, source)
        tests = _tests(values, variants, reference)
        source.add(tests, panel=quantity.name, kind="test")
        _captions(axes, tests, variants, colours, style)
    for axes in grid.flat[len(QUANTITIES) :]:
        axes.set_axis_off()
    text = shown.scale(data, variants, data.table("spectra"))
    if len(variants) > 1:
        against = panels.readable(reference)
        text += f"; δ: Cliff's delta against {against}, P: Mann–Whitney with Holm"
    panels.note(figure, text)
    return figure, source.table()


def _values(quantity: Quantity, data: FigureData, variants: tuple[str, ...]) -> pd.DataFrame:
    """Columns variant, replicate, value; a variant without the quantity has no rows."""
    found = quantity.measure(data).rename("value").rename_axis(networks.KEY).reset_index()
    return found[found["variant"].isin(variants)]


def _dots(
    axes: Axes, quantity: Quantity, values: pd.DataFrame, variants: tuple[str, ...],
    colours: dict[str, str], source: Source,
) -> None:  # fmt: skip
    """The replicates of each variant; where one is missing, how many there are instead."""
    for place, variant in enumerate(variants):
        part = shown.of(values, variant=variant)
        present = part.dropna(subset="value")
        summary = clipped(dots(part["value"].to_numpy(), log=quantity.log), *quantity.bounds)
        labels = {"panel": quantity.name, "variant": variant}
        if len(present):
            panels.dots(
                axes, place, present["value"].to_list(), summary, colours[variant], spread=0.3
            )
        if len(present) < len(part):
            axes.annotate(
                f"{len(part) - len(present)} never", (place, 1), (0, -1),
                xycoords=("data", "axes fraction"), textcoords="offset points",
                ha="center", va="top", fontsize="small", color=colours[variant],
            )  # fmt: skip
        source.add(part[["replicate", "value"]], **labels, kind="replicate")
        source.add_row(
            **labels, kind="mean", value=summary.centre, low=summary.low, high=summary.high,
            n=summary.n,
        )  # fmt: skip
    axes.set_xlim(-0.5, len(variants) - 0.5)
    if quantity.log:
        panels.log_axis(axes)
        panels.limit_to(axes, values["value"], log=True)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.margins(y=0.2)


def _tests(values: pd.DataFrame, variants: tuple[str, ...], reference: str) -> pd.DataFrame:
    """Mann-Whitney tests of each variant against the reference, Holm-corrected in the panel.

    A replicate that never got there ranks after all that did.
    """
    last = values["value"].max() + 1 if values["value"].notna().any() else np.nan
    ranked = values.assign(value=values["value"].fillna(last))
    pairs = [(variant, reference) for variant in variants if variant != reference]
    tests = compare_groups(ranked, "variant", pairs, mann_whitney)
    kept = ["first", "second", "cliffs_delta", "p_value", "p_holm"]
    return tests[kept].rename(columns={"first": "variant", "second": "reference"})


def _captions(
    axes: Axes, tests: pd.DataFrame, variants: tuple[str, ...], colours: dict[str, str],
    style: Style,
) -> None:  # fmt: skip
    """Below each variant its name, effect size and p value."""
    names = []
    for variant in variants:
        name = panels.readable(variant).replace(" ", "\n")
        test = shown.of(tests, variant=variant)
        if len(test) and np.isfinite(test["cliffs_delta"].iloc[0]):
            delta, p = float(test["cliffs_delta"].iloc[0]), float(test["p_holm"].iloc[0])
            name += f"\nδ {delta:+.2f}".replace("-", "−") + f"\nP {_p_value(p)}"
        names.append(name)
    panels.ticks_at(axes, range(len(variants)), names)
    for label, variant in zip(axes.get_xticklabels(), variants, strict=True):
        label.set_color(colours[variant])
        label.set_fontsize(small_pt(style))


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"
