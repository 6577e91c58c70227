"""Transformations of weights and activations that ask whether a frequency matters causally.

Each removes something from, or keeps only something of, a tensor that is then put back into the
forward pass. What `keep` and `remove` give for the same frequencies adds up to the whole, with
the constant in both.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechflow.fourier import (
    Definition,
    component_mask,
    direction_spectra,
    inverse_1d,
    transform_1d,
)


def project_frequencies(
    values: Float[Tensor, "*batch pairs d"],
    p: int,
    mask: Bool[Tensor, "*#batch n_freq"],
    *,
    keep: bool,
    definition: Definition = "all_products_of_frequency",
    sign: int = 1,
) -> Float[Tensor, "*batch pairs d"]:
    """Keep only, or remove, the masked frequencies of a site read as functions of (a, b).

    Of the p^2 products (wave of a) x (wave of b), `all_products_of_frequency` gives to frequency k
    those in which k is the only frequency other than 0: k x k, k x constant and constant x k,
    eight components. The other definitions give it a part of these; see `direction_spectra`.
    A product of two different frequencies belongs to neither, even if both are masked: `keep`
    drops it and removal leaves it. The constant always stays.

    Args:
        values: activations of all p^2 pairs.
        p: the modulus.
        mask: frequencies 1 .. p // 2 to keep or to remove.
        keep: whether the masked frequencies are all that stays, or what goes.
        definition: which components belong to a frequency.
        sign: -1 when the task subtracts; only `sum_directions` depends on it.
    """
    part = direction_spectra(values, p, definition, sign).combine(mask)
    return part + values.mean(dim=-2, keepdim=True) if keep else values - part


def project_embedding(
    W_E: Float[Tensor, "*batch p d_model"],
    mask: Bool[Tensor, "*#batch n_freq"],
    *,
    keep: bool,
) -> Float[Tensor, "*batch p d_model"]:
    """Keep only, or remove, the masked frequencies of the embeddings of the p residues.

    The constant always stays. The row of "=" is no residue and must not be among the rows.
    """
    rows = component_mask(mask, W_E.shape[-2]).unsqueeze(-1)
    part = inverse_1d(transform_1d(W_E) * rows)
    return part + W_E.mean(dim=-2, keepdim=True) if keep else W_E - part


def ablate_neurons(
    mlp_post: Float[Tensor, "*batch pairs d_mlp"],
    neurons: Bool[Tensor, "*#batch d_mlp"],
    mode: Literal["mean", "zero"] = "mean",
) -> Float[Tensor, "*batch pairs d_mlp"]:
    """Set the masked neurons to their mean over all pairs, or to zero."""
    mean = mlp_post.mean(dim=-2, keepdim=True)
    replacement = mean if mode == "mean" else torch.zeros_like(mean)
    return torch.where(neurons.unsqueeze(-2), replacement, mlp_post)
