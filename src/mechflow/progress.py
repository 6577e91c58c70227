"""Progress measures for modular arithmetic (Nanda et al. 2023, section 5).

Logits are functions of the pair (a, b): rows ``a * p + b`` of an axis ``pairs``, one column per
answer (the logit of "=" left out). Key frequencies come as masks over 1 .. p // 2, one mask per
replicate or one for all. Losses are computed in float64: late in training they are smaller than
the rounding of float32.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechflow.fourier import (
    Definition,
    DirectionSpectra,
    direction_spectra,
    residues,
    transform_1d,
)
from mechflow.svd import gini


class FrequencySetLosses(NamedTuple):
    """Losses for each of several sets of frequencies."""

    restricted: Float[Tensor, "draws *out"]
    excluded: Float[Tensor, "draws *out"]


def cross_entropy(
    logits: Float[Tensor, "*batch pairs C"], labels: Int[Tensor, "*#batch pairs"]
) -> Float[Tensor, "*batch pairs"]:
    """-log softmax at the label of every pair, in float64 (nats)."""
    logits = logits.double()
    index = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    return logits.logsumexp(dim=-1) - logits.gather(-1, index).squeeze(-1)


def correct(
    logits: Float[Tensor, "*batch pairs C"], labels: Int[Tensor, "*#batch pairs"]
) -> Float[Tensor, "*batch pairs"]:
    """1 where the largest logit is the label's, else 0; `split_mean` of it is the accuracy."""
    return (logits.argmax(dim=-1) == labels).double()


def split_mean(
    values: Float[Tensor, "*batch pairs"], split: Bool[Tensor, "*splits pairs"] | None = None
) -> Float[Tensor, "*out"]:
    """Mean over the pairs of a split, or over all pairs.

    The leading axes of both broadcast, so masks [n_splits, *batch, pairs] give all splits at once.
    NaN for a split without pairs.
    """
    if split is None:
        return values.mean(dim=-1)
    return torch.where(split, values, 0.0).sum(dim=-1) / split.sum(dim=-1)


def restricted_logits(
    logits: Float[Tensor, "*batch pairs C"],
    p: int,
    key: Bool[Tensor, "*#batch n_freq"],
    definition: Definition = "sum_directions",
    sign: int = 1,
) -> Float[Tensor, "*batch pairs C"]:
    """Mean logits over all pairs plus the projection on the key frequencies' directions.

    Args:
        logits: logits of all p^2 pairs.
        p: the modulus.
        key: the key frequencies.
        definition: `sum_directions` as in the paper's released code, `block_2x2` as in its text,
            or `all_products_of_frequency`; see `direction_spectra`.
        sign: -1 when the task subtracts.
    """
    logits = logits.double()
    part = direction_spectra(logits, p, definition, sign).combine(key)
    return part + logits.mean(dim=-2, keepdim=True)


def excluded_logits(
    logits: Float[Tensor, "*batch pairs C"],
    p: int,
    key: Bool[Tensor, "*#batch n_freq"],
    definition: Definition = "sum_directions",
    sign: int = 1,
) -> Float[Tensor, "*batch pairs C"]:
    """Logits minus their projection on the key frequencies' directions; the mean is untouched."""
    logits = logits.double()
    return logits - direction_spectra(logits, p, definition, sign).combine(key)


def restricted_loss(
    logits: Float[Tensor, "*batch pairs C"],
    labels: Int[Tensor, "*#batch pairs"],
    p: int,
    key: Bool[Tensor, "*#batch n_freq"],
    definition: Definition = "sum_directions",
    sign: int = 1,
    split: Bool[Tensor, "*splits pairs"] | None = None,
) -> Float[Tensor, "*out"]:
    """Mean cross entropy of `restricted_logits` over a split (see `split_mean`)."""
    logits = logits.double()
    spectra = direction_spectra(logits, p, definition, sign)
    mean = logits.mean(dim=-2, keepdim=True)
    return split_mean(_restricted_cross_entropy(spectra, mean, labels, key), split)


