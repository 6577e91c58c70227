"""The exact forward of stacked models that computes only what the read positions need.

The last layer asks and answers at these positions alone, tokens after the last of them are not
looked at by a causal model, and a first layer that reads plain embeddings looks its queries, keys
and values up in small tables; a single layer needs no more than tables.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mechflow.config.sections import Transformer
from mechflow.models import token_tables
from mechflow.models.layers import attention_divisor, carried, head_width
from mechflow.models.stacked_layers import (
    StackedWeights,
    linear,
    mlp_added,
    norm,
    normalises,
    position_table,
    quantised,
    take_rows,
    unembedded,
)


def logits_at(
    weights: StackedWeights,
    cfg: Transformer,
    tokens: Int[Tensor, "R n pos"],
    positions: Int[Tensor, "R n read"],
) -> Float[Tensor, "R n read d_vocab_out"]:
    """Logits at the positions that are read.

    Args:
        weights: stacked state dict of a ``HookedToyTransformer``.
        cfg: the architecture.
        tokens: inputs of each replicate.
        positions: positions to read, which may differ between examples.
    """
    used = quantised(weights, cfg)
    if cfg.causal:
        tokens = tokens[..., : int(positions.max()) + 1]
    mask = _mask_of_reads(positions, tokens.shape[-1], used["embed.W_E"]) if cfg.causal else None
    if token_tables.applies_to(cfg):
        resid = token_tables.attended(used, cfg, tokens, positions, mask)
    else:
        resid = _embedded(used, cfg, tokens).flatten(1, 2)
        for layer in range(cfg.n_layers - 1):
            resid = _Attention(used, cfg, layer, tokens.shape).everywhere(resid, tokens)
            resid = mlp_added(resid, used, cfg, layer)
        resid = _Attention(used, cfg, cfg.n_layers - 1, tokens.shape).at(resid, positions, mask)
    resid = mlp_added(resid, used, cfg, cfg.n_layers - 1)
    return unembedded(resid, used, cfg).unflatten(1, positions.shape[1:])


def _embedded(
    weights: StackedWeights, cfg: Transformer, tokens: Int[Tensor, "R n pos"]
) -> Float[Tensor, "R n pos d_model"]:
    embedded = take_rows(weights["embed.W_E"], tokens)
    fixed = position_table(weights, cfg, tokens.shape[-1])
    return embedded if fixed is None else embedded + fixed[:, None]


class _Attention:
    """One layer's attention over rows [R, n * pos, d_model]."""

    def __init__(
        self,
        weights: StackedWeights,
        cfg: Transformer,
        layer: int,
        shape: tuple[int, ...],
    ) -> None:
        self.weights, self.cfg, self.layer = weights, cfg, layer
        self.prefix = f"blocks.{layer}.attn."
        self.n_replicates, self.n, self.length = shape

    def everywhere(self, resid: Tensor, tokens: Tensor) -> Tensor:
        """The stream after attention, at every position."""
        if self.layer == 0 and not normalises(self.cfg, "attn"):
            q, k, v = (self._of_embeddings(tokens, letter) for letter in "QKV")
        else:
            q, k, v = self._projected(self._normed(resid), "QKV", self.length)
        z = _dot_product_attention(q, k, v, attention_divisor(self.cfg), causal=self.cfg.causal)
        return carried(resid, self.cfg) + self._out(z)

    def at(self, resid: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """The stream after attention at the positions that are read."""
        normed = self._normed(resid)
        examples = torch.arange(self.n, device=positions.device)[:, None] * self.length
        index = (positions + examples).flatten(1)
        k, v = self._projected(normed, "KV", self.length)
        (q,) = self._projected(take_rows(normed, index), "Q", positions.shape[-1])
        if mask is not None:
            mask = mask.flatten(0, 1)[:, None]
        z = _dot_product_attention(q, k, v, attention_divisor(self.cfg), mask=mask)
        return carried(take_rows(resid, index), self.cfg) + self._out(z)

    def _normed(self, resid: Tensor) -> Tensor:
        return norm(resid, self.weights, self.cfg, "attn", f"blocks.{self.layer}.ln1")

    def _projected(
        self, rows: Tensor, letters: str, length: int
    ) -> tuple[Float[Tensor, "R_n head length d_head"], ...]:
        """Queries, keys or values by one product with the maps side by side."""
        maps, biases = zip(*(self._map(letter) for letter in letters), strict=True)
        bias = torch.cat(biases, -1) if "attn" in self.cfg.biases else None
        both = linear(rows, torch.cat(maps, -1), bias)
        shape = (self.n_replicates * self.n, length, len(letters), self.cfg.n_heads, -1)
        # Apart before they are transposed: the gradients then come together by plain copies.
        return tuple(x.transpose(1, 2) for x in both.view(shape).unbind(2))

    def _of_embeddings(
        self, tokens: Int[Tensor, "R n pos"], letter: str
    ) -> Float[Tensor, "R_n head pos d_head"]:
        """Queries, keys or values of plain embeddings: sums of rows of two mapped tables."""
        weight, bias = self._map(letter)
        rows = take_rows(linear(self.weights["embed.W_E"], weight, bias), tokens)
        fixed = position_table(self.weights, self.cfg, self.length)
        if fixed is not None:
            rows = rows + (fixed @ weight)[:, None]
        return rows.view(-1, self.length, self.cfg.n_heads, head_width(self.cfg)).transpose(1, 2)

    def _map(
        self, letter: str
    ) -> tuple[Float[Tensor, "R d_model head_d_head"], Float[Tensor, "R head_d_head"] | None]:
        """All heads' maps to queries, keys or values side by side, and their biases."""
        weight = self.weights[f"{self.prefix}W_{letter}"].transpose(1, 2).flatten(2)
        biased = "attn" in self.cfg.biases
        return weight, self.weights[f"{self.prefix}b_{letter}"].flatten(1) if biased else None

    def _out(self, z: Float[Tensor, "R_n head length d_head"]) -> Tensor:
        bias = self.weights[self.prefix + "b_O"] if "attn" in self.cfg.biases else None
        rows = z.transpose(1, 2).reshape(self.n_replicates, -1, z.shape[1] * z.shape[3])
        return linear(rows, self.weights[self.prefix + "W_O"].flatten(1, 2), bias)


def _dot_product_attention(
    q: Float[Tensor, "batch head query d_head"],
    k: Float[Tensor, "batch head key d_head"],
    v: Float[Tensor, "batch head key d_head"],
    divisor: float,
    *,
    causal: bool = False,
    mask: Float[Tensor, "batch one query key"] | None = None,
) -> Float[Tensor, "batch head query d_head"]:
    """Attention by the fused kernel on the CPU; elsewhere its backward may add in any order."""
    if q.device.type == "cpu":
        return functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal, scale=1.0 / divisor
        )
    scores = q @ k.transpose(-1, -2) / divisor
    if causal:
        mask = _causal_mask(q.shape[-2], q.dtype, q.device)
    return (scores if mask is None else scores + mask).softmax(-1) @ v


def _mask_of_reads(
    positions: Int[Tensor, "R n read"], length: int, like: Tensor
) -> Float[Tensor, "R n read pos"]:
    return functional.embedding(positions, _causal_mask(length, like.dtype, like.device))


@lru_cache(maxsize=64)
def _causal_mask(
    length: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "length length"]:
    """Minus infinity above the diagonal, zero elsewhere; shared, so never to be written to."""
    return torch.full((length, length), -math.inf, dtype=dtype, device=device).triu(1)
