"""Names and colours of tasks, variants and groups of answers, and labels that do not collide."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from mechflow.config.study import Style
from mechflow.figures.data import FigureData
from mechflow.figures.style import NOTE_COLOUR, REFERENCE_COLOUR, small_pt, variant_colours
from mechflow.studies.phase_changes import outcomes, variants

STEP = "step [updates]"
LOSS = "loss [nats]"

TASK_NAMES: Mapping[str, str] = {
    "addition": "digit addition",
    "skip_trigram": "skip trigram",
    "induction": "induction",
}

REFERENCES = ("uniform", "blind", "optimal")
"""Losses that curves are compared with, named in labels as they are in tables."""

_SHADES = (0.08, 0.86)
"""Part of the colour map that is told from white, and from black."""
_LABEL_SPACING = 1.12
"""Distance of labels below one another, as a multiple of their size."""


def colours(data: FigureData, style: Style) -> dict[str, str]:
    """The colour of every variant of the study."""
    return variant_colours(data.variants, style)


def group_name(group: str) -> str:
    """A group of answers in words: ``$10^2$`` for a digit, ``trigger 3``, ``copy 1``."""
    kind, _, index = group.partition(".")
    match kind:
        case "digit":
            return rf"$10^{{{index}}}$"
        case "repeat":
            return f"copy {index}"
        case outcomes.ALL:
            return "all answers"
    return f"{kind} {index}"


def shades(groups: Sequence[str]) -> dict[str, str]:
    """Colours for groups in their order, from dark to light."""
    places = np.linspace(*_SHADES, len(groups)) if len(groups) > 1 else np.array([_SHADES[0]])
    return {
        group: to_hex(colormaps["viridis"](place))
        for group, place in zip(groups, places.tolist(), strict=True)
    }


def reference_losses(
    data: FigureData, names: Iterable[str], kind: str, group: str = outcomes.ALL
) -> list[float]:
    """The different values of a reference loss among variants, each a mean over replicates."""
    found = outcomes.references(data, kind, group)
    present = found[found.index.get_level_values("variant").isin(list(names))]
    return sorted({round(float(x), 9) for x in present.groupby("variant").mean()})


def mark_references(axes: Axes, values: Mapping[str, Sequence[float]], style: Style) -> None:
    """Dotted level lines, each with its name at the right edge; call it when limits are fixed.

    Lines that would share a label's height share a label. What lies outside of the limits, such
    as 0 on a logarithmic axis, is left out.
    """
    low, high = axes.get_ylim()
    lines = [(y, name) for name, ys in values.items() for y in ys if low <= y <= high]
    for y, _ in lines:
        axes.axhline(y, color=REFERENCE_COLOUR, ls=(0, (1, 1.5)), lw=0.8, zorder=0)
    spacing = _label_height(axes, style)
    merged: list[tuple[float, list[str]]] = []
    for y, name in sorted(lines, reverse=True):
        place = _axes_fraction(axes, y)
        if merged and merged[-1][0] - place < spacing:
            if name not in merged[-1][1]:
                merged[-1][1].append(name)
        else:
            merged.append((place, [name]))
    for place, names in merged:
        _right_label(axes, place, "\n".join(names), NOTE_COLOUR, style)


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, str]], style: Style) -> None:
    """Names at the right edge, near the last values of their lines, moved apart where they collide.

    Args:
        axes: a panel whose limits are fixed.
        ends: for each name the last value of its line and its colour.
        style: the style of the figure.
    """
    shown = {name: (y, colour) for name, (y, colour) in ends.items() if np.isfinite(y)}
    places = apart([_axes_fraction(axes, y) for y, _ in shown.values()], _label_height(axes, style))
    for (name, (_, colour)), place in zip(shown.items(), places, strict=True):
        _right_label(axes, place, name, colour, style)


def apart(places: Sequence[float], spacing: float) -> list[float]:
    """Places in [0, 1] at least this far from one another, in the order of the given ones.

    They move no further than needed, if there is room for all; otherwise they are spread evenly.
    """
    n = len(places)
    if n * spacing > 1:
        spacing = 1 / n
    order = np.argsort(places, kind="stable")
    slots = spacing * np.arange(n)
    wanted = np.asarray(places, dtype=float)[order] - slots
    # The nearest non-decreasing sequence, by pooling neighbours that are in the wrong order.
    blocks: list[list[float]] = []
    for value in wanted.tolist():
        blocks.append([value])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    flat = [float(np.mean(block)) for block in blocks for _ in block]
    room = 1.0 - slots[-1] if n else 1.0
    moved = np.clip(flat, 0.0, room) + slots
    result = np.empty(n)
    result[order] = moved
    return [float(place) for place in result]


def scale(data: FigureData, names: Sequence[str], frame: pd.DataFrame) -> str:
    """The number of training seeds and the sizes of the tasks, as text below a figure."""
    counts = [frame.loc[frame["variant"] == name, "replicate"].nunique() for name in names]
    low, high = min(counts, default=0), max(counts, default=0)
    seeds = "training seed" if high == 1 else "training seeds"
    sizes = dict.fromkeys(_size(data, name) for name in names)
    return "; ".join([f"n = {low if low == high else f'{low} to {high}'} {seeds}", *sizes])


def _size(data: FigureData, variant: str) -> str:
    sizes = data.config(variant).data
    match variants.task_of(data, variant):
        case "addition":
            return f"addition: {sizes.addition.n_digits} digits"
        case "skip_trigram":
            trigram = sizes.skip_trigram
            return f"skip trigram: {trigram.n_triggers} triggers, {trigram.seq_len} places"
    copies = sizes.induction
    return (
        f"induction: {copies.subseq_len} of {copies.seq_len} tokens come back, "
        f"{copies.d_vocab} in the vocabulary"
    )


def _axes_fraction(axes: Axes, y: float) -> float:
    """Height of a value in the panel, from 0 to 1."""
    low, high = axes.get_ylim()
    if axes.get_yscale() == "log":
        low, high, y = np.log10([low, high, max(y, low)]).tolist()
    return float(np.clip((y - low) / (high - low), 0.0, 1.0))


def _label_height(axes: Axes, style: Style) -> float:
    """Height of a line of small text as a share of the panel's, before layout."""
    figure = axes.get_figure(root=True)
    assert figure is not None, "panels are labelled in their figure"
    rows = axes.get_subplotspec()
    share = 1.0 / rows.get_gridspec().nrows if rows else 1.0
    # Titles, ticks and labels take about a third of a row.
    points = 72 * figure.get_figheight() * share * 0.68
    return _LABEL_SPACING * small_pt(style) / points


def _right_label(axes: Axes, place: float, text: str, colour: str, style: Style) -> None:
    axes.annotate(
        text, (1, place), (2.5, 0), xycoords="axes fraction", textcoords="offset points",
        va="center", fontsize=small_pt(style), color=colour, linespacing=1.0, annotation_clip=False,
    )  # fmt: skip
