"""One model on fixed sequences with heads or MLPs taken out, computed from where it matters.

The untouched run is kept. A run without some parts starts at the first layer that it changes, with
that layer's attention already known; the last layer is computed only where the loss reads. This
is the forward pass of the hooked module in another order of sums, for causal attention.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mechflow.models.layers import attention_divisor, carried
from mechflow.models.quantise import quantise
from mechflow.models.transformer import Attention, HookedToyTransformer, TransformerBlock
from mechflow.studies.phase_changes.head_names import Head
from mechflow.training.sequences import Sequences

Ablation = Literal["zero", "mean"]


@dataclass(frozen=True)
class Parts:
    """What is taken out of a model."""

    heads: tuple[Head, ...] = ()
    mlps: tuple[int, ...] = ()
    """Layers whose MLP goes."""

    def heads_of(self, layer: int) -> list[int]:
        """Heads of one layer by their number."""
        return [head.number for head in self.heads if head.layer == layer]


@dataclass(frozen=True)
class _Untouched:
    """One layer of the untouched run."""

    resid_pre: Float[Tensor, "n pos d_model"]
    z: Float[Tensor, "n pos head d_head"]
    z_instead: Float[Tensor, "pos head d_head"]
    """What takes the place of z: zero or its mean over the sequences, and so below."""
    mlp_instead: Float[Tensor, "pos d_model"]


class Subject:
    """One model on its sequences, run with parts taken out.

    Args:
        model: the model; its attention must be causal.
        sequences: with a single batch axis.
        ablation: what takes the place of a head's weighted values (``hook_z``) or of an MLP's
            output (``hook_mlp_out``): zero, or the mean over the sequences at each position.
    """

    @torch.no_grad()
    def __init__(
        self, model: HookedToyTransformer, sequences: Sequences, ablation: Ablation
    ) -> None:
        self._model = model
        self._read = read = sequences.positions
        self._seen = torch.arange(sequences.tokens.shape[-1], device=read.device) <= read[..., None]
        self._ablation = ablation
        resid = model.embed(sequences.tokens)
        if model.has_positions:
            resid = resid + model.pos_embed(sequences.tokens)
        self._layers: list[_Untouched] = []
        for layer in range(model.cfg.n_layers):
            resid = self._record(layer, resid)

    @torch.no_grad()
    def logits(self, parts: Parts) -> Float[Tensor, "n read d_vocab_out"]:
        """Logits at the reads without these parts."""
        last = self._model.cfg.n_layers - 1
        first = min([last, *parts.mlps, *(head.layer for head in parts.heads)])
        resid = self._layers[first].resid_pre
        for layer in range(first, last):
            z = self._layers[layer].z if layer == first else self._attention(layer, resid)
            resid = self._rest(layer, resid, z, parts)
        read = self._read
        z = _at(self._layers[last].z, read) if first == last else self._read_attention(last, resid)
        resid = self._rest(last, _at(resid, read), z, parts, read)
        logits: Tensor = self._model.unembed(self._model.ln_final(resid))
        return logits

    def _record(
        self, layer: int, resid: Float[Tensor, "n pos d_model"]
    ) -> Float[Tensor, "n pos d_model"]:
        """Keeps a layer of the untouched run and returns what comes after it."""
        block = self._block(layer)
        z = self._attention(layer, resid)
        mid = carried(resid, block.cfg) + _attention_out(block.attn, z)
        mlp_out = block.mlp(block.ln2(mid)) if block.has_mlp else torch.zeros_like(mid)
        kept = _Untouched(resid, z, self._instead(z), self._instead(mlp_out))
        self._layers.append(kept)
        return mid + mlp_out

    def _rest(
        self,
        layer: int,
        resid: Float[Tensor, "n query d_model"],
        z: Float[Tensor, "n query head d_head"],
        parts: Parts,
        read: Int[Tensor, "n query"] | None = None,
    ) -> Float[Tensor, "n query d_model"]:
        """What comes after a layer without these parts, at all positions or where it is read."""
        block, instead = self._block(layer), self._layers[layer]
        positions = slice(None) if read is None else read
        if heads := parts.heads_of(layer):
            z = z.clone()
            for head in heads:
                z[..., head, :] = instead.z_instead[positions, head]
        mid = carried(resid, block.cfg) + _attention_out(block.attn, z)
        if layer in parts.mlps:
            return mid + instead.mlp_instead[positions]
        return mid + block.mlp(block.ln2(mid)) if block.has_mlp else mid

    def _attention(
        self, layer: int, resid: Float[Tensor, "n pos d_model"]
    ) -> Float[Tensor, "n pos head d_head"]:
        """A layer's z at all positions."""
        block = self._block(layer)
        return _weighted_values(block, *_projected(block.attn, block.ln1(resid), "QKV"))

    def _read_attention(
        self, layer: int, resid: Float[Tensor, "n pos d_model"]
    ) -> Float[Tensor, "n read head d_head"]:
        """A layer's z where it is read."""
        block = self._block(layer)
        normed = block.ln1(resid)
        (q,) = _projected(block.attn, _at(normed, self._read), "Q")
        k, v = _projected(block.attn, normed, "KV")
        return _weighted_values(block, q, k, v, self._seen[:, None])

    def _instead(self, values: Float[Tensor, "n pos ..."]) -> Float[Tensor, "pos ..."]:
        return torch.zeros_like(values[0]) if self._ablation == "zero" else values.mean(dim=0)

    def _block(self, layer: int) -> TransformerBlock:
        block = self._model.blocks[layer]
        assert isinstance(block, TransformerBlock)
        return block


def _weighted_values(
    block: TransformerBlock, q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None
) -> Float[Tensor, "n query head d_head"]:
    """Values weighted by attention, to all earlier keys or to those that are seen."""
    z = functional.scaled_dot_product_attention(
        q, k, v, attn_mask=seen, is_causal=seen is None, scale=1 / attention_divisor(block.cfg)
    )
    return z.transpose(1, 2)


def _projected(
    attn: Attention, resid: Float[Tensor, "n pos d_model"], letters: str
) -> tuple[Float[Tensor, "n head pos d_head"], ...]:
    """Queries, keys or values, by one product with the maps side by side."""
    maps = torch.cat([_weight(attn, f"W_{letter}") for letter in letters])
    projected = (resid @ rearrange(maps, "h d e -> d (h e)")).unflatten(-1, (len(maps), -1))
    if "attn" in attn.cfg.biases:
        projected = projected + torch.cat([getattr(attn, f"b_{letter}") for letter in letters])
    return projected.transpose(1, 2).chunk(len(letters), dim=1)


def _attention_out(
    attn: Attention, z: Float[Tensor, "n pos head d_head"]
) -> Float[Tensor, "n pos d_model"]:
    out = z.flatten(2) @ _weight(attn, "W_O").flatten(0, 1)
    return out + attn.b_O if "attn" in attn.cfg.biases else out


def _weight(attn: Attention, name: str) -> Float[Tensor, "head m n"]:
    """A map as the module's own forward uses it."""
    return quantise(getattr(attn, name), attn.cfg.precision, scale=attn.cfg.weight_scale)


def _at(values: Float[Tensor, "n pos ..."], read: Int[Tensor, "n query"]) -> Tensor:
    """Values at the positions that are read."""
    return values[torch.arange(len(values), device=read.device)[:, None], read]
