"""Collects measured numbers of stacked replicates as tidy rows."""

from typing import Any, Protocol, runtime_checkable

import pandas as pd
import torch
from jaxtyping import Bool, Num
from torch import Tensor

LEADING_COLUMNS = ["replicate", "matrix", "quantity", "index", "value"]


@runtime_checkable
class Subject(Protocol):
    """What a number was measured on: a named tuple of columns, ``matrix`` among them."""

    def _asdict(self) -> dict[str, Any]: ...


class Observations:
    """A growing table with one measured number a row.

    Args:
        replicates: numbers of the stacked replicates.
    """

    def __init__(self, replicates: range) -> None:
        self._replicates = replicates
        self._frames: list[pd.DataFrame] = []

    def add(self, subject: Subject, quantity: str, values: Num[Tensor, " R"]) -> None:
        """One number for each replicate, at index 0."""
        self.add_series(subject, quantity, values[:, None])

    def add_series(
        self, subject: Subject, quantity: str, values: Num[Tensor, "R n"], first: int = 0
    ) -> None:
        """A series for each replicate, indexed from ``first``."""
        present = torch.ones_like(values, dtype=torch.bool)
        self._add(subject, quantity, values, present, first)

    def add_present(
        self, subject: Subject, quantity: str, mask: Bool[Tensor, "R n"], first: int = 0
    ) -> None:
        """A row of value 1 for each true element, indexed from ``first``."""
        self._add(subject, quantity, mask, mask, first)

    def table(self) -> pd.DataFrame:
        """All rows as they were added: `LEADING_COLUMNS`, then those of the subjects."""
        table = pd.concat(self._frames, ignore_index=True)
        others = [name for name in table.columns if name not in LEADING_COLUMNS]
        return table[[*LEADING_COLUMNS, *others]]

    def _add(
        self, subject: Subject, quantity: str, values: Tensor, kept: Tensor, first: int
    ) -> None:
        stack, index = kept.nonzero(as_tuple=True)
        frame = pd.DataFrame(
            {
                "replicate": torch.tensor(self._replicates)[stack].numpy(),
                "index": (index + first).numpy(),
                "value": values[kept].double().numpy(),
            }
        )
        self._frames.append(frame.assign(quantity=quantity, **subject._asdict()))
