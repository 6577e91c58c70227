"""The best losses that predictors can have on the induction task, by Bayes' rule.

Positions 1, 2, ... of a sequence are cut into intervals of equal length. A subsequence starts
at one of the places where it fits into interval 0, and a copy of it at such a place of each later
interval; all places are equally likely, and all other tokens are uniform. A read is a position
of a copy but its last one. As a model is scored at reads only, its best prediction is that of
the next token given the tokens so far and given that this position is a read.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor


def optimal_losses(
    tokens: Int[Tensor, "n pos"],
    positions: Int[Tensor, "n read"],
    targets: Int[Tensor, "n read"],
    *,
    subseq_len: int,
    repeats: int,
    d_vocab: int,
) -> Float[Tensor, "n read"]:
    """Cross-entropy of the posterior predictive distribution at each read, in nats, as float64.

    Starts s_0 of the original and s_i of the copy that is being read explain the tokens up to
    position t with a likelihood proportional to (d_vocab - 1)^(t + 1 - s_i) if the t + 1 - s_i
    tokens of the copy so far equal those of the original, and 0 otherwise, times the number of
    places of each interval before where the whole original is found. They predict the token that
    comes next in the original. Memory grows as n × (number of starts)² × subseq_len.

    Args:
        tokens: Sequences that begin with a token outside of all intervals.
        positions: Reads: positions in copies whose next token belongs to the copy too.
        targets: The tokens that come next. Infinite loss where they are impossible.
        subseq_len: Length of the subsequence.
        repeats: Number of intervals, each of (pos - 1) // repeats positions.
        d_vocab: Number of tokens; all but token 0 occur after the first position.

    Raises:
        ValueError: a position lies outside of the intervals with copies, or no choice of starts
            explains a sequence.
    """
    interval_len = (tokens.shape[1] - 1) // repeats
    interval = (positions - 1).div(interval_len, rounding_mode="floor")
    if ((interval < 1) | (interval >= repeats)).any():
        raise ValueError("a read must lie in an interval with a copy")
    windows = _windows(tokens, interval_len, subseq_len, repeats)
    matching = _matching_prefix(windows)
    log_earlier = _log_earlier_copies(matching, subseq_len)
    first_start = interval * interval_len + 1

    row = torch.arange(len(tokens), device=tokens.device)
    start = torch.arange(windows.shape[2], device=tokens.device)
    losses = torch.empty(positions.shape, dtype=torch.float64, device=tokens.device)
    for read in range(positions.shape[1]):
        copy = interval[:, read] - 1
        # Tokens of the copy up to this read, for each start of the copy.
        seen = (positions[:, read] - first_start[:, read] + 1).unsqueeze(1) - start
        log_weight = torch.where(
            _explains(matching[row, copy], seen, subseq_len),
            log_earlier[row, copy].unsqueeze(2) + (seen * math.log(d_vocab - 1)).unsqueeze(1),
            -torch.inf,
        )
        right = _next_tokens(windows[:, 0], seen) == targets[:, read, None, None]
        losses[:, read] = _log_sum(log_weight) - _log_sum(log_weight.where(right, -torch.inf))
    if losses.isnan().any():
        raise ValueError("a sequence has no copy that fits to one of its reads")
    return losses


def positional_losses(
    tokens: Int[Tensor, "n pos"],
    positions: Int[Tensor, "n read"],
    targets: Int[Tensor, "n read"],
    *,
    subseq_len: int,
    repeats: int,
) -> Float[Tensor, "n read"]:
    """Cross-entropy at each read without comparing tokens, in nats, as float64.

    The predictor knows where originals and copies can lie and reads the tokens of interval 0, but
    not which of them came back: all starts of the original, and all starts of the copy that make
    this position a read, count the same. It is what attention by position alone can reach, and so
    what a model without induction can be expected to.

    Args:
        tokens: Sequences that begin with a token outside of all intervals.
        positions: Reads: positions in copies whose next token belongs to the copy too.
        targets: The tokens that come next.
        subseq_len: Length of the subsequence.
        repeats: Number of intervals, each of (pos - 1) // repeats positions.
    """
    interval_len = (tokens.shape[1] - 1) // repeats
    interval = (positions - 1).div(interval_len, rounding_mode="floor")
    original = _windows(tokens, interval_len, subseq_len, repeats)[:, 0]
    start = torch.arange(original.shape[1], device=tokens.device)
    seen = (positions - interval * interval_len)[..., None] - start
    possible = ((seen >= 1) & (seen < subseq_len)).unsqueeze(2)
    following = torch.stack([_next_tokens(original, s) for s in seen.unbind(1)], dim=1)
    right = possible & (following == targets[..., None, None])
    share = right.sum((2, 3)).double() / (possible.sum((2, 3)) * original.shape[1])
    return -share.log()


def _windows(
    tokens: Int[Tensor, "n pos"], interval_len: int, subseq_len: int, repeats: int
) -> Int[Tensor, "n interval start offset"]:
    """Tokens of the subsequence if it starts at each place of each interval."""
    intervals = rearrange(
        tokens[:, 1 : 1 + repeats * interval_len], "n (i length) -> n i length", i=repeats
    )
    return intervals.unfold(2, subseq_len, 1)


def _matching_prefix(
    windows: Int[Tensor, "n interval start offset"],
) -> Int[Tensor, "n copy start_0 start_i"]:
    """Length of the longest common prefix of each original and each copy of it."""
    equal = windows[:, :1, :, None] == windows[:, 1:, None]
    return equal.to(torch.uint8).cumprod(dim=-1, dtype=torch.uint8).sum(dim=-1)


def _log_earlier_copies(
    matching: Int[Tensor, "n copy start_0 start_i"], subseq_len: int
) -> Float[Tensor, "n copy start_0"]:
    """Log likelihood of each original in the intervals before that of the copy.

    It is known but for a constant: for each interval, the number of places with a full copy.
    """
    log_places = (matching == subseq_len).sum(dim=3).double().log()
    nothing_before = torch.zeros_like(log_places[:, :1])
    return torch.cat([nothing_before, log_places[:, :-1].cumsum(dim=1)], dim=1)


def _explains(
    matching: Int[Tensor, "n start_0 start_i"], seen: Int[Tensor, "n start_i"], subseq_len: int
) -> Bool[Tensor, "n start_0 start_i"]:
    """Whether this position is a read of the copy, and all of the copy so far is equal."""
    is_read = (seen >= 1) & (seen < subseq_len)
    return is_read.unsqueeze(1) & (matching >= seen.unsqueeze(1))


def _next_tokens(
    original: Int[Tensor, "n start_0 offset"], seen: Int[Tensor, "n start_i"]
) -> Int[Tensor, "n start_0 start_i"]:
    """Token of each original that follows those seen; arbitrary where that is no read."""
    offset = seen.clamp(0, original.shape[2] - 1).unsqueeze(1)
    return original.gather(2, offset.expand(-1, original.shape[1], -1))


def _log_sum(log_weight: Float[Tensor, "n start_0 start_i"]) -> Float[Tensor, " n"]:
    """Log of the weight of all pairs of starts."""
    return log_weight.logsumexp(dim=(1, 2))
