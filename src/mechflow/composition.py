"""How much of what an earlier head writes a later head reads (Elhage et al. 2021).

Streams are rows here, and columns in the paper. The earlier head a adds y W_OV to the stream, with
W_OV = W_V W_O; the later head b scores x against y as x W_QK y^T, with W_QK = W_Q W_K^T. So a
enters the scores of b

- through the queries, x -> x W_OV(a), as W_OV(a) W_QK(b): Q-composition;
- through the keys, y -> y W_OV(a), as W_QK(b) W_OV(a)^T: K-composition;

and the output of b through the values, as W_OV(a) W_OV(b): V-composition. Transposing these gives
the paper's W_QK^T W_OV, W_QK W_OV and W_OV W_OV, as its W_OV is ours transposed and its W_QK ours.

A score is the Frobenius norm of the product over the product of the norms. It lies between 0 and
1, and does not change with the scale of a circuit, a rotation of the residual stream, or the basis
inside a head. It reaches 1 only for rank one: the singular values s of the two circuits, in
order, bound it by sqrt(sum s_a^2 s_b^2) / (|s_a| |s_b|), which is 1 / sqrt(d_head) if all are
equal. Random heads score about 1 / sqrt(d_model), see `random_composition`.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from mechflow.circuits import Factors, triangle


def q_composition(earlier_ov: Factors, later_qk: Factors) -> Float[Tensor, "*batch earlier later"]:
    """Q-composition of all pairs of heads, from circuits of the residual stream.

    Args:
        earlier_ov: W_V [*batch, earlier, d_model, d_head] and W_O of the heads of one layer.
        later_qk: W_Q [*batch, later, d_model, d_head] and W_K^T of the heads of a later one.

    Raises:
        ValueError: the circuits are not those of one residual stream.
    """
    return _scores(earlier_ov, later_qk)


def k_composition(earlier_ov: Factors, later_qk: Factors) -> Float[Tensor, "*batch earlier later"]:
    """K-composition of all pairs of heads; arguments and errors of `q_composition`.

    Of a previous-token head and an induction head: the later head finds its keys by what the
    earlier one wrote there.
    """
    # The norm of W_QK W_OV^T is that of its transpose.
    return _scores(earlier_ov, later_qk.transpose())


def v_composition(earlier_ov: Factors, later_ov: Factors) -> Float[Tensor, "*batch earlier later"]:
    """V-composition of all pairs of heads.

    Args:
        earlier_ov: W_V [*batch, earlier, d_model, d_head] and W_O of the heads of one layer.
        later_ov: the same of a later layer.

    Raises:
        ValueError: the circuits are not those of one residual stream.
    """
    return _scores(earlier_ov, later_ov)


def random_composition(
    d_model: int, d_head: int, draws: int, generator: torch.Generator
) -> Float[Tensor, " draws"]:
    """Scores of pairs of heads with independent standard normal weights, in float64.

    The baseline of all three kinds: four random factors in a row, whichever their names. The
    scale of the weights does not matter. The ratio of the expected squares of numerator and
    denominator is 1 / d_model, whatever d_head.

    Args:
        d_model: width of the residual stream.
        d_head: width of a head.
        draws: how many pairs.
        generator: source of the weights, which are drawn on its device.
    """
    weights = torch.randn(
        (draws, 4, 1, d_model, d_head),
        generator=generator,
        dtype=torch.float64,
        device=generator.device,
    )
    W_V, W_O, W_Q, W_K = weights.unbind(dim=1)
    return rearrange(_scores(Factors(W_V, W_O.mT), Factors(W_Q, W_K.mT)), "draw 1 1 -> draw")


def _scores(earlier: Factors, later: Factors) -> Float[Tensor, "*batch earlier later"]:
    """||A B||_F / (||A||_F ||B||_F) for each earlier A and later B; 0 if either is zero."""
    ends = (earlier.left.mT, earlier.right, later.left.mT, later.right)
    sizes = {end.shape[-1] for end in ends}
    if len(sizes) > 1:
        raise ValueError(
            f"circuits of one residual stream are needed, not of sizes {sorted(sizes)}"
        )
    # Orthonormal factors of the outer ends change no norm, so their triangles stand for them.
    before, after = triangle(earlier.left), triangle(later.right.mT).mT
    between = torch.einsum("...aed,...bdf->...abef", earlier.right, later.left)
    product = before.unsqueeze(-3) @ between @ after.unsqueeze(-4)
    norms = earlier.frobenius_norm().unsqueeze(-1) * later.frobenius_norm().unsqueeze(-2)
    return torch.where(norms > 0, torch.linalg.matrix_norm(product) / norms, 0.0)
