"""Attention of a first layer from tables with one row for each token and each position.

Without normalisation before it, what attention reads is W_E[token] + W_pos[position]. Queries, keys
and values are then sums of two rows of small tables, and scores are sums of four entries of one
product of tables; no map is applied to every position of every example.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mechflow.config.sections import Transformer
from mechflow.models.layers import attention_divisor, carried, head_width
from mechflow.models.stacked_layers import (
    StackedWeights,
    linear,
    normalises,
    position_table,
    take_rows,
)


def applies_to(cfg: Transformer) -> bool:
    """Whether the only attention layer reads plain sums of embeddings."""
    return cfg.n_layers == 1 and not normalises(cfg, "attn")


def attended(
    weights: StackedWeights,
    cfg: Transformer,
    tokens: Int[Tensor, "R n pos"],
    positions: Int[Tensor, "R n read"],
    mask: Float[Tensor, "R n read pos"] | None,
) -> Float[Tensor, "R n_read d_model"]:
    """The stream after attention at the positions that are read.

    Args:
        weights: stacked weights as the forward multiplies with them.
        cfg: an architecture that :func:`applies_to` accepts.
        tokens: inputs.
        positions: positions that are read.
        mask: what is added to the scores, if anything.
    """
    table, n_vocab = _table(weights, cfg, tokens.shape[-1])
    queries, keys, values = (_projected(weights, cfg, table, n_vocab, x) for x in "QKV")
    read = _Rows(tokens.gather(2, positions), positions, n_vocab)
    scores = queries / attention_divisor(cfg) @ keys.transpose(-1, -2)
    by_query = read.of(scores.transpose(1, 2).flatten(2)).unflatten(-1, (cfg.n_heads, -1))
    one_hot = functional.embedding(tokens, torch.eye(n_vocab).to(table)).flatten(0, 1)
    weight = _row_weights(by_query, one_hot, n_vocab, mask)
    out = _moved(weights, cfg, weight.flatten(1, 2), values)
    return carried(read.of(table).flatten(1, 2), cfg) + out


class _Rows:
    """Which two rows of a table each read adds up."""

    def __init__(self, tokens: Tensor, positions: Tensor, n_vocab: int) -> None:
        self.tokens, self.positions, self.n_vocab = tokens, positions, n_vocab

    def of(self, table: Float[Tensor, "R rows d"]) -> Float[Tensor, "R n read d"]:
        rows = take_rows(table[:, : self.n_vocab], self.tokens)
        if table.shape[1] == self.n_vocab:
            return rows
        return rows + take_rows(table[:, self.n_vocab :], self.positions)


def _table(
    weights: StackedWeights, cfg: Transformer, length: int
) -> tuple[Float[Tensor, "R rows d_model"], int]:
    """Token embeddings and below them those of positions; and the number of the former."""
    tokens = weights["embed.W_E"]
    positions = position_table(weights, cfg, length)
    table = tokens if positions is None else torch.cat([tokens, positions], 1)
    return table, tokens.shape[1]


def _projected(
    weights: StackedWeights, cfg: Transformer, table: Tensor, n_vocab: int, letter: str
) -> Float[Tensor, "R head rows d_head"]:
    """The table through one map; the bias goes to tokens, of which each place has exactly one."""
    rows = table[:, None] @ weights[f"blocks.0.attn.W_{letter}"]
    if "attn" not in cfg.biases:
        return rows
    bias = weights[f"blocks.0.attn.b_{letter}"][:, :, None]
    return torch.cat([rows[:, :, :n_vocab] + bias, rows[:, :, n_vocab:]], 2)


def _row_weights(
    scores: Float[Tensor, "R n read head rows"],
    one_hot: Float[Tensor, "R_n pos n_vocab"],
    n_vocab: int,
    mask: Float[Tensor, "R n read pos"] | None,
) -> Float[Tensor, "R n read head rows"]:
    """How much of each table row every read takes in, from its scores against the rows.

    Products with one-hot rows gather and add up in a fixed order on every device.
    """
    n_replicates, n, reads, heads, _ = scores.shape
    flat = scores.reshape(n_replicates * n, reads * heads, -1)
    at_keys = flat[..., :n_vocab] @ one_hot.transpose(1, 2)
    if flat.shape[-1] > n_vocab:
        at_keys = at_keys + flat[..., n_vocab:]
    if mask is not None:
        at_keys = (at_keys.view(n_replicates, n, reads, heads, -1) + mask[:, :, :, None]).view(
            at_keys.shape
        )
    pattern = at_keys.softmax(-1)
    of_tokens = pattern @ one_hot
    both = of_tokens if flat.shape[-1] == n_vocab else torch.cat([of_tokens, pattern], -1)
    return both.view(scores.shape)


def _moved(
    weights: StackedWeights,
    cfg: Transformer,
    weight: Float[Tensor, "R n_read head rows"],
    values: Float[Tensor, "R head rows d_head"],
) -> Float[Tensor, "R n_read d_model"]:
    """What the heads write, by the shorter way: rows through W_O, or the mixed values."""
    W_O = weights["blocks.0.attn.W_O"]
    bias = weights["blocks.0.attn.b_O"] if "attn" in cfg.biases else None
    if values.shape[2] < head_width(cfg):
        return linear(weight.flatten(2), (values @ W_O).flatten(1, 2), bias)
    mixed = (weight.transpose(1, 2) @ values).transpose(1, 2).flatten(2)
    return linear(mixed, W_O.flatten(1, 2), bias)
