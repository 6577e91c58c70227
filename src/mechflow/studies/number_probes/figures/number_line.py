"""What figures of the number line share: variants that ran, ordered colours, layers as axes."""

from collections.abc import Iterable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from mechflow.figures.data import FigureData
from mechflow.studies.number_probes.config import Figures
from mechflow.studies.number_probes.figures import palette
from mechflow.studies.number_probes.figures.layered import model_text
from mechflow.studies.number_probes.outcomes import existing_layer

EMBEDDING, AFTER_NORM = "emb", "norm"
_ORDERED = "viridis"


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


def chosen_layers(last: int, wanted: int | None = None) -> list[int]:
    """Embedding, a quarter, half, the last block's output, and a layer that was asked for.

    Args:
        last: number of the layer after the final norm.
        wanted: the layer of the configuration.

    Raises:
        FigureError: the model has no such layer.
    """
    blocks = last - 1
    layers = {0, round(blocks / 4), round(blocks / 2), blocks}
    return sorted(layers if wanted is None else {*layers, existing_layer(wanted, last)})


def layers_upwards(axes: Axes, last: int) -> None:
    """Layers along y, from the embedding to the states after the final norm."""
    between = palette.round_layers(last)
    axes.set_yticks([0, *between, last], [EMBEDDING, *map(str, between), AFTER_NORM])


def exchanged_axis(axes: Axes, last_block: int) -> None:
    """Layers along x that states can be exchanged at: all but the one after the final norm."""
    ticks = [0, *palette.round_layers(last_block), last_block]
    axes.set_xticks(ticks, [EMBEDDING, *map(str, ticks[1:])])
    axes.set_xlim(-0.02 * last_block, 1.02 * last_block)
    axes.set_xlabel("exchanged layer")


def numbers_text(data: FigureData, variant: str) -> str:
    """The model and its numbers, for the line below a figure."""
    limit = data.config(variant).prompts.limit
    return f"{model_text(data, variant)}, numbers 0 to {limit - 1}"
