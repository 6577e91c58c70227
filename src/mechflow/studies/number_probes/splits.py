"""The folds of numbers as masks."""

import pandas as pd
import torch

from mechflow.probes.number_split import NumberSplit


def number_splits(folds: pd.DataFrame) -> dict[tuple[int, int], NumberSplit]:
    """The split of every (replicate, fold), in their order."""
    found = {}
    fits = folds[["replicate", "fold"]].drop_duplicates().to_numpy().tolist()
    for replicate, fold in sorted(fits):
        rows = folds[(folds["replicate"] == replicate) & (folds["fold"] == fold)]
        split = rows.sort_values("number")["split"].to_numpy()
        masks = {name: torch.tensor(split == name) for name in ("train", "valid", "test")}
        found[replicate, fold] = NumberSplit(**masks)
    return found
