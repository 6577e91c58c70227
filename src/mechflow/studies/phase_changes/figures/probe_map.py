"""What linear probes read where: carries by layer and position, triggers and tokens by layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import (
    CONTROL_COLOUR,
    INK,
    MAGNITUDES,
    new_figure,
    small_pt,
    styled,
)
from mechflow.statistics import summarise
from mechflow.studies import networks
from mechflow.studies.phase_changes import variants
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.figures import palette
from mechflow.studies.phase_changes.figures.curves import SOURCE_COLUMNS, nothing
from mechflow.studies.phase_changes.figures.digit_basis import NO_ADDITION, mark

CARRY = "carry."
TARGETS: Mapping[str, tuple[str, ...]] = {
    "skip_trigram": ("trigger",),
    "induction": ("token", "previous_token", "next_token"),
}
"""What is looked for in each task, by layer."""

_CELL = ["site", "target", "position"]
_IMPORTANT_COLOUR = "#d55e00"
_BEYOND_COLOUR = "white"
_HALF = 0.5
"""What two classes that are alike leave to be gained on chance."""
_WIDE = 3
"""Sites up to which there is room for their names in one line."""
_ROW_MM = 30
_ROW_WITH_POINTS_MM = 38


@styled
def draw_carry_probes(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Accuracy above shuffled labels for every carry, site and position, and before training."""
    chosen = variants.of_task(data, "addition")
    source = Source()
    if not chosen:
        return nothing(style, NO_ADDITION), source.table(SOURCE_COLUMNS)
    colours = palette.colours(data, style)
    scores = _held_out(data)
    scores = scores[scores["target"].str.startswith(CARRY)]
    gains = above_shuffled(scores)
    figure = new_figure(style, 2, 16 + 2 * _ROW_MM * len(chosen))
    parts = figure.subfigures(len(chosen), 1, squeeze=False)[:, 0]
    for part, variant in zip(parts, chosen, strict=True):
        rows = networks.select(gains, variant=variant)
        digits = int(data.config(variant).data.addition.n_digits)
        grid = part.subplots(2, rows["site"].nunique(), squeeze=False)
        part.suptitle(
            panels.readable(variant), color=colours[variant], fontweight="bold", fontsize="medium"
        )
        mesh = _carry_maps(grid, rows, digits, colours[variant], source)
        label = "accuracy − shuffled labels"
        bar = panels.colour_bar(figure, mesh, list(grid.flat), label, location="right", shrink=0.7)
        bar.yaxis.labelpad = 4.0
    panels.key(
        figure,
        [
            panels.Mark("carry into the digit that is predicted", _IMPORTANT_COLOUR, marker="s",
                        filled=False),
            panels.Mark("more than untrained (95 % interval)", INK, marker="o", filled=False),
        ],
    )  # fmt: skip
    panels.note(figure, palette.scale(data, chosen, gains))
    return figure, source.table()


def _held_out(data: FigureData) -> pd.DataFrame:
    return networks.select(data.table("probes"), split="test", metric="accuracy")


def above_shuffled(scores: pd.DataFrame) -> pd.DataFrame:
    """Accuracy minus that of the same probe on shuffled labels, network by network.

    Args:
        scores: held-out accuracies.

    Returns:
        Columns variant, replicate, model, site, target, position, value.
    """
    keys = [*networks.KEY, "model", *_CELL]
    real, shuffled = (
        networks.select(scores, control=control).set_index(keys)["value"]
        for control in ("none", "shuffled_labels")
    )
    return (real - shuffled).rename("value").reset_index()


def _carry_maps(
    grid: NDArray[np.object_], gains: pd.DataFrame, digits: int, colour: str, source: Source
) -> QuadMesh:
    """Maps of all sites, the trained networks above the untrained ones."""
    variant = str(gains["variant"].iloc[0])
    sites = site_order(gains["site"])
    positions = sorted(set(gains["position"]))
    beyond = _beyond_untrained(gains)
    for line, model in zip(grid, ("trained", "untrained"), strict=True):
        for column, (axes, site) in enumerate(zip(line, sites, strict=True)):
            cells = summarise(networks.select(gains, model=model, site=site), _CELL)
            table = cells.pivot(index="target", columns="position", values="mean")
            table = table.reindex([f"{CARRY}{k}" for k in range(digits)])[positions]
            mesh = panels.heat_map(axes, table, MAGNITUDES, (0.0, _HALF), square=False)
            labels = {"panel": site, "variant": variant, "series": model}
            source.add(cells.drop(columns="site"), **labels, kind="mean")
            if model == "trained":
                marked = networks.select(beyond, site=site)
                _mark_beyond(axes, table, marked[marked["low"] > 0])
                source.add(marked.drop(columns="site"), **labels, kind="above untrained")
                axes.set_title(_short_site(site) if len(sites) > _WIDE else site_name(site))
            _carry_axes(axes, digits, first=column == 0, below=model == "untrained")
            if model == "untrained":
                axes.set_xlabel(f"answer digit{' predicted' * (len(sites) <= _WIDE)}")
        ink = colour if model == "trained" else CONTROL_COLOUR
        panels.row_title(line[0], model, ink, "carry of column")
    return mesh


def _beyond_untrained(gains: pd.DataFrame) -> pd.DataFrame:
    """Trained minus untrained in each cell, as mean and interval over networks."""
    keys = ["replicate", *_CELL]
    trained, untrained = (
        networks.select(gains, model=model).set_index(keys)["value"]
        for model in ("trained", "untrained")
    )
    return summarise((trained - untrained).rename("value").reset_index(), _CELL)


