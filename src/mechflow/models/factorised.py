"""The exact forward of a one-layer model whose last token never changes, from small tables.

At the last position the query is one vector, and keys and values depend on one (token, position)
pair each. So scores and values are computed once for every pair that occurs, 2p + 1 rows for
modular addition, and the examples only gather rows; the MLP and the unembedding run at the last
position alone. Every matrix has a leading replicate axis: R models are one batched computation.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechflow.config.sections import Transformer
from mechflow.models.layers import attention_divisor, carried
from mechflow.models.stacked_layers import (
    StackedWeights,
    mlp_added,
    norm,
    position_table,
    quantised,
    take_rows,
    unembedded,
)

__all__ = ["StackedWeights", "applies_to", "last_logits"]


def applies_to(cfg: Transformer) -> bool:
    """Whether the fast forward is exact for this architecture: one layer suffices."""
    return cfg.n_layers == 1


def last_logits(
    weights: StackedWeights, cfg: Transformer, tokens: Int[Tensor, "R n pos"]
) -> Float[Tensor, "R n d_vocab_out"]:
    """Logits at the last position.

    Args:
        weights: stacked state dict of a one-layer ``HookedToyTransformer``.
        cfg: the architecture.
        tokens: inputs of each replicate; the last token must be the same everywhere.
    """
    used = quantised(weights, cfg)
    rows, gather = _table_rows(tokens, cfg, n_vocab=weights["embed.W_E"].shape[1])
    table = _residual_table(weights, cfg, rows)
    resid = carried(table[:, -1:], cfg) + _attention_out(used, cfg, table, gather)
    return unembedded(mlp_added(resid, used, cfg, 0), used, cfg)


def _table_rows(
    tokens: Int[Tensor, "R n pos"], cfg: Transformer, n_vocab: int
) -> tuple[tuple[Tensor, Tensor], Int[Tensor, "R n pos"]]:
    """(token, position) of each table row, and the row that each input position gathers.

    The last row belongs to the last position. Without positions one row a token is enough.
    """
    n_pos = tokens.shape[-1]
    device = tokens.device
    spans = 1 if cfg.positions == "none" else n_pos - 1
    token = torch.arange(n_vocab, device=device).repeat(spans)
    position = torch.arange(spans, device=device).repeat_interleave(n_vocab)
    last = tokens.reshape(-1)[-1:]
    token = torch.cat([token, last])
    position = torch.cat([position, torch.tensor([n_pos - 1], device=device)])
    offset = torch.arange(n_pos, device=device) * (n_vocab if spans > 1 else 0)
    gather = tokens + offset
    gather[..., -1] = len(token) - 1
    return (token, position), gather


def _residual_table(
    weights: StackedWeights, cfg: Transformer, rows: tuple[Tensor, Tensor]
) -> Float[Tensor, "R rows d_model"]:
    token, position = rows
    table = weights["embed.W_E"][:, token]
    fixed = position_table(weights, cfg, int(position.max()) + 1)
    return table if fixed is None else table + fixed[:, position]


def _attention_out(
    weights: StackedWeights,
    cfg: Transformer,
    table: Float[Tensor, "R rows d_model"],
    gather: Int[Tensor, "R n pos"],
) -> Float[Tensor, "R n d_model"]:
    biased = "attn" in cfg.biases
    prefix = "blocks.0.attn."
    normed = norm(table, weights, cfg, "attn", "blocks.0.ln1")
    query = torch.einsum("rd,rhde->rhe", normed[:, -1], weights[prefix + "W_Q"])
    keys = torch.einsum("rtd,rhde->rthe", normed, weights[prefix + "W_K"])
    values = torch.einsum("rtd,rhde->rthe", normed, weights[prefix + "W_V"])
    if biased:
        query = query + weights[prefix + "b_Q"]
        keys = keys + weights[prefix + "b_K"][:, None]
        values = values + weights[prefix + "b_V"][:, None]
    scores = torch.einsum("rhe,rthe->rth", query, keys) / attention_divisor(cfg)
    earlier = gather[..., :-1].unbind(-1)
    seen = [take_rows(scores, rows) for rows in earlier]
    pattern = torch.stack([*seen, scores[:, -1:].expand_as(seen[0])]).unsqueeze(-1).softmax(0)
    flat = values.flatten(2)
    z = pattern[-1] * values[:, -1:]
    for weight, rows in zip(pattern, earlier, strict=False):
        z = torch.addcmul(z, weight, take_rows(flat, rows).unflatten(-1, values.shape[2:]))
    out = z.flatten(2) @ weights[prefix + "W_O"].flatten(1, 2)
    return out + weights[prefix + "b_O"][:, None] if biased else out
