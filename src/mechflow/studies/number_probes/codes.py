"""The configured codes for the numbers, and how probes with them are trained."""

import torch
from jaxtyping import Float
from torch import Tensor

from mechflow.probes.bases import (
    binary_basis,
    digit_basis,
    random_basis,
    random_fourier_basis,
    sinusoidal_basis,
)
from mechflow.probes.readout_settings import ReadoutSettings
from mechflow.studies.number_probes import config


def number_basis(
    name: config.Basis, numbers: int, d_model: int, generator: torch.Generator
) -> Float[Tensor, "numbers width"]:
    """A code for the numbers.

    Args:
        name: which one.
        numbers: how many numbers there are.
        d_model: width of the wide codes.
        generator: of codes that are drawn at random.
    """
    bits = (numbers - 1).bit_length()
    narrow = bits + bits % 2  # waves come in pairs
    match name:
        case "binary":
            return binary_basis(numbers, bits)
        case "digits":
            return digit_basis(numbers)
        case "sinusoidal" | "sinusoidal_narrow":
            return sinusoidal_basis(numbers, d_model if name == "sinusoidal" else narrow)
        case "random_fourier" | "random_fourier_narrow":
            width = d_model if name == "random_fourier" else narrow
            return random_fourier_basis(numbers, width, generator)
        case "random_code" | "random_code_narrow":
            return random_basis(numbers, d_model if name == "random_code" else narrow, generator)


def settings(readout: config.Readout) -> ReadoutSettings:
    """The configured training of probes."""
    return ReadoutSettings(
        hidden=readout.hidden_dim,
        steps=readout.steps,
        batch=readout.batch_size,
        lr=readout.lr,
        decay=readout.decay,
        l1=readout.l1,
        eval_every=readout.eval_every,
        patience=readout.patience or None,
        valid_rows=readout.valid_prompts,
        softmax=readout.softmax,
        restore=readout.restore,
        standardise=readout.standardise,
        precision=readout.precision,
    )