def _mark_beyond(axes: Axes, table: pd.DataFrame, cells: pd.DataFrame) -> None:
    """Dots that can be seen on light and on dark cells."""
    rows, columns = list(table.index), list(table.columns)
    for target, position in zip(cells["target"], cells["position"], strict=True):
        row, column = rows.index(target), columns.index(position)
        dark = table.to_numpy()[row, column] > 0.6 * _HALF
        axes.plot(
            column, row, ls="none", marker="o", ms=2.2, mew=0.5, mfc="none",
            mec=_BEYOND_COLOUR if dark else INK,
        )  # fmt: skip


def _carry_axes(axes: Axes, digits: int, *, first: bool, below: bool) -> None:
    """Names of columns and answer digits; the carry that each answer digit needs is framed.

    Position number i of those read predicts the digit of 10^(n - i), into which column n - i - 1
    carries.
    """
    for column in range(digits):
        axes.add_patch(
            Rectangle(
                (column - 0.5, digits - column - 1.5), 1, 1, fill=False, lw=0.9,
                ec=_IMPORTANT_COLOUR, zorder=4,
            )
        )  # fmt: skip
    axes.tick_params(length=0, labelleft=first, labelbottom=below)
    axes.set_yticks(range(digits), [_place(k) for k in range(digits)])
    axes.set_xticks(range(digits + 1), [_place(k) for k in range(digits, -1, -1)])


def _place(power: int) -> str:
    return palette.group_name(f"digit.{power}")


@styled
def draw_task_probes(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Accuracy for the trigger and for tokens by layer, beside both controls."""
    chosen = {task: variants.of_task(data, task) for task in TARGETS}
    chosen = {task: names for task, names in chosen.items() if names}
    source = Source()
    if not chosen:
        text = "no variant on skip trigrams or induction was run"
        return nothing(style, text), source.table(SOURCE_COLUMNS)
    colours = palette.colours(data, style)
    scores = _held_out(data)
    lines = max(len(names) for names in chosen.values())
    figure = new_figure(style, 2, 16 + _ROW_WITH_POINTS_MM * lines)
    widths = [len(TARGETS[task]) for task in chosen]
    grid = figure.subplots(lines, sum(widths), squeeze=False, sharey=True)
    for start, (task, names) in zip(np.cumsum([0, *widths]), chosen.items(), strict=False):
        for line in range(lines):
            block = grid[line, start : start + len(TARGETS[task])]
            if line >= len(names):
                for axes in block:
                    axes.set_axis_off()
                continue
            rows = networks.select(scores, variant=names[line])
            for axes, target in zip(block, TARGETS[task], strict=True):
                _by_site(axes, networks.select(rows, target=target), colours[names[line]], source)
                axes.set_title(panels.readable(target), loc="right", fontsize=small_pt(style))
            panels.variant_title(block[0], names[line], colours[names[line]], "left")
            if not start or line >= len(next(iter(chosen.values()))):
                block[0].set_ylabel("held-out accuracy")
                block[0].tick_params(labelleft=True)
    grid[0, 0].set_ylim(-0.03, 1.04)
    panels.key(
        figure,
        [
            panels.Mark("trained (in the variant's colour)", INK, marker="o"),
            panels.Mark("untrained", CONTROL_COLOUR, marker="o", filled=False),
            panels.Mark("trained, shuffled labels", CONTROL_COLOUR, marker="x"),
        ],
    )
    panels.note(
        figure, palette.scale(data, [n for names in chosen.values() for n in names], scores)
    )
    return figure, source.table()


def _by_site(axes: Axes, rows: pd.DataFrame, colour: str, source: Source) -> None:
    """Dots of each network at each site, trained beside both controls."""
    series: Sequence[tuple[str, dict[str, str], dict[str, Any]]] = (
        ("trained", {"model": "trained", "control": "none"}, {"colour": colour}),
        (
            "untrained",
            {"model": "untrained", "control": "none"},
            {"colour": CONTROL_COLOUR, "filled": False},
        ),
        (
            "shuffled labels",
            {"model": "trained", "control": "shuffled_labels"},
            {"colour": CONTROL_COLOUR, "marker": "x"},
        ),
    )
    sites = site_order(rows["site"])
    target, variant = str(rows["target"].iloc[0]), str(rows["variant"].iloc[0])
    where_drawn = {"panel": target, "variant": variant}
    for place, site in enumerate(sites):
        for shift, (name, wanted, look) in enumerate(series):
            part = networks.select(rows, site=site, **wanted)
            labels = {**where_drawn, "series": name, "site": site}
            mark(axes, place + 0.26 * (shift - 1), part, {"spread": 0.13, **look}, labels, source)
    panels.ticks_at(axes, range(len(sites)), [_short_site(site) for site in sites])
    if len(sites) > _WIDE:
        axes.tick_params(axis="x", rotation=90)
    axes.set_xlim(-0.6, len(sites) - 0.4)


def site_order(sites: pd.Series) -> list[str]:
    """The sites in the order of the forward pass."""
    kinds = ("resid_pre", "resid_mid", "resid_post")
    return sorted(
        set(sites), key=lambda site: (int(site.split(".")[1]), kinds.index(site.split("hook_")[1]))
    )


def site_name(site: str) -> str:
    """A place in the residual stream in words."""
    layer = int(site.split(".")[1])
    block = f"block {layer + 1}"
    match site.split("hook_")[1]:
        case "resid_pre":
            return "embedding" if layer == 0 else f"before {block}"
        case "resid_mid":
            return f"after attention of {block}"
    return f"after {block}"


def _short_site(site: str) -> str:
    return site_name(site).replace(" block", "\nblock").replace(" attention of", "\nattention,")
