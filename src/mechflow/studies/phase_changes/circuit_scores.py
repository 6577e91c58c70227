"""Scores of heads at one checkpoint: what they attend to, what they copy, what they compose with.

Every function yields values of all replicates with the columns that name them.
"""

from collections.abc import Iterator
from itertools import combinations, product

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from mechflow.attention import (
    after_earlier_occurrences,
    attention_to_by_group,
    prefix_matching_score,
    previous_token_score,
    uniform_prefix_matching_score,
    uniform_previous_token_score,
)
from mechflow.circuits import copying_score
from mechflow.composition import k_composition, q_composition, random_composition, v_composition
from mechflow.config.sections import Transformer
from mechflow.models.factorised import StackedWeights
from mechflow.models.layers import head_width
from mechflow.seeds import Seeds
from mechflow.studies.phase_changes.head_names import Head, all_heads
from mechflow.studies.phase_changes.heads import (
    Observation,
    full_ov_circuits,
    ov_circuits,
    qk_circuits,
)
from mechflow.studies.phase_changes.tasks.induction import Induction
from mechflow.studies.phase_changes.tasks.skip_trigram import SkipTrigram
from mechflow.training.sequences import Sequences, answer_losses, group_means

Row = tuple[Float[Tensor, " R"], dict[str, str | int]]
COMPOSITIONS = ("k", "q", "v")


def matched(sequences: Sequences) -> Bool[Tensor, "*batch read pos"]:
    """For each read, the positions after earlier occurrences of its token, by chance or not."""
    everywhere = after_earlier_occurrences(sequences.tokens)
    return everywhere.take_along_dim(sequences.positions[..., None], dim=-2)


def induction_attention(
    observations: list[Observation],
    sequences: Sequences,
    sources: Bool[Tensor, "R n read pos"],
    task: Induction,
) -> Iterator[Row]:
    """Previous-token score and, with the reads as queries, prefix matching of every head.

    The previous-token score is taken over the positions up to the end of the first interval. All
    later copies can be continued from there, and a head that looks back in that interval alone
    does all that the task asks for.

    Args:
        observations: one for each replicate.
        sequences: of all replicates.
        sources: what `matched` gives for them.
        task: where the first interval ends.
    """
    end = _first_copies(task)
    for layer in range(len(observations[0].patterns)):
        patterns = [observation.patterns[layer] for observation in observations]
        previous = torch.stack(
            [previous_token_score(pattern[..., :end, :end]) for pattern in patterns]
        )
        prefix = torch.stack(
            [
                prefix_matching_score(pattern, sequences.positions[index], sources[index])
                for index, pattern in enumerate(patterns)
            ]
        )
        for name, scores in (("prefix_matching", prefix), ("previous_token", previous)):
            for index, values in enumerate(scores.mT):
                yield values, {"metric": f"{name}.{Head(layer, index).name}"}


def uniform_induction_attention(
    cfg: Transformer, sequences: Sequences, sources: Bool[Tensor, "R n read pos"], task: Induction
) -> Iterator[Row]:
    """What these scores are if attention is uniform."""
    prefix = uniform_prefix_matching_score(sequences.positions, sources)
    previous = torch.full_like(prefix, uniform_previous_token_score(_first_copies(task)))
    for head in all_heads(cfg):
        yield prefix, {"metric": f"prefix_matching.{head.name}", "control": "uniform"}
        yield previous, {"metric": f"previous_token.{head.name}", "control": "uniform"}


def copying(weights: StackedWeights, cfg: Transformer) -> Iterator[Row]:
    """Copying score of every head's full OV circuit."""
    for layer in range(cfg.n_layers):
        scores = copying_score(full_ov_circuits(weights, cfg, layer))
        for index, values in enumerate(scores.mT):
            yield values, {"metric": f"copying.{Head(layer, index).name}"}


