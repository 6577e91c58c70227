"""Codes for the numbers 0, 1, …: the bases in which a readout may say what a number is.

Each function gives one row a number. A readout learns a linear map of these rows, so a basis says
which numbers lie close together, and what is known of a number that training never named.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def sinusoidal_basis(numbers: int, width: int) -> Float[Tensor, "numbers width"]:
    """Sines and cosines of n ω_j with ω_j = exp(-j ln(numbers) / width) for even j.

    Column j is sin(n ω_j) and column j + 1 is cos(n ω_j): the positional encoding of Vaswani et
    al. 2017 with the number of numbers as its base, so the periods run from 2π to nearly
    2π · numbers.

    Raises:
        ValueError: if the width is odd or a size is not positive.
    """
    _check_sizes(numbers, width)
    _check_even(width)
    columns = torch.arange(0, width, 2, dtype=torch.float64)
    return _sines_and_cosines(numbers, torch.exp(-columns * math.log(numbers) / width))


def random_fourier_basis(
    numbers: int, width: int, generator: torch.Generator
) -> Float[Tensor, "numbers width"]:
    """Sines and cosines of n ω with frequencies ω drawn uniformly from (0, π).

    As wide as the sinusoidal basis and as smooth a function of ω, but without its choice of
    frequencies.

    Raises:
        ValueError: if the width is odd or a size is not positive.
    """
    _check_sizes(numbers, width)
    _check_even(width)
    draws = torch.rand(width // 2, generator=generator, dtype=torch.float64)
    return _sines_and_cosines(numbers, math.pi * draws)


def binary_basis(numbers: int, width: int = 10) -> Float[Tensor, "numbers width"]:
    """Binary digits of each number, the most significant one first.

    Raises:
        ValueError: if the largest number does not fit or a size is not positive.
    """
    _check_sizes(numbers, width)
    if (numbers - 1) >> width:
        raise ValueError(f"{numbers} numbers do not fit into {width} binary digits")
    return _places(numbers, 2, width).float()


def digit_basis(numbers: int, base: int = 10) -> Float[Tensor, "numbers width"]:
    """One-hot digits of each number, the most significant place first, `base` columns a place.

    All numbers are written with as many places as the largest needs; column p · base + v tells
    whether place p holds the digit v.

    Raises:
        ValueError: if the base is less than 2 or there is no number.
    """
    _check_sizes(numbers, base)
    if base < 2:
        raise ValueError(f"a base is at least 2, got {base}")
    places = 1
    while base**places < numbers:
        places += 1
    digits = _places(numbers, base, places)
    return torch.nn.functional.one_hot(digits, base).flatten(1).float()


def random_basis(
    numbers: int, width: int, generator: torch.Generator
) -> Float[Tensor, "numbers width"]:
    """Independent standard normal entries: a code in which no two numbers are related.

    Raises:
        ValueError: if a size is not positive.
    """
    _check_sizes(numbers, width)
    return torch.randn(numbers, width, generator=generator)


def _sines_and_cosines(
    numbers: int, frequencies: Float[Tensor, " pair"]
) -> Float[Tensor, "numbers width"]:
    angles = torch.outer(torch.arange(numbers, dtype=torch.float64), frequencies)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()


def _places(numbers: int, base: int, places: int) -> Int[Tensor, "numbers places"]:
    """Digits of each number, the most significant place first."""
    weights = torch.tensor([base**place for place in reversed(range(places))])
    return torch.arange(numbers)[:, None] // weights % base


def _check_sizes(numbers: int, width: int) -> None:
    if numbers < 1 or width < 1:
        raise ValueError(f"a basis has numbers and columns, got {numbers} and {width}")


def _check_even(width: int) -> None:
    if width % 2:
        raise ValueError(f"sines and cosines come in pairs, got an odd width of {width}")
