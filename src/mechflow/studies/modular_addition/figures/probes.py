"""What linear probes read at each site, beside untrained networks and shuffled labels."""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import dots, per_replicate
from mechflow.figures.source import Source
from mechflow.figures.style import (
    CONTROL_COLOUR,
    INK,
    REFERENCE_COLOUR,
    new_figure,
    small_pt,
    styled,
)
from mechflow.probes.controls import selectivity
from mechflow.statistics import clipped
from mechflow.studies.modular_addition import outcomes
from mechflow.studies.modular_addition.config import Figures
from mechflow.studies.modular_addition.figures import shown

_TARGETS = {"a": "a", "b": "b", "sum": "a + b mod p"}
_GAP = 0.8
_LOWEST = -0.5
"""Scores below it are left out of the picture: how bad a useless probe is tells nothing."""


@styled
def draw_probes(data: FigureData, figures: Figures, style: Style) -> tuple[Figure, pd.DataFrame]:
    """Held-out accuracy, selectivity, and R² of waves of key and of other frequencies."""
    variants = shown.compared(data, figures)
    colours = shown.colours(data, style)
    scores = shown.of(data.table("probes"), split="test")
    scores = scores[scores["variant"].isin(variants)]
    gains = pd.concat(
        selectivity(rows).assign(variant=variant)
        for variant, rows in scores.groupby("variant", sort=False)
    )
    gains = gains.assign(value=gains["selectivity"])
    keys = outcomes.key_frequencies(data)
    figure = new_figure(style, 2, 148)
    grid = figure.subplots(3, len(variants), squeeze=False, sharex="row", sharey="row")
    source = Source()
    for column, variant in enumerate(variants):
        colour, labels = colours[variant], {"variant": variant}
        rows = shown.of(scores, variant=variant)
        panels.variant_title(grid[0, column], variant, colour)
        accuracy = _series(rows, colour, shuffled=True)
        _by_target(grid[0, column], accuracy, {**labels, "panel": "accuracy"}, style, source)
        gained = _series(shown.of(gains, variant=variant).assign(control="none"), colour)
        _by_target(grid[1, column], gained, {**labels, "panel": "selectivity"}, style, source)
        chance = 1 / shown.modulus(data, variant)
        for axes, level in zip(grid[:, column], (chance, 0.0, 0.0), strict=True):
            panels.reference_line(axes, level)
        waves = _with_key(rows[rows["target"].isin(["cos", "sin"])], keys)
        _waves(grid[2, column], waves, colour, {**labels, "panel": "R2"}, source)
    for axes in grid[0]:
        axes.tick_params(labelbottom=False)
    grid[0, 0].set_ylim(-0.04, 1.04)
    grid[0, 0].set_ylabel("held-out accuracy")
    grid[1, 0].set_ylabel("selectivity\n(real − shuffled)")
    grid[2, 0].set_ylabel("held-out $R^2$ of waves")
    table = source.table()
    for axes, name in ((grid[1, 0], "selectivity"), (grid[2, 0], "R2")):
        drawn = table.loc[(table["panel"] == name) & (table["kind"] == "replicate"), "value"]
        lowest = min(0.0, float(drawn.min()))
        axes.set_ylim(max(_LOWEST, lowest) - 0.04, 1.04)
    panels.key(
        figure,
        [
            panels.Mark("trained (in the variant's colour)", INK, marker="o"),
            panels.Mark("untrained", CONTROL_COLOUR, marker="o", filled=False),
            panels.Mark("trained, shuffled labels", CONTROL_COLOUR, marker="x"),
            panels.Mark("chance", REFERENCE_COLOUR, (0, (1, 1.5))),
        ],
    )
    panels.note(figure, shown.scale(data, variants, scores))
    return figure, table


Series = list[tuple[str, pd.DataFrame, str, str, bool]]
"""Name, rows, colour, marker, and whether the marker is filled."""


def _series(rows: pd.DataFrame, colour: str, *, shuffled: bool = False) -> Series:
    """Trained and untrained networks and, if wanted, trained ones with shuffled labels."""
    real = shown.of(rows, control="none")
    series: Series = [
        ("trained", shown.of(real, model="trained"), colour, "o", True),
        ("untrained", shown.of(real, model="untrained"), CONTROL_COLOUR, "o", False),
    ]
    if shuffled:
        control = shown.of(rows, control="shuffled_labels", model="trained")
        series.append(("trained, shuffled labels", control, CONTROL_COLOUR, "x", True))
    return series