def compositions(weights: StackedWeights, cfg: Transformer) -> Iterator[Row]:
    """K-, Q- and V-composition of every head with every head of a later layer."""
    ov = [ov_circuits(weights, cfg, layer) for layer in range(cfg.n_layers)]
    qk = [qk_circuits(weights, cfg, layer) for layer in range(cfg.n_layers)]
    for earlier, later in combinations(range(cfg.n_layers), 2):
        scores = {
            "k": k_composition(ov[earlier], qk[later]),
            "q": q_composition(ov[earlier], qk[later]),
            "v": v_composition(ov[earlier], ov[later]),
        }
        for kind, (a, b) in product(COMPOSITIONS, _index_pairs(cfg)):
            metric = _composition(kind, Head(earlier, a), Head(later, b))
            yield scores[kind][:, a, b], {"metric": metric}


def random_compositions(
    cfg: Transformer, draws: int, seeds: Seeds, replicates: range
) -> Iterator[Row]:
    """Compositions of pairs of heads with Gaussian weights, drawn anew for each kind and pair."""
    metrics = [
        _composition(kind, Head(earlier, a), Head(later, b))
        for earlier, later in combinations(range(cfg.n_layers), 2)
        for kind, (a, b) in product(COMPOSITIONS, _index_pairs(cfg))
    ]
    if not metrics:
        return
    drawn = torch.stack(
        [
            random_composition(
                cfg.d_model,
                head_width(cfg),
                draws * len(metrics),
                seeds.torch(replicate, "random heads"),
            )
            for replicate in replicates
        ]
    )
    scores = rearrange(drawn, "r (metric draw) -> metric draw r", draw=draws)
    for metric, by_draw in zip(metrics, scores, strict=True):
        for draw, values in enumerate(by_draw):
            yield values, {"metric": metric, "control": "random", "draw": draw}


def trigger_attention(
    observations: list[Observation], sequences: Sequences, task: SkipTrigram, factor: float
) -> Iterator[Row]:
    """Attention from the query to each trigger, and the gradient of the loss with respect to it.

    The loss is the mean over all sequences, so the gradient with respect to one attention weight
    carries one over their number. Both are means over the sequences with that trigger and over the
    heads of all layers.

    Args:
        observations: one for each replicate, made while gradients were recorded.
        sequences: of all replicates.
        task: says where the triggers are.
        factor: factor on the loss.
    """
    places = task.places(sequences.tokens)[..., None]
    attention: list[Tensor] = []
    gradient: list[Tensor] = []
    for index, (logits, patterns) in enumerate(observations):
        loss = factor * answer_losses(logits, sequences.targets[index], torch.float64).mean()
        slopes = torch.autograd.grad(loss, patterns)
        for kept, by_layer in ((attention, patterns), (gradient, slopes)):
            kept.append(
                torch.stack(
                    [
                        attention_to_by_group(
                            values.detach(),
                            sequences.positions[index],
                            places[index],
                            sequences.groups[index],
                            len(task.groups),
                        )
                        for values in by_layer
                    ]
                ).mean(dim=(0, 1))
            )
    for name, scores in (("trigger_attention", attention), ("attention_gradient", gradient)):
        for trigger, values in enumerate(torch.stack(scores).mT):
            yield values, {"metric": f"{name}.{trigger}"}


def uniform_trigger_attention(sequences: Sequences, task: SkipTrigram) -> Iterator[Row]:
    """What the attention to each trigger is if attention is uniform."""
    share = 1 / (sequences.positions + 1).double()
    for trigger, values in enumerate(group_means(share, sequences.groups, len(task.groups)).mT):
        yield values, {"metric": f"trigger_attention.{trigger}", "control": "uniform"}


def _first_copies(task: Induction) -> int:
    """Number of positions up to the end of the first interval."""
    return 1 + task.interval


def _index_pairs(cfg: Transformer) -> list[tuple[int, int]]:
    return list(product(range(cfg.n_heads), range(cfg.n_heads)))


def _composition(kind: str, earlier: Head, later: Head) -> str:
    return f"{kind}_composition.{earlier.name}-{later.name}"
