"""Control features: Gaussian vectors that share the moments of the states and nothing else."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechflow.mean_states import mean_states
from mechflow.probes.ridge import accumulate_moments

ROWS_PER_BATCH = 1024
"""Rows turned into float64 at a time; bounds the memory beyond the states themselves."""


class CovarianceComponents(NamedTuple):
    """Moments of states that are a vector of their number plus one of their prompt; float64."""

    mean: Float[Tensor, " d"]
    between: Float[Tensor, "d d"]
    """Covariance of the vectors of numbers. As an estimate it may have negative eigenvalues."""
    within: Float[Tensor, "d d"]
    """Covariance of the vectors of prompts."""


def gaussian_features(
    features: Float[Tensor, "rows d"],
    labels: Int[Tensor, " rows"],
    generator: torch.Generator,
) -> Float[Tensor, "rows d"]:
    """Draw a vector for each number and one for each prompt, and add them to the mean state.

    The vectors of numbers have the covariance between numbers, those of prompts the covariance
    within a number (`covariance_components`; negative eigenvalues are set to zero). A readout can
    learn by heart which number a state belongs to as well as it can on the states themselves, but
    the vectors of two numbers are independent however close the numbers are, so nothing can be
    known of a number that was not trained on.

    Returns:
        Features in the format and on the device of those given.

    Raises:
        ValueError: if there are fewer than two numbers, no number has two prompts, or a state is
            not finite.
    """
    found = covariance_components(features, labels)
    present, index = labels.unique(return_inverse=True)
    of_numbers = _draw(found.between, len(present), generator)
    of_prompts = _draw(found.within, len(labels), generator)
    return (found.mean.float() + of_numbers[index] + of_prompts).to(features.dtype)


def covariance_components(
    features: Float[Tensor, "rows d"], labels: Int[Tensor, " rows"]
) -> CovarianceComponents:
    """Covariances between and within numbers, whose numbers of prompts may differ.

    With n_i prompts of number i, n in all, of k numbers, x_ij the states, m_i the mean of number i
    and m that of all states, these are the estimates of a one-way analysis of variance with random
    effects (Searle, Casella and McCulloch 1992, section 3.6):

    - W = Σ_ij (x_ij - m_i)(x_ij - m_i)ᵀ / (n - k) within a number;
    - B = (Σ_i n_i (m_i - m)(m_i - m)ᵀ / (k - 1) - W) / n_0 between numbers,
      with n_0 = (n - Σ_i n_i² / n) / (k - 1).

    Both sums are of squares about the mean that they belong to, so a mean that is large beside
    the spread, or numbers that lie far apart, cost no precision.

    Raises:
        ValueError: if there are fewer than two numbers, no number has two prompts, or a state is
            not finite.
    """
    present, index = labels.unique(return_inverse=True)
    n, k = len(labels), len(present)
    if k < 2 or n == k:
        raise ValueError("two numbers, one of them with two prompts, are the least to draw after")
    means, counts = mean_states(features, index, k)

    def residuals() -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.arange(n, device=features.device).split(ROWS_PER_BATCH):
            residual = features[rows].double() - means[index[rows]]
            yield residual, residual[:, :0]  # no targets

    within = accumulate_moments(residuals()).gram / (n - k)
    share = counts.double() / n
    mean = share @ means
    centred = means - mean
    between_squares = n * (share[:, None] * centred).T @ centred
    prompts_a_number = (n - n * share.square().sum()) / (k - 1)
    between = (between_squares / (k - 1) - within) / prompts_a_number
    return CovarianceComponents(mean, between, within)


def _draw(
    covariance: Float[Tensor, "d d"], count: int, generator: torch.Generator
) -> Float[Tensor, "count d"]:
    """Centred Gaussian vectors, drawn on the CPU."""
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp(min=0).sqrt()).float()
    white = torch.randn(count, len(covariance), generator=generator)
    return white.to(root.device) @ root.T
