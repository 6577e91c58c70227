"""What figures of the number line share: rows of tables, variants that ran, periods and labels."""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from mechflow.config.study import Style
from mechflow.figures.data import FigureData
from mechflow.figures.style import INK, small_pt
from mechflow.studies.number_probes.config import Figures

EMBEDDING, AFTER_NORM = "emb", "norm"
_ORDERED = "viridis"


def of(frame: pd.DataFrame, **wanted: str | int) -> pd.DataFrame:
    """The rows in which columns have the given values."""
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    return frame


def shown(data: FigureData, figures: Figures) -> tuple[str, ...]:
    """The main variant and the one with random weights, out of those that ran."""
    return tuple(name for name in (figures.main, figures.untrained) if name in data.variants)


def described(data: FigureData, variant: str) -> str:
    """Whether the variant's model is the trained one or has random weights, in words."""
    weights = data.config(variant).model.weights
    return "trained model" if weights == "pretrained" else "random weights"


def ordered_colours(values: Iterable[int]) -> dict[int, str]:
    """A colour for each of some ordered values, such as periods or layers, dark to light."""
    names = sorted(set(values))
    places = np.linspace(0.0, 0.86, len(names)) if len(names) > 1 else [0.0]
    return {
        name: to_hex(matplotlib.colormaps[_ORDERED](place))
        for name, place in zip(names, places, strict=True)
    }


def layer_name(layer: int, last: int) -> str:
    """The layer in words.

    Args:
        layer: its number.
        last: number of the layer after the final norm.
    """
    if layer == 0:
        return "embedding"
    return "final norm" if layer == last else f"layer {layer}"


def layers_upwards(axes: Axes, last: int) -> None:
    """Layers along y, from the embedding to the states after the final norm."""
    between = _round_layers(last)
    axes.set_yticks([0, *between, last], [EMBEDDING, *map(str, between), AFTER_NORM])


def exchanged_axis(axes: Axes, last_block: int) -> None:
    """Layers along x that states can be exchanged at: all but the one after the final norm."""
    ticks = [0, *_round_layers(last_block), last_block]
    axes.set_xticks(ticks, [EMBEDDING, *map(str, ticks[1:])])
    axes.set_xlim(-0.02 * last_block, 1.02 * last_block)
    axes.set_xlabel("exchanged layer")


def _round_layers(last: int) -> list[int]:
    step = next((s for s in (1, 2, 5, 10, 20) if last / s <= 9), 50)
    room = max(1.0, 0.09 * last)
    return [tick for tick in range(step, last, step) if room <= tick <= last - room]


def end_labels(
    axes: Axes,
    ends: Mapping[str, tuple[float, str]],
    heading: str,
    style: Style,
    *,
    gap: float = 0.08,
) -> None:
    """Direct labels at the right ends of lines, moved apart where lines end close together.

    The limits of the panel must be set before.

    Args:
        axes: the panel.
        ends: for each text, the height at which its line ends, and its colour.
        heading: what the texts name, above them.
        style: the style.
        gap: least distance of labels, as a share of the height of the panel.
    """
    names = sorted(ends, key=lambda name: ends[name][0])
    points = np.array([[axes.get_xlim()[1], ends[name][0]] for name in names])
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = to_axes.transform(points)[:, 1].clip(0.02, 0.98).tolist()
    texts = [(n, y, ends[n][1]) for n, y in zip(names, apart(heights, gap), strict=True)]
    top = max(1.04, texts[-1][1] + gap) if texts else 1.04
    for name, height, colour in [*texts, (heading, top, INK)]:
        axes.annotate(
            name, (1.0, height), (3, 0), xycoords="axes fraction", textcoords="offset points",
            va="center", fontsize=small_pt(style), color=colour, annotation_clip=False,
        )  # fmt: skip


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights, moved as little as needed so that neighbours differ by a gap.

    Groups that touch are centred on their mean (pooling adjacent violators).
    """
    groups: list[list[float]] = []
    for rank, height in enumerate(heights):
        groups.append([height - rank * gap])
        while len(groups) > 1 and np.mean(groups[-2]) > np.mean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    levels = [float(np.mean(group)) for group in groups for _ in group]
    return [level + rank * gap for rank, level in enumerate(levels)]
