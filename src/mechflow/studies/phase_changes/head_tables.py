"""Circuits of heads between tokens, and what figures show of heads."""

import torch
from jaxtyping import Float
from torch import Tensor

from mechflow.circuits import Factors
from mechflow.config.sections import Transformer
from mechflow.models.factorised import StackedWeights
from mechflow.models.layers import attention_divisor, sinusoidal_positions
from mechflow.studies.phase_changes.heads import observe, of_replicate, ov_circuits, qk_circuits
from mechflow.studies.phase_changes.model import stacked_model
from mechflow.studies.phase_changes.tasks import Task
from mechflow.studies.phase_changes.tasks.skip_trigram import QUERY, SkipTrigram
from mechflow.training.checkpoints import states
from mechflow.training.sequences import Sequences

TABLE_CHECKPOINTS = 6
"""Checkpoints at which tables of a head are kept."""


def head_circuits(weights: StackedWeights, cfg: Transformer, layer: int) -> dict[str, Factors]:
    """The circuits [R, head] of one block at their real scale, without biases and normalisation.

    QK and QK_full hold attention scores, divisor included, between residual streams and between
    token embeddings; OV and OV_full are what attention 1 adds to the stream and, from a token
    embedding, to the logits. The full circuits hold the direct path alone, with the gain of the
    residual stream on it.
    """
    scores, ov = _scores(weights, cfg, layer), ov_circuits(weights, cfg, layer)
    reached = cfg.residual_gain**layer * weights["embed.W_E"]
    carried_on = cfg.residual_gain ** (cfg.n_layers - 1 - layer) * weights["unembed.W_U"]
    return {
        "QK": scores,
        "OV": ov,
        "QK_full": _between(reached, scores, reached.mT),
        "OV_full": _between(reached, ov, carried_on),
    }


def trigram_tables(
    checkpoints: StackedWeights, cfg: Transformer, task: SkipTrigram
) -> dict[str, Tensor]:
    """What the heads of the first block do with each token, at a few checkpoints.

    - table_steps [R, step]: updates made.
    - qk [R, step, head, d_vocab]: attention score of the query token, at the last position, to
      each token, averaged over the positions where noise and triggers stand.
    - ov [R, step, head, d_vocab, d_vocab_out]: what attention 1 to each token adds to the logits.
    """
    steps, qk, ov = [], [], []
    for step, weights in states(checkpoints, TABLE_CHECKPOINTS):
        steps.append(step)
        qk.append(query_scores(weights, cfg, task).float())
        ov.append(head_circuits(weights, cfg, 0)["OV_full"].product().float())
    return {
        "table_steps": torch.tensor(steps).repeat(len(qk[0]), 1),
        "qk": torch.stack(qk, dim=1),
        "ov": torch.stack(ov, dim=1),
    }


def query_scores(
    weights: StackedWeights, cfg: Transformer, task: SkipTrigram
) -> Float[Tensor, "R head d_vocab"]:
    """Score of the query token to each token: scores are linear in keys, so those are averaged."""
    W_E, W_pos = weights["embed.W_E"], _positions(weights, cfg, task)
    query = W_E[:, [QUERY]] + W_pos[..., -1:, :]
    keys = W_E + W_pos[..., 1:-1, :].mean(-2, keepdim=True)
    return _between(query, _scores(weights, cfg, 0), keys.mT).product().squeeze(-2)


@torch.no_grad()
def example_patterns(
    weights: StackedWeights, cfg: Transformer, task: Task, sequences: Sequences
) -> dict[str, Tensor]:
    """Attention of each model on the first of its own sequences.

    example_pattern [R, layer, head, query, key], example_tokens [R, pos] and example_reads
    [R, read], the positions whose next token is determined.
    """
    stacked = stacked_model(task, cfg)
    first = sequences.take(slice(1))
    patterns = []
    for index in range(len(first.tokens)):
        seen = observe(stacked.module(weights, index), of_replicate(first, index))
        patterns.append(torch.cat(seen.patterns))
    return {
        "example_pattern": torch.stack(patterns),
        "example_tokens": first.tokens[:, 0].contiguous(),
        "example_reads": first.positions[:, 0].contiguous(),
    }


def _scores(weights: StackedWeights, cfg: Transformer, layer: int) -> Factors:
    """QK circuits [R, head] over the divisor of attention scores."""
    circuits = qk_circuits(weights, cfg, layer)
    return Factors(circuits.left / attention_divisor(cfg), circuits.right)


def _between(
    left: Float[Tensor, "R row d_model"],
    circuits: Factors,
    right: Float[Tensor, "R d_model column"],
) -> Factors:
    """Circuits of the residual stream, seen from vectors in it on both sides."""
    return Factors(
        left.double().unsqueeze(1) @ circuits.left, circuits.right @ right.double().unsqueeze(1)
    )


def _positions(
    weights: StackedWeights, cfg: Transformer, task: Task
) -> Float[Tensor, "*R pos d_model"]:
    """Positional embeddings, whether learned, fixed or none."""
    match cfg.positions:
        case "learned":
            return weights["pos_embed.W_pos"]
        case "sinusoidal":
            return sinusoidal_positions(task.n_ctx, cfg.d_model)
        case "none":
            return torch.zeros(task.n_ctx, cfg.d_model)
