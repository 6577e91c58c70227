"""Token sequences of which only some positions are answered, as training and evaluation read them.

What an answer belongs to, such as a digit or a repeat, is its group: losses are kept apart by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Sequences:
    """Sequences and where the loss reads; a leading replicate axis is possible everywhere."""

    tokens: Int[Tensor, "*batch pos"]
    positions: Int[Tensor, "*batch read"]
    """Positions whose logits the loss reads."""
    targets: Int[Tensor, "*batch read"]
    """The right answer at each of them."""
    groups: Int[Tensor, "*batch read"]
    """The number of the group that each answer belongs to."""

    def __len__(self) -> int:
        return self.tokens.shape[-2]

    def to(self, device: str) -> "Sequences":
        """The same sequences on another device."""
        return replace(self, **{name: value.to(device) for name, value in _tensors(self)})

    def take(self, index: slice | Int[Tensor, " taken"]) -> "Sequences":
        """Some of the sequences."""
        return replace(self, **{name: value[..., index, :] for name, value in _tensors(self)})


def stack(parts: Sequence[Sequences]) -> Sequences:
    """Sequences of several replicates, as many of each, with a leading axis."""
    return _joined(parts, torch.stack)


def concatenate(parts: Sequence[Sequences]) -> Sequences:
    """Sequences of one replicate, one after the other."""
    return _joined(parts, torch.cat)


def answer_losses(
    logits: Float[Tensor, "*batch classes"], targets: Int[Tensor, " *batch"], dtype: torch.dtype
) -> Float[Tensor, " *batch"]:
    """Cross-entropy of each single answer in nats, log-softmax in ``dtype``."""
    losses = functional.cross_entropy(
        logits.flatten(0, -2).to(dtype), targets.flatten(), reduction="none"
    )
    return losses.view(targets.shape)


def group_means(
    values: Float[Tensor, "R n read"], groups: Int[Tensor, "R n read"], n_groups: int
) -> Float[Tensor, "R group"]:
    """Mean over the answers of each group; NaN where there are none."""
    sums = values.new_zeros(len(values), n_groups)
    counts = torch.zeros_like(sums)
    flat = groups.flatten(1)
    sums.scatter_add_(1, flat, values.flatten(1))
    counts.scatter_add_(1, flat, torch.ones_like(values).flatten(1))
    return sums / counts


def _tensors(sequences: Sequences) -> list[tuple[str, Tensor]]:
    return [(field.name, getattr(sequences, field.name)) for field in fields(sequences)]


def _joined(parts: Sequence[Sequences], join: object) -> Sequences:
    assert callable(join)
    names = [field.name for field in fields(Sequences)]
    return Sequences(**{name: join([getattr(part, name) for part in parts]) for name in names})
