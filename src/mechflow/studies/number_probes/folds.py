"""Which numbers, not which prompts, are held out from the probes."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Shaped

from mechflow.seeds import Seeds
from mechflow.studies.number_probes.config import Folds

Split = Shaped[np.ndarray, " numbers"]


def run(*, limit: int, folds: Folds, seeds: Seeds, replicates: range) -> dict[str, pd.DataFrame]:
    """The split of every fold of every replicate: a row for each number."""
    frames = []
    for replicate in replicates:
        for fold, split in enumerate(_splits(limit, folds, seeds, replicate)[: folds.fitted]):
            rows = {"replicate": replicate, "fold": fold, "number": np.arange(limit)}
            frames.append(pd.DataFrame(rows | {"split": split}))
    return {"folds": pd.concat(frames, ignore_index=True)}


def _splits(limit: int, folds: Folds, seeds: Seeds, replicate: int) -> list[Split]:
    if folds.split == "published":
        return [published_split(limit, replicate)]
    generator = seeds.shared().numpy(replicate, "folds of numbers")
    return equal_folds(limit, folds.folds, round(folds.valid_share * limit), generator)


def equal_folds(limit: int, count: int, valid: int, generator: np.random.Generator) -> list[Split]:
    """Splits in which every number is tested once, by folds whose sizes differ by one at most.

    The valid numbers of a fold are drawn from those that it does not test.
    """
    splits = []
    for test in np.array_split(generator.permutation(limit), count):
        split = np.full(limit, "train", dtype="<U5")
        split[test] = "test"
        others = np.flatnonzero(split == "train")
        split[generator.choice(others, valid, replace=False)] = "valid"
        splits.append(split)
    return splits


def published_split(limit: int, seed: int) -> Split:
    """One uniform draw a number from torch: train below 0.9, valid below 0.95, otherwise test.

    The notebook's split is that of seed 0; each replicate has the seed of its number.
    """
    draw = torch.rand(limit, generator=torch.Generator().manual_seed(seed)).numpy()
    return np.select([draw < 0.9, draw < 0.95], ["train", "valid"], "test")
