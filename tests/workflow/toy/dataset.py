"""The dataset of the toy study."""

import pandas as pd

from mechflow.seeds import Seeds
from mechflow.studies.toy.config import Dataset


def run(*, dataset: Dataset, seeds: Seeds, replicates: range) -> dict[str, pd.DataFrame]:
    """All pairs of residues, the last replicate's first, split by chance."""
    rows = [
        (r, a * dataset.p + b, split, a, b, (a + b) % dataset.p)
        for r in replicates
        for a in range(dataset.p)
        for b, split in enumerate(seeds.numpy(r, f"split {a}").choice(["train", "test"], dataset.p))
    ]
    columns = ["replicate", "example", "split", "a", "b", "label"]
    return {"dataset": pd.DataFrame(rows, columns=columns)}
