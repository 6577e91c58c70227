"""The prompts: pairs of operands, the number that probes look for, and the text."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mechflow.language_models.templates import render
from mechflow.seeds import Seeds
from mechflow.studies.number_probes.config import Prompts

IntArray = NDArray[np.int64]


def run(*, prompts: Prompts, seeds: Seeds) -> dict[str, pd.DataFrame]:
    """All prompts of a variant, sorted by their operands."""
    pairs = all_pairs(prompts.limit)
    labels = label(pairs, prompts.label)
    chosen = np.arange(len(pairs))
    if prompts.sample is not None and prompts.sample < len(pairs):
        generator = seeds.shared().numpy(None, "sample of prompts")
        if prompts.sampling == "uniform":
            chosen = generator.choice(len(pairs), prompts.sample, replace=False)
        else:
            chosen = balanced_sample(labels, prompts.sample, generator)
    chosen = np.sort(chosen)
    a, b = pairs[chosen].T
    texts = [
        render(prompts.template, first, second)[0]
        for first, second in zip(a.tolist(), b.tolist(), strict=True)
    ]
    frame = pd.DataFrame(
        {"example": np.arange(len(chosen)), "a": a, "b": b, "label": labels[chosen], "text": texts}
    )
    return {"prompts": frame}


def all_pairs(limit: int) -> IntArray:
    """All (a, b) with a + b < limit, sorted: [limit (limit + 1) / 2, 2]."""
    a, b = np.divmod(np.arange(limit**2, dtype=np.int64), limit)
    return np.stack([a, b], axis=1)[a + b < limit]


def label(pairs: IntArray, name: str) -> IntArray:
    """The number that probes look for, of each pair: a, b or their sum."""
    a, b = pairs.T
    return {"a": a, "b": b, "sum": a + b}[name]


def balanced_sample(labels: IntArray, size: int, generator: np.random.Generator) -> IntArray:
    """Positions of a sample in which every label is equally common, as far as there are enough.

    Labels that occur less often than the others' share are taken whole, and the others share what
    is left; where it does not divide evenly, some labels drawn at random have one more.
    """
    order = generator.permutation(len(labels))
    rank = pd.Series(labels[order]).groupby(labels[order]).cumcount().to_numpy()
    # Taking every label's first occurrence, then every second one, and so on, fills all labels at
    # the same pace; within a round the order is random.
    rounds = np.argsort(rank, kind="stable")
    return np.asarray(order[rounds[:size]], dtype=np.int64)
