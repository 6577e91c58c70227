"""The dataset table as the sequences that models read."""

import numpy as np
import pandas as pd
import torch

from mechflow.studies.phase_changes.dataset import FIELDS
from mechflow.training.sequences import Sequences, stack


def sequences_of(
    dataset: pd.DataFrame, split: str, subset: str = "all", limit: int | None = None
) -> Sequences | None:
    """One recorded set with a leading replicate axis, or its first examples; None if there is none.

    Args:
        dataset: the table of the dataset stage.
        split: train or test.
        subset: all, or a kind of sequence that has a test set of its own.
        limit: sequences at most.
    """
    rows = dataset[(dataset["split"] == split) & (dataset["subset"] == subset)]
    parts = [_sequences(part.head(limit or len(part))) for _, part in rows.groupby("replicate")]
    return stack(parts) if parts else None


def _sequences(rows: pd.DataFrame) -> Sequences:
    return Sequences(**{name: _numbers(rows[name]) for name in FIELDS})


def _numbers(texts: pd.Series) -> torch.Tensor:
    values = np.array(" ".join(texts).split(), dtype=np.int64)
    return torch.from_numpy(values).view(len(texts), -1)
