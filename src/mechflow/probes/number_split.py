"""Which numbers a probe is trained, chosen and tested on."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class NumberSplit:
    """A partition of the numbers; a prompt belongs to the split of its label."""

    train: Bool[Tensor, " numbers"]
    valid: Bool[Tensor, " numbers"]
    test: Bool[Tensor, " numbers"]

    def __post_init__(self) -> None:
        """Check that it is a partition.

        Raises:
            ValueError: if a number is in no split or in two, or there is no train number.
        """
        member_of = torch.stack(list(self.masks().values())).sum(dim=0)
        if not (member_of == 1).all():
            raise ValueError("every number belongs to exactly one of train, valid and test")
        if not self.train.any():
            raise ValueError("there is no train number")

    def masks(self) -> dict[str, Bool[Tensor, " numbers"]]:
        """The splits by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    def rows(self, name: str, labels: Int[Tensor, " rows"]) -> Int[Tensor, " some"]:
        """Prompts of a split, in order."""
        return self.masks()[name][labels].nonzero()[:, 0]
