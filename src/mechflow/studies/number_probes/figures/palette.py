"""Names, colours and lines of probes, controls and variants, and the axis of layers.

A probe is named as in ``outcomes.accuracies``: a code for the numbers such as ``digits``, or a
least-squares probe such as ``least_squares.digits``.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike, NDArray

from mechflow.config.study import Style
from mechflow.figures import style as house
from mechflow.figures.style import REFERENCE_COLOUR

NARROW = "_narrow"
LEAST_SQUARES = "least_squares."

CODE_NAMES = {
    "sinusoidal": "sinusoidal code",
    "random_fourier": "random Fourier code",
    "random_code": "random code",
    "digits": "decimal digits",
    "binary": "binary code",
    "linear": "linear",
    "log": "logarithmic",
    "log_published": "logarithmic, inverse as published",
}
CODE_COLOURS = {
    "sinusoidal": "#0072b2",
    "random_fourier": "#3aa6dd",
    "random_code": "#c2609a",
    "digits": "#d55e00",
    "binary": "#009e73",
    "linear": "#4d4d4d",
    "log": "#b58900",
    "log_published": "#d8c48a",
}
"""Told apart with any colour vision (after Okabe and Ito 2008)."""
NARROW_COLOURS = {
    "sinusoidal": "#7fb8d8",
    "random_fourier": "#9dd3ee",
    "random_code": "#e0b0cc",
}
"""Lighter colours of the same codes, as wide as the binary one."""
CODE_MARKERS = {
    "sinusoidal": "o",
    "random_fourier": "D",
    "random_code": "X",
    "digits": "s",
    "binary": "^",
    "linear": "v",
    "log": "P",
    "log_published": "p",
}

PLACE_COLOURS = ("#f0a875", "#d55e00", "#8a3c00", "#4a2000")
"""Shades of the digits' colour for decimal places, the ones first."""

UNTRAINED = "random_weights"
"""The control that is a variant of its own: the same probe on a model with random weights."""
CONTROL_NAMES = {
    "shuffled_values": "shuffled values",
    "shuffled_labels": "shuffled labels",
    "gaussian": "Gaussian states",
    UNTRAINED: "random weights",
}
CONTROL_COLOURS = {
    "shuffled_values": "#332288",
    "shuffled_labels": "#aa4499",
    "gaussian": "#8a8a00",
    UNTRAINED: "#7f7f7f",
}
CONTROL_LINES: dict[str, Any] = {
    "shuffled_values": "-",
    "shuffled_labels": (0, (5, 1.2)),
    "gaussian": (0, (3, 1, 1, 1)),
    UNTRAINED: (0, (1.2, 1)),
}

VARIANT_COLOURS = {
    "operand": "#0072b2",
    "in_context": "#009e73",
    "sum": "#d55e00",
    "random_model": "#7f7f7f",
}
NARROW_LINE = (0, (3.5, 1.2))
LEAST_SQUARES_LINE = (0, (3.5, 1.2))


def code(probe: str) -> str:
    """What the probe predicts: its name without the method and without the width."""
    return probe.removeprefix(LEAST_SQUARES).removesuffix(NARROW)


def probe_name(probe: str) -> str:
    """The probe in words."""
    words = CODE_NAMES.get(code(probe), code(probe).replace("_", " "))
    return f"{words}, narrow" if probe.endswith(NARROW) else words


def probe_colour(probe: str) -> str:
    """The colour of the probe in every figure; a code has one, however it is fitted."""
    if probe.endswith(NARROW):
        return NARROW_COLOURS.get(code(probe), CODE_COLOURS["linear"])
    return CODE_COLOURS.get(code(probe), CODE_COLOURS["linear"])


def probe_marker(probe: str) -> str:
    """The marker of the probe."""
    return CODE_MARKERS.get(code(probe), "o")


def probe_line(probe: str) -> Any:
    """The line style of the probe: dashed if its code is narrow or it is fitted otherwise."""
    if probe.endswith(NARROW):
        return NARROW_LINE
    return LEAST_SQUARES_LINE if probe == f"{LEAST_SQUARES}digits" else "-"


def variant_colours(variants: Iterable[str], style: Style) -> dict[str, str]:
    """A colour for each variant of the study; the user's choice comes first."""
    chosen = style.model_copy(update={"colours": {**VARIANT_COLOURS, **style.colours}})
    return house.variant_colours(variants, chosen)


def layer_axis(axes: Axes, last: int, label: str = "layer") -> None:
    """An axis of layers from the embedding to the states after the final norm.

    Args:
        axes: where layers are along x.
        last: number of the layer after the final norm.
        label: the axis label.
    """
    between = round_layers(last)
    axes.set_xticks([0, *between, last], ["emb", *map(str, between), "norm"])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(-0.02 * last, 1.02 * last)
    axes.set_xlabel(label)


def round_layers(last: int) -> list[int]:
    """Layers that have room for a tick between the first and the last one."""
    step = next((s for s in (1, 2, 5, 10, 20) if last / s <= 9), 50)
    room = max(1.0, 0.09 * last)
    return [tick for tick in range(step, last, step) if room <= tick <= last - room]


def early_layer_axis(axes: Axes, last: int, label: str = "layer") -> None:
    """The same axis on a square-root scale, which spreads the first layers."""
    axes.set_xscale("function", functions=(_root, np.square))
    between = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if tick <= last / 1.5]
    axes.set_xticks([0, *between, last], ["emb", *map(str, between), "norm"])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0, last)
    axes.set_xlabel(label)


def _root(values: ArrayLike) -> NDArray[np.float64]:
    return np.sqrt(np.maximum(np.asarray(values, dtype=np.float64), 0.0))


def mark_final_norm(axes: Axes, last: int) -> None:
    """A faint line between the output of the last block and the states after the final norm."""
    axes.axvline(last - 0.5, color=REFERENCE_COLOUR, lw=0.4, zorder=0)


def layer_name(layer: int, last: int) -> str:
    """A layer in words: ``embedding``, ``layer 3``, ``final norm``."""
    return {0: "embedding", last: "final norm"}.get(layer, f"layer {layer}")
