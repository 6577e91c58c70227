"""The one look of all figures: fonts, widths, colours and line styles.

Nothing here touches matplotlib's global settings: figures are drawn and saved inside a context.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

import matplotlib.style
from matplotlib.figure import Figure

from mechflow.config.study import Style

VARIANT_COLOURS: Mapping[str, str] = {
    "full": "#0072b2",
    "binary": "#d55e00",
    "ternary": "#009e73",
    "random_labels": "#4d4d4d",
    "binary_published": "#e6a100",
    "binary_ordered": "#6a0dad",
    "full_published": "#56b4e9",
    "addition": "#2038e8",
    "addition_finite": "#729df8",
    "addition_notebook": "#0a1560",
    "skip_trigram": "#1a8274",
    "skip_trigram_finite": "#54c084",
    "induction": "#b3200e",
    "induction_finite": "#f79a55",
    "induction_published": "#5a0e23",
    "induction_one_layer": "#7f7448",
}
"""Colours of the variants that the package knows, told apart with any colour vision (after Okabe
and Ito 2008)."""

FURTHER_COLOURS = ("#332288", "#aa4499", "#7a3b00", "#ddcc77", "#882255", "#999933")
"""Colours of variants that users add."""

SPLIT_LINES: Mapping[str, Any] = {"test": "-", "train": (0, (3.5, 1.2))}
"""Line styles of the two splits, the same in every figure."""

CONTROL_COLOUR = "#a3a3a3"
"""Colour of everything that is a control rather than a result."""
REFERENCE_COLOUR = "#bdbdbd"
"""Colour of reference lines such as chance."""
NOTE_COLOUR = "#6e6e6e"
"""Colour of notes."""
INK = "#262626"
"""Colour of text, axes and lines that belong to no variant."""

MAGNITUDES = "Greys"
"""Colour map of sizes, from 0 (white)."""
LEVELS = "viridis"
"""Colour map of bounded quantities and activations."""
SIGNED = "RdBu_r"
"""Colour map of signed quantities, symmetric about 0 (light)."""

_MM_PER_INCH = 25.4
_GUTTER_MM = 5.0
_SMALLEST_PT = 6.0

P = ParamSpec("P")
R = TypeVar("R")


def small_pt(style: Style) -> float:
    """Size of tick labels and notes: a point below the base, but still legible in print."""
    return min(style.font_size_pt, max(_SMALLEST_PT, style.font_size_pt - 1))


def width_mm(style: Style, columns: Literal[1, 2]) -> float:
    """Width of a figure over one or two journal columns."""
    return columns * style.column_width_mm + (columns - 1) * _GUTTER_MM


def settings(style: Style) -> dict[str, Any]:
    """Where this style departs from matplotlib's built-in settings."""
    base, small = style.font_size_pt, small_pt(style)
    return {
        "font.family": "DejaVu Sans",
        "font.size": base,
        "axes.titlesize": base,
        "axes.labelsize": base,
        "figure.labelsize": small,
        "xtick.labelsize": small,
        "ytick.labelsize": small,
        "legend.fontsize": small,
        "mathtext.default": "regular",
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.linewidth": 0.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlepad": 3.0,
        "axes.labelpad": 2.0,
        "axes.unicode_minus": True,
        "lines.linewidth": 1.0,
        "lines.markersize": 3.0,
        "patch.linewidth": 0.5,
        "legend.frameon": False,
        "legend.handlelength": 2.4,
        "legend.columnspacing": 1.4,
        "legend.borderaxespad": 0.0,
        **{f"{axis}tick.major.{key}": value for axis in "xy" for key, value in _MAJOR.items()},
        **{f"{axis}tick.minor.{key}": value for axis in "xy" for key, value in _MINOR.items()},
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.w_pad": 0.02,
        "figure.constrained_layout.h_pad": 0.025,
        "figure.constrained_layout.wspace": 0.02,
        "figure.constrained_layout.hspace": 0.02,
        "figure.dpi": style.dpi,
        "savefig.dpi": style.dpi,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.hashsalt": "mechflow",
        "path.simplify": True,
        "image.interpolation": "nearest",
    }


_MAJOR = {"size": 2.2, "width": 0.5, "pad": 2.0}
_MINOR = {"size": 1.2, "width": 0.4, "pad": 2.0}


def context(style: Style) -> AbstractContextManager[None]:
    """A context in which matplotlib draws in this style, whatever the user's own settings are."""
    return matplotlib.style.context(["default", settings(style)])


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Makes a function ``draw(data, figures, style)`` draw inside the context of its style."""

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        style = kwargs.get("style", args[-1] if args else None)
        if not isinstance(style, Style):
            raise TypeError("the last argument of a drawing function is its style")
        with context(style):
            return draw(*args, **kwargs)

    return inside


def new_figure(style: Style, columns: Literal[1, 2], height_mm: float | int) -> Figure:
    """An empty figure over one or two columns of the journal."""
    size = (width_mm(style, columns) / _MM_PER_INCH, height_mm / _MM_PER_INCH)
    return Figure(figsize=size, layout="constrained")


def variant_colours(variants: Iterable[str], style: Style) -> dict[str, str]:
    """A colour for each variant, the same in all figures.

    The user's choice comes first, then the built-in colour of a known name. Other names take a
    further colour by their hash, the next free one if it is taken, so that a variant keeps its
    colour when others come and go as far as there are colours.
    """
    names = sorted(set(variants))
    chosen = {n: style.colours.get(n, VARIANT_COLOURS.get(n)) for n in names}
    found = {name: colour for name, colour in chosen.items() if colour is not None}
    free = [c for c in FURTHER_COLOURS if c not in found.values()] or list(FURTHER_COLOURS)
    for name in names:
        if name in found:
            continue
        preferred = FURTHER_COLOURS[_hash(name) % len(FURTHER_COLOURS)]
        found[name] = preferred if preferred in free else free[0]
        free.remove(found[name])
        free = free or list(FURTHER_COLOURS)
    return found


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
