"""The exact forward of a one-layer model whose last token never changes, from small tables.

At the last position the query is one vector, and keys and values depend on one (token, position)
pair each. So scores and values are computed once for every pair that occurs, 2p + 1 rows for
modular addition, and the examples only gather rows; the MLP and the unembedding run at the last
position alone. Every matrix has a leading replicate axis: R models are one batched computation.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mechflow.config.sections import Transformer
from mechflow.models.layers import (
    ACTIVATIONS,
    attention_divisor,
    carried,
    normalised,
    sinusoidal_positions,
)
from mechflow.models.quantise import quantise

StackedWeights = dict[str, Tensor]
"""State dict of the hooked model in which each tensor has a leading replicate axis."""


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
    used = _quantised(weights, cfg)
    rows, gather = _table_rows(tokens, cfg, n_vocab=weights["embed.W_E"].shape[1])
    table = _residual_table(weights, cfg, rows)
    resid = carried(table[:, -1:], cfg) + _attention_out(used, cfg, table, gather)
    if cfg.d_mlp:
        resid = resid + _mlp_out(used, cfg, _norm(resid, used, cfg, "mlp", "blocks.0.ln2"))
    resid = _norm(resid, used, cfg, "final", "ln_final")
    logits = resid @ used["unembed.W_U"]
    return logits + used["unembed.b_U"][:, None] if "unembed" in cfg.biases else logits


def _quantised(weights: StackedWeights, cfg: Transformer) -> StackedWeights:
    return {
        name: quantise(w, cfg.precision, scale=cfg.weight_scale, stacked=True)
        if name.startswith("blocks.") and ".W_" in name
        else w
        for name, w in weights.items()
    }


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
    if cfg.positions == "learned":
        table = table + weights["pos_embed.W_pos"][:, position]
    elif cfg.positions == "sinusoidal":
        fixed = sinusoidal_positions(int(position.max()) + 1, cfg.d_model)
        table = table + fixed.to(table.device)[position]
    return table


def _attention_out(
    weights: StackedWeights,
    cfg: Transformer,
    table: Float[Tensor, "R rows d_model"],
    gather: Int[Tensor, "R n pos"],
) -> Float[Tensor, "R n d_model"]:
    biased = "attn" in cfg.biases
    prefix = "blocks.0.attn."
    normed = _norm(table, weights, cfg, "attn", "blocks.0.ln1")
    query = torch.einsum("rd,rhde->rhe", normed[:, -1], weights[prefix + "W_Q"])
    keys = torch.einsum("rtd,rhde->rthe", normed, weights[prefix + "W_K"])
    values = torch.einsum("rtd,rhde->rthe", normed, weights[prefix + "W_V"])
    if biased:
        query = query + weights[prefix + "b_Q"]
        keys = keys + weights[prefix + "b_K"][:, None]
        values = values + weights[prefix + "b_V"][:, None]
    scores = torch.einsum("rhe,rthe->rth", query, keys) / attention_divisor(cfg)
    earlier = gather[..., :-1].unbind(-1)
    seen = [_rows(scores, rows) for rows in earlier]
    pattern = torch.stack([*seen, scores[:, -1:].expand_as(seen[0])]).unsqueeze(-1).softmax(0)
    flat = values.flatten(2)
    z = pattern[-1] * values[:, -1:]
    for weight, rows in zip(pattern, earlier, strict=False):
        z = torch.addcmul(z, weight, _rows(flat, rows).unflatten(-1, values.shape[2:]))
    out = z.flatten(2) @ weights[prefix + "W_O"].flatten(1, 2)
    return out + weights[prefix + "b_O"][:, None] if biased else out


def _mlp_out(
    weights: StackedWeights, cfg: Transformer, resid: Float[Tensor, "R n d_model"]
) -> Float[Tensor, "R n d_model"]:
    prefix = "blocks.0.mlp."
    pre = resid @ weights[prefix + "W_in"]
    if "mlp" in cfg.biases:
        pre = pre + weights[prefix + "b_in"][:, None]
    out = ACTIVATIONS[cfg.activation](pre) @ weights[prefix + "W_out"]
    return out + weights[prefix + "b_out"][:, None] if "mlp" in cfg.biases else out


def _norm(
    resid: Float[Tensor, "R n d_model"],
    weights: StackedWeights,
    cfg: Transformer,
    site: str,
    prefix: str,
) -> Float[Tensor, "R n d_model"]:
    if cfg.normalization == "none" or site not in cfg.normalization_sites:
        return resid
    gained = weights[f"{prefix}.w"][:, None] * normalised(resid, cfg.normalization)
    return gained + weights[f"{prefix}.b"][:, None] if cfg.normalization == "LN" else gained


def _rows(table: Float[Tensor, "R rows d"], index: Int[Tensor, "R n"]) -> Float[Tensor, "R n d"]:
    """Rows of each replicate's table; its backward adds into the table deterministically."""
    n_replicates, n_rows, _ = table.shape
    offset = torch.arange(n_replicates, device=index.device)[:, None] * n_rows
    return functional.embedding(index + offset, table.flatten(0, 1))
