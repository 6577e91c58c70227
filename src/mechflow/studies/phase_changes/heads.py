"""Attention heads of a model: their circuits, and what they do on sequences."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from mechflow.circuits import Factors, ov_circuit, qk_circuit
from mechflow.config.sections import Transformer
from mechflow.models.factorised import StackedWeights
from mechflow.models.quantise import quantise
from mechflow.models.transformer import HookedToyTransformer
from mechflow.training.sequences import Sequences


class Observation(NamedTuple):
    """What one forward pass shows."""

    logits: Float[Tensor, "n read d_vocab_out"]
    """Logits where the loss reads."""
    patterns: list[Float[Tensor, "n head query key"]]
    """Attention of each layer; part of the graph of the logits if gradients are recorded."""


def observe(model: HookedToyTransformer, sequences: Sequences) -> Observation:
    """Logits and attention of one model on its sequences, which have a single batch axis."""
    patterns: list[Tensor] = []

    def keep(value: Tensor, hook: object) -> None:
        patterns.append(value)

    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.cfg.n_layers)]
    logits: Tensor = model.run_with_hooks(
        sequences.tokens, fwd_hooks=[(name, keep) for name in names]
    )
    return Observation(logits.take_along_dim(sequences.positions[..., None], dim=1), patterns)


def ov_circuits(weights: StackedWeights, cfg: Transformer, layer: int) -> Factors:
    """W_V W_O of the heads of one layer, [R, head, d_model, d_model]."""
    return ov_circuit(_used(weights, cfg, layer, "W_V"), _used(weights, cfg, layer, "W_O"))


def full_ov_circuits(weights: StackedWeights, cfg: Transformer, layer: int) -> Factors:
    """W_E W_V W_O W_U of the heads of one layer, [R, head, d_vocab, d_vocab_out]."""
    return ov_circuit(
        _used(weights, cfg, layer, "W_V"),
        _used(weights, cfg, layer, "W_O"),
        weights["embed.W_E"],
        weights["unembed.W_U"],
    )


def qk_circuits(weights: StackedWeights, cfg: Transformer, layer: int) -> Factors:
    """W_Q W_K^T of the heads of one layer, [R, head, d_model, d_model]."""
    return qk_circuit(_used(weights, cfg, layer, "W_Q"), _used(weights, cfg, layer, "W_K"))


def _used(
    weights: StackedWeights, cfg: Transformer, layer: int, name: str
) -> Float[Tensor, "R head m n"]:
    """A map of attention as the forward pass uses it."""
    weight = weights[f"blocks.{layer}.attn.{name}"]
    return quantise(weight, cfg.precision, scale=cfg.weight_scale, stacked=True)


def of_replicate(sequences: Sequences, index: int) -> Sequences:
    """The sequences of one replicate out of those of all."""
    return Sequences(
        sequences.tokens[index],
        sequences.positions[index],
        sequences.targets[index],
        sequences.groups[index],
    )
