"""How large the weights of a network are."""

from collections.abc import Mapping

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor


def squared_weights(weights: Mapping[str, Float[Tensor, "R ..."]]) -> Float[Tensor, " R"]:
    """Sum of squares of all parameters of each replicate, in float64.

    Raises:
        ValueError: there are no parameters.
    """
    if not weights:
        raise ValueError("no parameters to sum the squares of")
    squares = [reduce(w.double().square(), "r ... -> r", "sum") for w in weights.values()]
    return torch.stack(squares).sum(dim=0)
