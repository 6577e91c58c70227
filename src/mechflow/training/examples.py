"""The examples of a split, as training and evaluation read them."""

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Examples:
    """One split of every replicate: inputs and labels at the last position."""

    tokens: Int[Tensor, "R n pos"]
    labels: Int[Tensor, "R n"]

    def to(self, device: str) -> "Examples":
        """The same examples on another device."""
        return Examples(self.tokens.to(device), self.labels.to(device))
