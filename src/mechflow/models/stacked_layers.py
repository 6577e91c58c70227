"""Layers of R models as batched computations, which the fast forwards are put together from.

Weights have a leading replicate axis, and so has the residual stream: [R, row, d_model], where a
row is a position of an example.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mechflow.config.sections import Transformer
from mechflow.models.layers import ACTIVATIONS, normalised, sinusoidal_positions
from mechflow.models.quantise import quantise

StackedWeights = dict[str, Tensor]
"""State dict of the hooked model in which each tensor has a leading replicate axis."""


def quantised(weights: StackedWeights, cfg: Transformer) -> StackedWeights:
    """The weights that a forward pass multiplies with."""
    return {
        name: quantise(w, cfg.precision, scale=cfg.weight_scale, stacked=True)
        if name.startswith("blocks.") and ".W_" in name
        else w
        for name, w in weights.items()
    }


def position_table(
    weights: StackedWeights, cfg: Transformer, length: int
) -> Float[Tensor, "R length d_model"] | None:
    """Embeddings of the first positions, learned or fixed; None without positions."""
    tokens = weights["embed.W_E"]
    match cfg.positions:
        case "none":
            return None
        case "learned":
            return weights["pos_embed.W_pos"][:, :length]
        case "sinusoidal":
            fixed = sinusoidal_positions(length, cfg.d_model).to(tokens)
            return fixed.expand(len(tokens), length, cfg.d_model)


def take_rows(
    table: Float[Tensor, "R rows d"], index: Int[Tensor, "R *n"]
) -> Float[Tensor, "R *n d"]:
    """Rows of each replicate's table; its backward adds into the table deterministically."""
    n_replicates, n_rows, _ = table.shape
    start = torch.arange(n_replicates, device=index.device) * n_rows
    shape = (-1, *[1] * (index.dim() - 1))
    return functional.embedding(index + start.view(shape), table.flatten(0, 1))


def norm(
    resid: Float[Tensor, "R row d_model"],
    weights: StackedWeights,
    cfg: Transformer,
    site: str,
    prefix: str,
) -> Float[Tensor, "R row d_model"]:
    """Normalised rows where the architecture normalises at this site."""
    if not normalises(cfg, site):
        return resid
    gained = weights[f"{prefix}.w"][:, None] * normalised(resid, cfg.normalization)
    return gained + weights[f"{prefix}.b"][:, None] if cfg.normalization == "LN" else gained


def normalises(cfg: Transformer, site: str) -> bool:
    """Whether the architecture normalises at this site."""
    return cfg.normalization != "none" and site in cfg.normalization_sites


def mlp_added(
    resid: Float[Tensor, "R row d_model"], weights: StackedWeights, cfg: Transformer, layer: int
) -> Float[Tensor, "R row d_model"]:
    """The stream after the MLP of a layer, which may have none."""
    if not cfg.d_mlp:
        return resid
    prefix = f"blocks.{layer}."
    biased = "mlp" in cfg.biases
    pre = linear(
        norm(resid, weights, cfg, "mlp", prefix + "ln2"),
        weights[prefix + "mlp.W_in"],
        weights[prefix + "mlp.b_in"] if biased else None,
    )
    return resid + linear(
        ACTIVATIONS[cfg.activation](pre),
        weights[prefix + "mlp.W_out"],
        weights[prefix + "mlp.b_out"] if biased else None,
    )


def unembedded(
    resid: Float[Tensor, "R row d_model"], weights: StackedWeights, cfg: Transformer
) -> Float[Tensor, "R row d_vocab_out"]:
    """Logits of each row."""
    return linear(
        norm(resid, weights, cfg, "final", "ln_final"),
        weights["unembed.W_U"],
        weights["unembed.b_U"] if "unembed" in cfg.biases else None,
    )


def linear(
    rows: Float[Tensor, "R row d_in"],
    weight: Float[Tensor, "R d_in d_out"],
    bias: Float[Tensor, "R d_out"] | None = None,
) -> Float[Tensor, "R row d_out"]:
    """Each replicate's rows times its own matrix."""
    return rows @ weight if bias is None else torch.baddbmm(bias[:, None], rows, weight)