def _by_target(
    axes: Axes, series: Series, labels: dict[str, str], style: Style, source: Source
) -> None:
    """One group of sites for each target."""
    sites = list(dict.fromkeys(series[0][1]["site"]))
    places, names = [], []
    for group, (target, title) in enumerate(_TARGETS.items()):
        start = group * (len(sites) + _GAP)
        for index, site in enumerate(sites):
            places.append(start + index)
            names.append(_short(site))
            for shift, (name, rows, colour, marker, filled) in enumerate(series):
                part = per_replicate(shown.of(rows, target=target, site=site), ["variant"])
                where = start + index + 0.27 * (shift - (len(series) - 1) / 2)
                marks = {**labels, "series": name, "target": target, "site": site}
                _mark(axes, where, part, colour, marker, filled, marks, source)
        axes.annotate(
            title, (start + (len(sites) - 1) / 2, 1), (0, 1), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="center", va="bottom", fontsize=small_pt(style),
        )  # fmt: skip
    panels.ticks_at(axes, places, names)
    axes.tick_params(axis="x", rotation=90)
    if axes.get_title():
        axes.set_title(axes.get_title(), pad=10, color=axes.title.get_color(), fontweight="bold")


def _waves(
    axes: Axes, rows: pd.DataFrame, colour: str, labels: dict[str, str], source: Source
) -> None:
    """R² of cosines and sines, those of key frequencies apart from the others."""
    sites = list(dict.fromkeys(rows["site"]))
    places, names = [], []
    for group, is_key in enumerate((True, False)):
        start = group * (len(sites) + _GAP)
        series = _series(rows[rows["key"] == is_key], colour, shuffled=True)
        for index, site in enumerate(sites):
            places.append(start + index)
            names.append(_short(site))
            for shift, (name, part, ink, marker, filled) in enumerate(series):
                values = per_replicate(shown.of(part, site=site), ["variant"])
                where = start + index + 0.27 * (shift - 1)
                target = "waves of key frequencies" if is_key else "waves of other frequencies"
                marks = {**labels, "series": name, "target": target, "site": site}
                _mark(axes, where, values, ink, marker, filled, marks, source)
        axes.annotate(
            "key frequencies" if is_key else "other frequencies",
            (start + (len(sites) - 1) / 2, 1), (0, 1), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="center", va="bottom", fontsize="small",
        )  # fmt: skip
    panels.ticks_at(axes, places, names)
    axes.tick_params(axis="x", rotation=90)


def _mark(
    axes: Axes, place: float, values: pd.DataFrame, colour: str, marker: str, filled: bool,
    labels: dict[str, str], source: Source,
) -> None:  # fmt: skip
    """Replicates of one probe at one site, with their mean and interval."""
    if values.empty:
        return
    least = 0.0 if labels["panel"] == "accuracy" else -math.inf
    summary = clipped(dots(values["value"].to_numpy()), least, 1.0)
    panels.dots(
        axes, place, values["value"].to_list(), summary, colour, filled=filled, spread=0.13,
        marker=marker, clip=True,
    )  # fmt: skip
    source.add(values[["replicate", "value"]], **labels, kind="replicate")
    source.add_row(
        **labels, kind="mean", value=summary.centre, low=summary.low, high=summary.high, n=summary.n
    )


def _with_key(rows: pd.DataFrame, keys: pd.Series) -> pd.DataFrame:
    """The rows with a column that tells whether their frequency is key for their network."""
    networks = zip(rows["variant"], rows["replicate"], rows["frequency"], strict=True)
    return rows.assign(key=[k in keys[variant, replicate] for variant, replicate, k in networks])


def _short(site: str) -> str:
    """``resid mid`` for ``blocks.0.hook_resid_mid``, ``mlp post`` for its ``mlp.hook_post``."""
    *path, hook = site.split(".")
    return " ".join([*path[2:], hook.removeprefix("hook_")]).replace("_", " ")