def excluded_loss(
    logits: Float[Tensor, "*batch pairs C"],
    labels: Int[Tensor, "*#batch pairs"],
    p: int,
    key: Bool[Tensor, "*#batch n_freq"],
    definition: Definition = "sum_directions",
    sign: int = 1,
    split: Bool[Tensor, "*splits pairs"] | None = None,
) -> Float[Tensor, "*out"]:
    """Mean cross entropy of `excluded_logits` over a split; the paper reports it on train pairs.

    The projection is fitted on all pairs, whatever the split.
    """
    return split_mean(
        cross_entropy(excluded_logits(logits, p, key, definition, sign), labels), split
    )


def frequency_set_losses(
    logits: Float[Tensor, "*batch pairs C"],
    labels: Int[Tensor, "*#batch pairs"],
    p: int,
    sets: Bool[Tensor, "draws *#batch n_freq"],
    definition: Definition = "sum_directions",
    sign: int = 1,
    split: Bool[Tensor, "*splits pairs"] | None = None,
) -> FrequencySetLosses:
    """`restricted_loss` and `excluded_loss` for many sets of frequencies; logits projected once.

    One set is recombined at a time, so memory does not grow with their number.
    """
    logits = logits.double()
    spectra = direction_spectra(logits, p, definition, sign)
    mean = logits.mean(dim=-2, keepdim=True)
    restricted, excluded = [], []
    for mask in sets:
        part = spectra.combine(mask)
        kept = _restricted_cross_entropy(spectra, mean, labels, mask, part)
        removed = cross_entropy(logits - part, labels)
        restricted.append(split_mean(kept, split))
        excluded.append(split_mean(removed, split))
    return FrequencySetLosses(torch.stack(restricted), torch.stack(excluded))


def random_frequency_sets(
    key: Bool[Tensor, "*batch n_freq"],
    draws: int,
    generator: torch.Generator,
    *,
    exclude_key: bool = True,
) -> Bool[Tensor, "draws *batch n_freq"]:
    """Random sets of as many frequencies as are key, each without repetition.

    With `exclude_key` they avoid the key frequencies wherever enough others exist; where more than
    half of the frequencies are key, and without `exclude_key`, all frequencies can be drawn.
    """
    size = key.sum(dim=-1, keepdim=True)
    score = torch.rand(
        (draws, *key.shape), generator=generator, dtype=torch.float64, device=generator.device
    ).to(key.device)
    if exclude_key:
        enough = (~key).sum(dim=-1, keepdim=True) >= size
        score = score + (key & enough)  # scores are below 1, so these come after all others
    rank = score.argsort(dim=-1).argsort(dim=-1)
    return rank < size


def gini_of_components(matrix: Float[Tensor, "*batch p d"]) -> Float[Tensor, "*batch"]:
    """Gini coefficient of the norms of the p Fourier components of a matrix, constant included."""
    return gini(transform_1d(matrix.double()).norm(dim=-1))


def _restricted_cross_entropy(
    spectra: DirectionSpectra,
    mean: Float[Tensor, "*batch 1 C"],
    labels: Int[Tensor, "*#batch pairs"],
    key: Bool[Tensor, "*#batch n_freq"],
    part: Float[Tensor, "*batch pairs C"] | None = None,
) -> Float[Tensor, "*batch pairs"]:
    if len(spectra.forms) > 1:
        part = spectra.combine(key) if part is None else part
        return cross_entropy(part + mean, labels)
    # The logits depend on one residue only: p softmaxes serve all p^2 pairs.
    (table,) = spectra.tables(key)
    log_probability = (table + mean).log_softmax(dim=-1)
    answers = log_probability.shape[-1]
    residue = residues(spectra.p, spectra.forms[0]).to(labels.device)
    index = (residue * answers + labels).expand(*log_probability.shape[:-2], -1)
    return -log_probability.flatten(-2).gather(-1, index)
