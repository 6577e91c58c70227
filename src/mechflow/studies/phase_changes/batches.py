"""The batch of every update: fresh sequences, or those of a finite train set in a new order.

A batch depends on the replicate and on the step alone, so a resumed run sees the same ones.
"""

from collections.abc import Callable
from functools import lru_cache

import torch

from mechflow.seeds import Seeds
from mechflow.studies.phase_changes.tasks import Task
from mechflow.training.sequences import Sequences, stack

_UPDATES_AT_ONCE = 32
"""Updates whose fresh sequences come from one generator: making many at once is faster."""


def fresh_batches(
    task: Task, size: int, seeds: Seeds, replicates: range
) -> Callable[[int], Sequences]:
    """New sequences in every update, [R, size, ...]."""

    @lru_cache(maxsize=1)
    def several(number: int) -> Sequences:
        purpose = f"train batches from {number * _UPDATES_AT_ONCE}"
        return stack(
            [task.generate(size * _UPDATES_AT_ONCE, seeds.torch(r, purpose)) for r in replicates]
        )

    def batch(step: int) -> Sequences:
        number, place = divmod(step, _UPDATES_AT_ONCE)
        return several(number).take(slice(place * size, (place + 1) * size))

    return batch


def repeated_batches(
    train: Sequences, size: int | None, seeds: Seeds, replicates: range
) -> Callable[[int], Sequences]:
    """A finite train set: all of it in every update, or epochs of batches in a new order each.

    The last batch of an epoch is smaller where the size does not divide the number of sequences.
    """
    if size is None:
        return lambda step: train
    n = len(train)
    per_epoch = -(-n // size)

    @lru_cache(maxsize=1)
    def order(epoch: int) -> list[torch.Tensor]:
        purpose = f"order of epoch {epoch}"
        return [torch.randperm(n, generator=seeds.torch(r, purpose)) for r in replicates]

    @lru_cache(maxsize=1)
    def shuffled(epoch: int) -> Sequences:
        parts = [
            Sequences(train.tokens[i], train.positions[i], train.targets[i], train.groups[i])
            for i in range(len(train.tokens))
        ]
        return stack([part.take(o) for part, o in zip(parts, order(epoch), strict=True)])

    def batch(step: int) -> Sequences:
        epoch, place = divmod(step, per_epoch)
        return shuffled(epoch).take(slice(place * size, (place + 1) * size))

    return batch
