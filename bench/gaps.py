"""Which of two sets of values differ, by how much and where."""

import math
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

_CHUNK = 1 << 20
"""Values of a tensor that are compared at a time."""
_WIDTH = 40
"""Characters of a text that are shown."""


class Tolerance(NamedTuple):
    """Floats a and b are the same if |a - b| <= atol + rtol * |b|; all else must be equal."""

    rtol: float
    atol: float

    def __str__(self) -> str:
        return f"rtol {self.rtol:g}, atol {self.atol:g}"

    def apart(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """How far apart float64 values [n] are that differ, and 0 where they do not.

        NaN equals NaN, and infinities of one sign are equal; a value that is not finite is
        infinitely far from all others.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            same = np.isclose(a, b, rtol=self.rtol, atol=self.atol, equal_nan=True)
            distance = np.abs(a - b)
        distance[np.isnan(distance)] = np.inf
        distance[same] = 0.0
        return distance


@dataclass
class Gap:
    """How many of two sets of values differ, and where they are farthest apart."""

    count: int = 0
    first: int = 0
    """Place of the first values that differ."""
    widest: int = 0
    """Place of those that are farthest apart, which is the first where there are no distances."""
    largest: float = 0.0

    def add(self, apart: np.ndarray, begin: int = 0) -> None:
        """Takes in the distances of a run of values, which begins at a place."""
        differing = np.flatnonzero(apart)
        if not differing.size:
            return
        if not self.count:
            self.first = begin + int(differing[0])
        self.count += differing.size
        if apart.max() > self.largest:
            self.widest, self.largest = begin + int(apart.argmax()), float(apart.max())

    def told(self, total: int, noun: str, where: str, old: object, new: object) -> str:
        """The gap in words, with both values where it is widest."""
        verb = "differs" if self.count == 1 else "differ"
        which = f"largest {self.largest:.1e}" if isinstance(old, float) else "first"
        return f"{self.count} of {total} {noun} {verb}, {which} at {where}: {change(old, new)}"


def gap_of_columns(a: pa.ChunkedArray, b: pa.ChunkedArray, tolerance: Tolerance) -> Gap:
    """The gap between two columns of one type and length."""
    gap = Gap()
    if pa.types.is_floating(a.type):
        # A missing number is NaN to whoever reads the table.
        gap.add(tolerance.apart(*(column.to_numpy().astype(np.float64) for column in (a, b))))
    else:
        unequal = pc.fill_null(pc.not_equal(a, b), False)
        unequal = pc.or_(unequal, pc.xor(a.is_null(), b.is_null()))
        gap.add(unequal.to_numpy().astype(np.float64))
    return gap


def gap_of_tensors(a: torch.Tensor, b: torch.Tensor, tolerance: Tolerance) -> Gap:
    """The gap between two tensors [...] of one shape and number format, in places of [n]."""
    gap = Gap()
    for begin in range(0, a.numel(), _CHUNK):
        x, y = (tensor.flatten()[begin : begin + _CHUNK] for tensor in (a, b))
        if a.is_floating_point():
            gap.add(tolerance.apart(x.double().numpy(), y.double().numpy()), begin)
        else:
            gap.add((x != y).double().numpy(), begin)
    return gap


def change(old: object, new: object) -> str:
    """Both values, with as many digits or as much text as tells them apart."""
    if isinstance(old, float) and isinstance(new, float):
        pairs = [(f"{old:.{digits}g}", f"{new:.{digits}g}") for digits in (4, 8, 17)]
        return " -> ".join(next((pair for pair in pairs if pair[0] != pair[1]), pairs[-1]))
    if isinstance(old, str) and isinstance(new, str):
        alike = takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False))
        start = max(0, len(list(alike)) - _WIDTH // 2)
        return " -> ".join(f"'{shortened(text, start)}'" for text in (old, new))
    return f"{old} -> {new}"


def shortened(text: str, start: int = 0) -> str:
    """A part of a text, on one line."""
    end = start + _WIDTH
    part = "…" * (start > 0) + text[start:end] + "…" * (len(text) > end)
    return part.replace("\n", "\\n")


def number_or_text(value: pa.Scalar) -> object:
    """A value of a column as Python's; a missing number is NaN."""
    missing = not value.is_valid and pa.types.is_floating(value.type)
    return math.nan if missing else value.as_py()
