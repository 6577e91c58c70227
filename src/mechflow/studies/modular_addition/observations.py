"""Collects measured numbers of stacked replicates as tidy rows."""

import pandas as pd
import torch
from jaxtyping import Bool, Num
from torch import Tensor

COLUMNS = ["replicate", "model", "weights", "matrix", "quantity", "index", "value"]


class Observations:
    """A growing table with one measured number a row.

    Args:
        replicates: numbers of the stacked replicates.
    """

    def __init__(self, replicates: range) -> None:
        self._replicates = replicates
        self._frames: list[pd.DataFrame] = []

    def add(self, values: Num[Tensor, " R"], **labels: str) -> None:
        """One number for each replicate, at index 0."""
        self.add_series(values[:, None], **labels)

    def add_series(self, values: Num[Tensor, "R n"], *, first: int = 0, **labels: str) -> None:
        """A series for each replicate, indexed from ``first``."""
        self._add(values, torch.ones_like(values, dtype=torch.bool), first, labels)

    def add_present(self, mask: Bool[Tensor, "R n"], *, first: int = 0, **labels: str) -> None:
        """A row of value 1 for each true element, indexed from ``first``."""
        self._add(mask, mask, first, labels)

    def table(self) -> pd.DataFrame:
        """All rows, in the order in which they were added."""
        return pd.concat(self._frames, ignore_index=True)[COLUMNS]

    def _add(self, values: Tensor, kept: Tensor, first: int, labels: dict[str, str]) -> None:
        stack, index = kept.nonzero(as_tuple=True)
        frame = pd.DataFrame(
            {
                "replicate": torch.tensor(self._replicates)[stack].numpy(),
                "index": (index + first).numpy(),
                "value": values[kept].double().numpy(),
            }
        )
        self._frames.append(frame.assign(**labels))
