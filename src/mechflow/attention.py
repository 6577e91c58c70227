"""What attention patterns look at: scores of heads, and what uniform attention scores.

A pattern [..., n, head, query, key] holds the attention of n examples, whose rows over keys sum to
1. All scores are means over examples, between 0 and 1, in float64; leading axes (replicates,
checkpoints) stay. A *read* is one query position of one example.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional


def previous_token_score(
    pattern: Float[Tensor, "*batch n head pos pos"],
) -> Float[Tensor, "*batch head"]:
    """Mean attention from each position t >= 1 to position t - 1.

    Raises:
        ValueError: there is only one position.
    """
    if pattern.shape[-1] < 2:
        raise ValueError("a previous token needs at least two positions")
    stripe = pattern.diagonal(offset=-1, dim1=-2, dim2=-1)
    return stripe.double().mean(dim=(-3, -1))


def prefix_matching_score(
    pattern: Float[Tensor, "*batch n head query key"],
    queries: Int[Tensor, "*batch n read"],
    sources: Bool[Tensor, "*batch n read key"],
) -> Float[Tensor, "*batch head"]:
    """Mean over reads of the attention that falls on their sources, all sources together.

    "Prefix matching" of Olsson et al. 2022, "In-context Learning and Induction Heads", who define
    it on sequences that repeat one random block. For an induction head the sources of a read are
    the positions after earlier occurrences of its token: those that hold the token to be copied.
    They are given, since a task with known copies could exclude occurrences by chance;
    `after_earlier_occurrences` finds all of them.

    Args:
        pattern: attention.
        queries: position of each read.
        sources: which keys count for each read. A read without any is left out of the mean.

    Raises:
        ValueError: a whole stack of examples has no read with a source.
    """
    count = _counted_reads(sources)
    rows = _rows(pattern, queries)
    held = torch.einsum("...nhrk,...nrk->...h", rows, sources.to(rows.dtype))
    return held / count.unsqueeze(-1)


def after_earlier_occurrences(
    tokens: Int[Tensor, "*batch n pos"],
) -> Bool[Tensor, "*batch n pos pos"]:
    """Sources of every position t: each s <= t whose previous token is the token at t.

    s = t itself is one if the token at t directly follows an equal one.
    """
    follows = tokens.unsqueeze(-1) == tokens[..., :-1].unsqueeze(-2)
    return functional.pad(follows, (1, 0)).tril()


def attention_to_by_group(
    pattern: Float[Tensor, "*batch n head query key"],
    queries: Int[Tensor, "*batch n read"],
    keys: Int[Tensor, "*batch n read"],
    groups: Int[Tensor, "*batch n read"],
    n_groups: int,
) -> Float[Tensor, "*batch head group"]:
    """Mean attention from the query of each read to its key, over the reads of each group.

    NaN for a group without any read.

    Args:
        pattern: attention.
        queries: position of each read.
        keys: the key that it may attend to.
        groups: the group of each read, from 0 to n_groups - 1.
        n_groups: number of groups.

    Raises:
        RuntimeError: a read belongs to none of these groups.
    """
    member = functional.one_hot(groups, n_groups).double()
    held = torch.einsum("...nhr,...nrg->...hg", _gather(pattern, queries, keys), member)
    return held / member.sum(dim=(-3, -2)).unsqueeze(-2)


def uniform_previous_token_score(n_pos: int) -> float:
    """`previous_token_score` of causal attention that is uniform over all positions up to t.

    Raises:
        ValueError: there is only one position.
    """
    if n_pos < 2:
        raise ValueError("a previous token needs at least two positions")
    return sum(1 / (t + 1) for t in range(1, n_pos)) / (n_pos - 1)


def uniform_prefix_matching_score(
    queries: Int[Tensor, "*batch n read"], sources: Bool[Tensor, "*batch n read key"]
) -> Float[Tensor, "*batch"]:
    """`prefix_matching_score` of uniform causal attention, which gives nothing to later keys.

    Raises:
        ValueError: a whole stack of examples has no read with a source.
    """
    position = torch.arange(sources.shape[-1], device=sources.device)
    seen = (sources & (position <= queries.unsqueeze(-1))).sum(dim=-1)
    return (seen.double() / (queries + 1)).sum(dim=(-2, -1)) / _counted_reads(sources)


def _rows(
    pattern: Float[Tensor, "*batch n head query key"], queries: Int[Tensor, "*batch n read"]
) -> Float[Tensor, "*batch n head read key"]:
    """Rows of the pattern at the position of each read, in float64."""
    rows: Tensor = torch.take_along_dim(pattern, queries[..., None, :, None], dim=-2)
    return rows.double()


def _gather(
    pattern: Float[Tensor, "*batch n head query key"],
    queries: Int[Tensor, "*batch n read"],
    keys: Int[Tensor, "*batch n read"],
) -> Float[Tensor, "*batch n head read"]:
    """Entry (query, key) of the pattern for each read, in float64."""
    held: Tensor = torch.take_along_dim(
        _rows(pattern, queries), keys[..., None, :, None], dim=-1
    ).squeeze(-1)
    return held


def _counted_reads(sources: Bool[Tensor, "*batch n read key"]) -> Int[Tensor, "*batch"]:
    count = sources.any(dim=-1).sum(dim=(-2, -1))
    if not bool(count.all()):
        raise ValueError("no read has a source that it could attend to")
    return count
