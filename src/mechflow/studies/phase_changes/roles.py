"""Which heads play the two parts of an induction circuit, and heads to compare them with."""

import math
from collections.abc import Iterable, Mapping
from itertools import combinations, product

import pandas as pd
import torch

from mechflow.config.sections import Transformer
from mechflow.studies.phase_changes.head_names import Head, all_heads

PREVIOUS_TOKEN, INDUCTION = "previous_token_heads", "induction_heads"
SCORES = {PREVIOUS_TOKEN: "previous_token", INDUCTION: "prefix_matching"}
"""Each role and the score that its heads excel in."""

LEAST_SHARE = 0.5
"""A head has a role if its score is at least this share of that of the best candidate."""

Group = tuple[Head, ...]


def role_groups(progress: pd.DataFrame, cfg: Transformer, replicate: int) -> dict[str, Group]:
    """The heads of each role in one replicate: those that score nearly as high as the best one.

    Scores are those at the last step of the table; see `LEAST_SHARE`.
    Roles without candidates, and those whose scores the table does not hold, are left out.
    """
    groups = {}
    for role, score in SCORES.items():
        scores = final_scores(progress, score, replicate)
        candidates = {head: scores[head] for head in candidates_for(role, cfg) if head in scores}
        if chosen := leading(candidates):
            groups[role] = chosen
    return groups


def final_scores(progress: pd.DataFrame, score: str, replicate: int) -> dict[Head, float]:
    """A score of all heads of one replicate at the last step of the progress table."""
    rows = progress[
        (progress["replicate"] == replicate)
        & (progress["step"] == progress["step"].max())
        & (progress["control"] == "none")
        & progress["metric"].str.startswith(f"{score}.")
    ]
    heads = [Head.named(metric.removeprefix(f"{score}.")) for metric in rows["metric"]]
    return dict(zip(heads, rows["value"].tolist(), strict=True))


def candidates_for(role: str, cfg: Transformer) -> list[Head]:
    """Heads that can play a role: one feeds another of a later layer.

    The only layer of a one-layer model is scored for induction all the same, as a control.
    """
    last = cfg.n_layers - 1
    if role == PREVIOUS_TOKEN:
        return [head for head in all_heads(cfg) if head.layer < last]
    return [head for head in all_heads(cfg) if head.layer > 0 or last == 0]


def leading(scores: Mapping[Head, float]) -> Group:
    """Heads whose score is at least `LEAST_SHARE` of the best one, in order; none if all are 0."""
    least = LEAST_SHARE * max(scores.values(), default=0.0)
    return tuple(sorted(head for head, score in scores.items() if 0 < score >= least))


def random_groups(
    chosen: Group, heads: Iterable[Head], draws: int, generator: torch.Generator
) -> list[Group]:
    """Different groups of other heads, with as many of each layer as the chosen ones.

    All of them if there are no more than ``draws``; none if a layer has too few other heads.
    """
    others = [head for head in heads if head not in chosen]
    numbers = {layer: sum(h.layer == layer for h in chosen) for layer, _ in sorted(chosen)}
    pools = {layer: [h for h in others if h.layer == layer] for layer in numbers}
    if math.prod(math.comb(len(pools[layer]), n) for layer, n in numbers.items()) <= draws:
        parts = product(*(combinations(pools[layer], n) for layer, n in numbers.items()))
        return [tuple(head for part in choice for head in part) for choice in parts]
    # A dictionary drops repeated draws and, unlike a set, keeps their order.
    drawn: dict[Group, None] = {}
    while len(drawn) < draws:
        orders = {n: torch.randperm(len(pool), generator=generator) for n, pool in pools.items()}
        kept = [pools[n][i] for n, order in orders.items() for i in order[: numbers[n]].tolist()]
        drawn[tuple(sorted(kept))] = None
    return list(drawn)
