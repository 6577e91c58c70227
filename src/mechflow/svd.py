"""Singular values of stacks of matrices, and how concentrated a set of magnitudes is."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Decomposition(NamedTuple):
    """matrix = U diag(S) Vh, with the signs of `principal_directions`."""

    U: Float[Tensor, "*batch m r"]
    S: Float[Tensor, "*batch r"]
    Vh: Float[Tensor, "*batch r n"]


def singular_values(matrix: Float[Tensor, "*batch m n"]) -> Float[Tensor, "*batch r"]:
    """Singular values, largest first, in float64."""
    values: Tensor = torch.linalg.svdvals(matrix.double())
    return values


def principal_directions(
    matrix: Float[Tensor, "*batch m n"], count: int | None = None
) -> Decomposition:
    """The leading singular vectors in float64, with signs that do not depend on the solver.

    In each left vector, the first entry larger in size than 1/e of the largest one is positive.
    (A rule by the largest entry would be a coin toss on waves, which reach +max and -max.)
    Vectors of equal singular values are determined only up to a rotation among themselves.

    Args:
        matrix: the matrices; nothing is centred.
        count: how many directions to keep; all if None.
    """
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    sign = leading_sign(left)
    left, right = left * sign, right * sign.transpose(-2, -1)
    return Decomposition(left[..., :count], values[..., :count], right[..., :count, :])


def leading_sign(vectors: Float[Tensor, "*batch m r"]) -> Float[Tensor, "*batch 1 r"]:
    """Sign of the first entry of each column that is larger in size than 1/e of the largest one."""
    size = vectors.abs()
    first = (size > size.amax(dim=-2, keepdim=True) / math.e).int().argmax(dim=-2, keepdim=True)
    return vectors.gather(-2, first).sign()


def explained_variance(values: Float[Tensor, "*batch r"]) -> Float[Tensor, "*batch r"]:
    """Share of the squared Frobenius norm carried by each singular value (0 for a zero matrix)."""
    return _shares(values.double().square())


def effective_rank(values: Float[Tensor, "*batch r"]) -> Float[Tensor, "*batch"]:
    """Exponential of the entropy of the singular values scaled to sum to 1 (Roy & Vetterli 2007).

    Between 1 and the rank; 0 for a zero matrix.
    """
    share = _shares(values.double())
    rank = torch.special.entr(share).sum(dim=-1).exp()
    return torch.where(share.sum(dim=-1) > 0, rank, 0.0)


def participation_ratio(values: Float[Tensor, "*batch r"]) -> Float[Tensor, "*batch"]:
    """(sum s^2)^2 / sum s^4: the number of equal singular values that spread the norm alike.

    0 for a zero matrix.
    """
    concentration = explained_variance(values).square().sum(dim=-1)
    return torch.where(concentration > 0, 1 / concentration, 0.0)


def gaussian_control(
    matrix: Float[Tensor, "*batch m n"], generator: torch.Generator
) -> Float[Tensor, "*batch m n"]:
    """Independent normal entries, each matrix scaled to the Frobenius norm of its original.

    Drawn in float64 on the generator's device, so that the control does not depend on where the
    matrix lies.
    """
    noise = torch.randn(
        matrix.shape, generator=generator, dtype=torch.float64, device=generator.device
    ).to(matrix.device)
    norm = torch.linalg.matrix_norm(matrix.double(), keepdim=True)
    control: Tensor = noise * (norm / torch.linalg.matrix_norm(noise, keepdim=True))
    return control.to(matrix.dtype)


def gini(magnitudes: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """Gini coefficient: sum over i, j of |x_i - x_j| / (2 n sum x).

    0 when all are equal, (n - 1) / n when all but one are zero; 0 for all zeros.

    Raises:
        ValueError: a magnitude is negative, for which the coefficient has no meaning.
    """
    if bool((magnitudes < 0).any()):
        raise ValueError("the Gini coefficient is defined for non-negative values only")
    ordered = magnitudes.double().sort(dim=-1).values
    n = ordered.shape[-1]
    weight = 2 * torch.arange(1, n + 1, dtype=ordered.dtype, device=ordered.device) - n - 1
    return _shares(ordered) @ weight / n


def _shares(values: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    total = values.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, values / total, 0.0)
