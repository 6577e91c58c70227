"""What the plain and the fast forward share: nonlinearities, normalisation, positions, scale."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformer_lens.hook_points import HookPoint

from mechflow.config.sections import Transformer

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
}

QUANTISED = ("W_Q", "W_K", "W_V", "W_O", "W_in", "W_out")
"""Weights that precision binary or ternary quantises; embeddings and W_U stay full."""

_EPSILON = 1e-5


class Normalization(nn.Module):
    """LayerNorm or RMSNorm with learned gain at one site, or nothing."""

    def __init__(self, cfg: Transformer, site: Literal["attn", "mlp", "final"]) -> None:
        super().__init__()
        self.kind = cfg.normalization if site in cfg.normalization_sites else "none"
        if self.kind != "none":
            self.w = nn.Parameter(torch.ones(cfg.d_model))
            self.hook_normalized = HookPoint()
        if self.kind == "LN":
            self.b = nn.Parameter(torch.zeros(cfg.d_model))

    def forward(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        if self.kind == "none":
            return resid
        gained = self.w * normalised(resid, self.kind)
        return self.hook_normalized(gained + self.b if self.kind == "LN" else gained)


def normalised(
    resid: Float[Tensor, "*batch d_model"], kind: str
) -> Float[Tensor, "*batch d_model"]:
    """Residual stream of unit root mean square, centred first for LayerNorm."""
    if kind == "LN":
        resid = resid - resid.mean(-1, keepdim=True)
    return resid * (resid.square().mean(-1, keepdim=True) + _EPSILON).rsqrt()


def sinusoidal_positions(n_ctx: int, d_model: int) -> Float[Tensor, "n_ctx d_model"]:
    """Fixed positional embedding of Vaswani et al. 2017, section 3.5 (base 10 000)."""
    position = torch.arange(n_ctx, dtype=torch.float64)[:, None]
    column = torch.arange(0, d_model, 2, dtype=torch.float64)
    angle = position * torch.exp(-math.log(10_000.0) * column / d_model)
    table = torch.zeros(n_ctx, d_model, dtype=torch.float64)
    table[:, 0::2] = angle.sin()
    table[:, 1::2] = angle.cos()[:, : d_model // 2]
    return table.to(torch.float32)


def head_width(cfg: Transformer) -> int:
    """Width of the queries, keys and values of one head."""
    return cfg.d_model // cfg.n_heads if cfg.d_head is None else cfg.d_head


def attention_divisor(cfg: Transformer) -> float:
    """What attention scores are divided by."""
    return math.sqrt(cfg.d_model if cfg.attention_scale == "sqrt_d_model" else head_width(cfg))


def carried(
    resid: Float[Tensor, "*batch d_model"], cfg: Transformer
) -> Float[Tensor, "*batch d_model"]:
    """What a block adds its outputs to: the stream that enters it, times the gain."""
    return resid if cfg.residual_gain == 1.0 else cfg.residual_gain * resid
