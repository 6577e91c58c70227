"""Samples that are spread over a sequence and draw no random numbers."""

import torch
from jaxtyping import Int
from torch import Tensor


def evenly_spaced(n: int, most: int | None) -> Int[Tensor, " m"]:
    """At most so many of n indices, evenly spaced, the first and the last among them."""
    if most is None or n <= most:
        return torch.arange(n)
    return torch.linspace(0, n - 1, most, dtype=torch.float64).round().long()
