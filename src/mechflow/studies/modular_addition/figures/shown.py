"""What the figures show: which variants, in which colours, at which scale."""

import math
from collections.abc import Sequence

import pandas as pd

from mechflow.config.study import Style
from mechflow.figures.data import FigureData
from mechflow.figures.style import variant_colours
from mechflow.studies.modular_addition.config import Figures

STEP = "training step"


def compared(data: FigureData, figures: Figures) -> tuple[str, ...]:
    """The variants to set side by side: those of ``figures.compare`` that ran, in that order."""
    return tuple(name for name in figures.compare if name in data.variants) or data.variants


def colours(data: FigureData, style: Style) -> dict[str, str]:
    """The colour of every variant of the study."""
    return variant_colours(data.variants, style)


def modulus(data: FigureData, variant: str) -> int:
    """The modulus p."""
    return int(data.config(variant).dataset.p)


def uniform_loss(data: FigureData, variant: str) -> float:
    """Loss of a model that holds all p answers for equally likely, in nats."""
    return math.log(modulus(data, variant))


def of(frame: pd.DataFrame, **wanted: str | int) -> pd.DataFrame:
    """The rows in which columns have the given values."""
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    return frame


def scale(
    data: FigureData, variants: Sequence[str], frame: pd.DataFrame | None = None, more: str = ""
) -> str:
    """The number of training seeds and the modulus, as text below a figure."""
    parts = []
    if frame is not None:
        counts = [of(frame, variant=name)["replicate"].nunique() for name in variants]
        low, high = min(counts), max(counts)
        seeds = "training seed" if high == 1 else "training seeds"
        parts.append(f"n = {low if low == high else f'{low} to {high}'} {seeds}")
    parts.append("p = " + ", ".join(str(p) for p in sorted({modulus(data, v) for v in variants})))
    return ", ".join(parts + ([more] if more else []))


def single(data: FigureData, figures: Figures, variants: Sequence[str]) -> str:
    """The scale of a figure of single models, as text below it."""
    return scale(data, variants, more=f"training seed {figures.replicate} of each variant")
