"""How much of the mean states of numbers is a function of few features: a helix, or digits.

Kantamneni and Tegmark 2025 fit a generalised helix: each dimension is a + b n plus, for each period
T, c cos(2πn / T) + s sin(2πn / T). Its rival is a function of the decimal digits. Both are linear
in a *basis*, a table with one row per number. They are compared on numbers that the fit did not
see, at nearly equal width:

- `helix_basis(N, circle_periods(range(3), h))` turns smoothly: the tens are a circle of period 100.
- `digit_circle_basis(N, range(3), h)` turns in steps: the same waves, of each digit instead of n.

At h = 5 the digit circles span every function of each digit (27 columns for three places), and
the helix has 30. The ones are the same in both, so what tells them apart is the places above.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechflow.mean_states import require_all_numbers

HELIX_PERIODS: tuple[float, ...] = (2.0, 5.0, 10.0, 100.0)
"""The periods of Kantamneni and Tegmark 2025."""

_SILENT = 1e-9
"""Columns with a smaller norm are zero but for rounding, such as sin(πn)."""


@dataclass(frozen=True)
class BasisScore:
    """R² of the fit in each fold, on the numbers fitted and on those held out."""

    train: Float[Tensor, " folds"]
    test: Float[Tensor, " folds"]
    rank: int
    """Parameters per dimension of the states, beside the constant."""


def helix_basis(numbers: int, periods: Sequence[float]) -> Float[Tensor, "numbers columns"]:
    """Columns n scaled to [-1, 1], then cos and sin of 2πn / T for each period T; float64.

    A sine that is zero at all integers, as at T = 2, is left out.
    """
    n = torch.arange(numbers, dtype=torch.float64)
    line = 2 * n / max(numbers - 1, 1) - 1
    angles = [2 * math.pi * torch.remainder(n, period) / period for period in periods]
    return torch.stack([line, *_waves(angles)], dim=1)


def circle_periods(places: Sequence[int], harmonics: int, base: int = 10) -> tuple[float, ...]:
    """Periods base^(p + 1) / h of each place p (0 for the ones) and h = 1 .. harmonics.

    Raises:
        ValueError: there are more harmonics than base // 2.
    """
    _check_harmonics(harmonics, base)
    return tuple(base ** (p + 1) / h for p in places for h in range(1, harmonics + 1))


def digit_circle_basis(
    numbers: int, places: Sequence[int], harmonics: int, base: int = 10
) -> Float[Tensor, "numbers columns"]:
    """Waves cos and sin of 2πh · digit / base of each place p (0 for the ones), to h = harmonics.

    Raises:
        ValueError: there are more harmonics than base // 2, beyond which they repeat.
    """
    _check_harmonics(harmonics, base)
    digits = _digits(numbers, places, base).T
    turns = [h * digit % base for digit in digits for h in range(1, harmonics + 1)]
    return torch.stack(_waves([2 * math.pi * turn.double() / base for turn in turns]), dim=1)


def digit_basis(
    numbers: int, places: Sequence[int], base: int = 10
) -> Float[Tensor, "numbers columns"]:
    """One-hot digits of each place p (0 for the ones).

    Their rank beside the constant is base - 1 for each place where all digits occur.
    """
    return F.one_hot(_digits(numbers, places, base), base).flatten(1).double()


def basis_scores(
    means: Float[Tensor, "numbers d"],
    basis: Float[Tensor, "numbers columns"],
    train: Bool[Tensor, "folds numbers"],
    test: Bool[Tensor, "folds numbers"],
) -> BasisScore:
    """Regress the mean states on a basis and a constant, and score the fit on held-out numbers.

    R² = 1 - Σ|m - m̂|² / Σ|m - m̄|² over all dimensions, m̄ the mean of the train numbers on both
    splits; NaN where nothing differs from it. Every number counts alike. A basis of linearly
    dependent columns is fitted by the shortest coefficients.

    Args:
        means: mean state of each number, or its scores on principal components.
        basis: features of each number.
        train: numbers fitted in each fold.
        test: numbers held out.

    Raises:
        ValueError: shapes differ, a number has no mean state, or a fold has no train or no test
            numbers.
    """
    numbers = len(means)
    if not numbers == len(basis) == train.shape[1] == test.shape[1] or len(train) != len(test):
        shapes = [tuple(t.shape) for t in (means, basis, train, test)]
        raise ValueError(f"means, basis, train and test have shapes {shapes}")
    if not (train.any(dim=1).all() and test.any(dim=1).all()):
        raise ValueError("a fold has no train numbers or no test numbers")
    require_all_numbers(means)
    target, features = means.double(), basis.to(means.device).double()
    scores = torch.stack(
        [torch.stack(_fold_r2(target, features, *masks)) for masks in zip(train, test, strict=True)]
    )
    rank = int(torch.linalg.matrix_rank(features - features.mean(dim=0)))
    return BasisScore(scores[:, 0], scores[:, 1], rank)


def permuted_basis_scores(
    means: Float[Tensor, "numbers d"],
    basis: Float[Tensor, "numbers columns"],
    train: Bool[Tensor, "folds numbers"],
    test: Bool[Tensor, "folds numbers"],
    draws: int,
    generator: torch.Generator,
) -> Float[Tensor, "draws folds"]:
    """Held-out R² after dealing the states out to the numbers at random: the null of no order.

    Raises:
        ValueError: as `basis_scores`.
    """
    orders = [torch.randperm(len(means), generator=generator) for _ in range(draws)]
    found = [basis_scores(means[order.to(means.device)], basis, train, test) for order in orders]
    empty = torch.zeros(0, len(train), dtype=torch.float64)
    return torch.stack([score.test for score in found]) if found else empty


def _fold_r2(
    target: Float[Tensor, "numbers d"],
    features: Float[Tensor, "numbers columns"],
    train: Bool[Tensor, " numbers"],
    test: Bool[Tensor, " numbers"],
) -> list[Float[Tensor, ""]]:
    centre, origin = target[train].mean(dim=0), features[train].mean(dim=0)
    coefficients = torch.linalg.pinv(features[train] - origin) @ (target[train] - centre)
    residual = (target - centre) - (features - origin) @ coefficients
    unexplained, total = (values.square().sum(dim=1) for values in (residual, target - centre))
    return [
        torch.where(
            total[mask].sum() > 0, 1 - unexplained[mask].sum() / total[mask].sum(), math.nan
        )
        for mask in (train, test)
    ]


def _digits(numbers: int, places: Sequence[int], base: int) -> Int[Tensor, "numbers places"]:
    n = torch.arange(numbers)
    return torch.stack([n // base**place % base for place in places], dim=1)


def _waves(angles: Sequence[Float[Tensor, " numbers"]]) -> list[Float[Tensor, " numbers"]]:
    waves = [wave for angle in angles for wave in (angle.cos(), angle.sin())]
    return [wave for wave in waves if torch.linalg.vector_norm(wave) > _SILENT]


def _check_harmonics(harmonics: int, base: int) -> None:
    if not 1 <= harmonics <= base // 2:
        raise ValueError(f"base {base} has harmonics 1 .. {base // 2}, not {harmonics}")
