"""Affine maps that make the states of all layers alike, and their removal from trained weights."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mechflow.spacing import evenly_spaced

WHITENING_RIDGE = 0.1
"""What whitening adds to every variance, in units of the mean variance of a coordinate."""

ROWS_A_DIMENSION = 8
"""Rows from which whitening estimates the covariance, at most, for each dimension."""


@dataclass(frozen=True)
class InputMap:
    """The map x -> T (x - c), with T a matrix, a factor, or nothing at all."""

    centre: Float[Tensor, " d"]
    factor: float
    matrix: Float[Tensor, "d d"] | None = None
    """T is factor · matrix, or factor · 1 if this is None."""

    def apply(
        self, states: Float[Tensor, "rows d"], product_dtype: torch.dtype
    ) -> Float[Tensor, "rows d"]:
        """Map states, multiplying in the number format given; overwrites what it is given."""
        states.sub_(self.centre).mul_(self.factor)
        mapped = states.to(product_dtype)
        return mapped if self.matrix is None else mapped @ self.matrix.to(mapped).T

    def undo(
        self, W_in: Float[Tensor, "hidden d"], b_in: Float[Tensor, " hidden"]
    ) -> tuple[Float[Tensor, "hidden d"], Float[Tensor, " hidden"]]:
        """Weights that do to the states what these do to the mapped states, on the CPU."""
        exact = self.factor * W_in.double()
        if self.matrix is not None:
            exact = exact @ self.matrix.double().cpu()
        shift = exact @ self.centre.double().cpu()
        return exact.to(W_in.dtype), (b_in.double() - shift).to(b_in.dtype)


def input_map(
    states: Float[Tensor, "rows d"], kind: Literal["none", "scale", "whiten"]
) -> InputMap:
    """The map that suits some states, found without their labels.

    Args:
        states: the train rows.
        kind: `none` leaves states as they are. `scale` centres them and divides them by one
            number, the root mean square of all their coordinates. `whiten` gives them nearly unit
            covariance as well: with Σ the covariance of the scaled states, estimated from
            `ROWS_A_DIMENSION` evenly spaced rows for each dimension, T is the inverse of the
            Cholesky factor of Σ + `WHITENING_RIDGE`.

    Raises:
        ValueError: if a state is not finite.
    """
    if kind == "none":
        return InputMap(torch.zeros_like(states[0]), 1.0)
    centre = states.mean(dim=0)
    # A float32 sum of so many squares stops growing: of 10^8 of them it would lose 1 %.
    norm = torch.linalg.vector_norm(states - centre, dtype=torch.float64)
    spread = float(norm) / states.numel() ** 0.5
    if not math.isfinite(spread):
        raise ValueError("a train state is not finite")
    factor = 1 / spread if spread else 1.0
    if kind == "scale":
        return InputMap(centre, factor)
    some = states[evenly_spaced(len(states), ROWS_A_DIMENSION * states.shape[1])]
    some = (some - centre) * factor
    covariance = (some.T @ some).double() / len(some)
    covariance.diagonal().add_(WHITENING_RIDGE)
    identity = torch.eye(len(centre), dtype=torch.float64, device=states.device)
    root = torch.linalg.cholesky(covariance)
    matrix = torch.linalg.solve_triangular(root, identity, upper=False)
    return InputMap(centre, factor, matrix.to(states.dtype))
