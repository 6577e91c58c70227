"""Test sets and, where data are finite, train sets, disjoint from them.

Every set has a generator of its own, so that none repeats the noise of another. What is recorded
is complete: the sequences, where they are read, and what is right there.
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from mechflow.seeds import Seeds
from mechflow.studies.phase_changes.config import Data, Finite
from mechflow.studies.phase_changes.tasks import Task, task_of
from mechflow.training.sequences import Sequences, concatenate

FIELDS = ("tokens", "positions", "targets", "groups")

_VAIN_DRAWS = 100
"""Draws of a whole train set in a row without a new sequence, after which there is none left."""


def run(
    *, data: Data, finite: Finite | None, seeds: Seeds, replicates: range
) -> dict[str, pd.DataFrame]:
    """The recorded sequences of one block."""
    task = task_of(data)
    frames = []
    for replicate in replicates:
        sets = test_sets(task, data.test_examples, seeds, replicate)
        if finite:
            sets["train", "all"] = train_set(
                task, finite.examples, list(sets.values()), seeds.torch(replicate, "train examples")
            )
        frames.append(_table(sets, replicate))
    return {"dataset": pd.concat(frames, ignore_index=True)}


def test_sets(task: Task, n: int, seeds: Seeds, replicate: int) -> dict[tuple[str, str], Sequences]:
    """For each (split, subset) its sequences: the test set of the task, and those of its kinds."""
    sets = {("test", "all"): task.generate(n, seeds.torch(replicate, "test examples"))}
    for subset in task.subsets:
        generator = seeds.torch(replicate, f"test examples: {subset}")
        sets["test", subset] = task.generate_subset(subset, n, generator)
    return sets


def train_set(task: Task, n: int, tests: list[Sequences], generator: torch.Generator) -> Sequences:
    """As many sequences, all different, none of which is in a test set.

    Raises:
        ValueError: the task does not have so many.
    """
    seen = {row for test in tests for row in _rows(test.tokens)}
    parts: list[Sequences] = []
    missing, vain = n, 0
    while missing:
        drawn = task.generate(n, generator)
        fresh: list[int] = []
        for index, row in enumerate(_rows(drawn.tokens)):
            if row not in seen and len(fresh) < missing:
                seen.add(row)
                fresh.append(index)
        parts.append(drawn.take(torch.tensor(fresh, dtype=torch.int64)))
        missing -= len(fresh)
        vain = 0 if fresh else vain + 1
        if vain == _VAIN_DRAWS:
            raise ValueError(
                f"finite.examples is {n}, but only {n - missing} different sequences are left "
                "that are in no test set: make it smaller, or the task larger"
            )
    return concatenate(parts)


def _rows(tokens: Int[Tensor, "n pos"]) -> list[bytes]:
    """Sequences as something that can be compared."""
    return [row.tobytes() for row in tokens.numpy()]


def _table(sets: dict[tuple[str, str], Sequences], replicate: int) -> pd.DataFrame:
    frames = []
    for (split, subset), sequences in sets.items():
        text = {name: _as_text(getattr(sequences, name)) for name in FIELDS}
        frames.append(pd.DataFrame({"split": split, "subset": subset, **text}))
    table = pd.concat(frames, ignore_index=True)
    table.insert(0, "replicate", np.int64(replicate))
    table.insert(1, "example", np.arange(len(table)))
    return table


def _as_text(values: Int[Tensor, "n width"]) -> list[str]:
    return [" ".join(map(str, row)) for row in values.tolist()]
