"""The folds of numbers as masks."""

import pandas as pd
import torch

from mechflow.probes.readout import NumberSplit


def number_splits(folds: pd.DataFrame) -> dict[tuple[int, int], NumberSplit]:
    """The split of every (replicate, fold), in their order."""
    found = {}
    for key, rows in folds.groupby(["replicate", "fold"], sort=True):
        split = rows.sort_values("number")["split"].to_numpy()
        masks = {name: torch.tensor(split == name) for name in ("train", "valid", "test")}
        found[(int(key[0]), int(key[1]))] = NumberSplit(**masks)
    return found
