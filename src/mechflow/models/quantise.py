"""Binary and ternary weights with straight-through gradients.

The variants are those of the binarised-transformer notebook and its BitLinear layer, after Wang
et al. 2023 ("BitNet"); without the activation quantisation and inner LayerNorm of that paper.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

Precision = Literal["full", "binary", "ternary"]

_SMALLEST_SCALE = 1e-5


def quantise(
    weight: Float[Tensor, "*shape"], precision: Precision, *, scale: bool, stacked: bool = False
) -> Float[Tensor, "*shape"]:
    """The weights that a forward pass multiplies with.

    With W' = W - mean(W) over the whole matrix (all heads together):

    - full: W
    - binary: sign(W'), times mean|W| if ``scale``
    - ternary: clamp(round(W' / mean|W'|), -1, 1), times mean|W'| if ``scale``

    The gradient passes through sign, round and clamp as if they were the identity, and the scale
    is a constant to it; only the subtraction of the mean is differentiated.

    Args:
        weight: latent weights; every axis belongs to one matrix, but see ``stacked``.
        precision: which of the three.
        scale: whether quantised values carry the mean magnitude of the latent ones.
        stacked: the first axis counts replicates, each quantised on its own.
    """
    if precision == "full":
        return weight
    axes = tuple(range(1 if stacked else 0, weight.dim()))
    centred = weight - weight.mean(axes, keepdim=True)
    latent = centred.detach()
    if precision == "binary":
        magnitude = weight.detach().abs().mean(axes, keepdim=True)
        values = latent.sign()
    else:
        magnitude = latent.abs().mean(axes, keepdim=True).clamp(min=_SMALLEST_SCALE)
        values = (latent / magnitude).round().clamp(-1.0, 1.0)
    if scale:
        values = values * magnitude
    # centred - latent is exactly zero, so the value stays exact and the gradient is the identity.
    return values + (centred - latent)


def levels(
    weight: Float[Tensor, "*shape"], precision: Precision, *, stacked: bool = False
) -> Float[Tensor, "*shape"]:
    """The level of each weight, -1, 0 or 1, without scale; the sign for full precision.

    A bit flips when the level of a weight changes between two steps.
    """
    if precision == "full":
        return weight.detach().sign()
    return quantise(weight.detach(), precision, scale=False, stacked=stacked)
