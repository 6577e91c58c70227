"""Control features: Gaussian vectors that share the moments of the states and nothing else."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def gaussian_features(
    features: Float[Tensor, "rows d"],
    labels: Int[Tensor, " rows"],
    generator: torch.Generator,
) -> Float[Tensor, "rows d"]:
    """Draw a vector for each number and one for each prompt, and add them to the mean state.

    The vectors of numbers have the covariance between numbers, those of prompts the covariance
    within a number (the estimates of a one-way analysis of variance with random effects: Searle,
    Casella and McCulloch 1992, section 3.6; negative eigenvalues are set to zero). A readout can
    learn by heart which number a state belongs to as well as it can on the states themselves, but
    the vectors of two numbers are independent however close the numbers are, so nothing can be
    known of a number that was not trained on.

    Returns:
        Features in the format and on the device of those given.

    Raises:
        ValueError: if there are fewer than two numbers, or no number has two prompts.
    """
    device = features.device
    present, index, counts = labels.unique(return_inverse=True, return_counts=True)
    n, k = len(labels), len(present)
    if k < 2 or n == k:
        raise ValueError("two numbers, one of them with two prompts, are the least to draw after")
    states = features.float()
    mean = states.mean(dim=0)
    numbers = torch.zeros(k, states.shape[1], device=device).index_add_(0, index, states)
    numbers = numbers / counts[:, None] - mean
    centred = states - mean
    total = (centred.T @ centred).double()
    between_squares = ((numbers * counts[:, None]).T @ numbers).double()
    within = (total - between_squares) / (n - k)
    prompts_a_number = (n - counts.double().square().sum() / n) / (k - 1)
    between = (between_squares / (k - 1) - within) / prompts_a_number
    of_numbers = _draw(between, k, generator)
    of_prompts = _draw(within, n, generator)
    return (mean + of_numbers[index] + of_prompts).to(features.dtype)


def _draw(
    covariance: Float[Tensor, "d d"], count: int, generator: torch.Generator
) -> Float[Tensor, "count d"]:
    """Centred Gaussian vectors, drawn on the CPU."""
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp(min=0).sqrt()).float()
    white = torch.randn(count, len(covariance), generator=generator)
    return white.to(root.device) @ root.T
