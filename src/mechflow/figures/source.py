"""The source data of a figure: exactly the numbers that are drawn, as one tidy table."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

Label: TypeAlias = str | int

_FIRST = ("panel", "variant", "series", "kind", "replicate")


class Source:
    """Collects what is drawn, panel by panel.

    Labels say where numbers are drawn: ``panel``, ``variant``, ``series`` and the like. A number
    that belongs to one training seed has its ``replicate``; summaries of several have ``mean``,
    ``low``, ``high`` and ``n``.
    """

    def __init__(self) -> None:
        self._frames: list[pd.DataFrame] = []

    def add(self, frame: pd.DataFrame, **labels: Label) -> None:
        """Rows as they are drawn, with labels that they share."""
        self._frames.append(frame.assign(**labels))

    def add_row(self, **values: str | int | float) -> None:
        """A single mark."""
        self._frames.append(pd.DataFrame([values]))

    def add_map(self, values: ArrayLike, row: str, column: str, **labels: Label) -> None:
        """A heat map in long form: indices of row and column under their names, and the value."""
        grid = np.asarray(values, dtype=np.float32)
        indices = np.indices(grid.shape)
        frame = pd.DataFrame(
            {row: indices[0].ravel(), column: indices[1].ravel(), "value": grid.ravel()}
        )
        self.add(frame, **labels)

    def table(self, columns: Sequence[str] = ()) -> pd.DataFrame:
        """All rows in the order of drawing, the labels first; what does not apply is missing.

        Args:
            columns: the columns of a table that may have no rows.
        """
        table = pd.concat(self._frames or [_without_rows(columns)], ignore_index=True)
        leading = [name for name in _FIRST if name in table]
        others = [name for name in table if name not in leading]
        table = table[leading + others]
        for name in ("replicate", "n"):
            if name in table:
                table[name] = table[name].astype("Int64")
        return table


def _without_rows(columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=float) for name in columns})
