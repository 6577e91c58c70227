import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mechflow import svd
from mechflow.fourier import fourier_basis


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_singular_values_agree_with_numpy_for_stacks() -> None:
    matrix = normal(0, 2, 3, 7, 4)
    expected = np.linalg.svd(matrix.numpy(), compute_uv=False)
    np.testing.assert_allclose(svd.singular_values(matrix), expected)


def test_directions_rebuild_the_matrix_and_truncate() -> None:
    matrix = normal(1, 2, 7, 4)
    left, values, right = svd.principal_directions(matrix)
    torch.testing.assert_close(left * values.unsqueeze(-2) @ right, matrix)
    short = svd.principal_directions(matrix, count=2)
    assert [part.shape for part in short] == [(2, 7, 2), (2, 2), (2, 2, 4)]
    torch.testing.assert_close(short.U, left[..., :2])


def test_signs_do_not_depend_on_the_solver() -> None:
    """Factors with any signs come back with the same signs."""
    waves = fourier_basis(13)[[2, 5, 8]].T  # sines: max and min are equal in size
    right = torch.linalg.qr(normal(2, 5, 5)).Q[:3]
    scale = torch.tensor([3.0, 2.0, 1.0]).double()
    found = []
    for flips in ([1, 1, 1], [-1, 1, -1], [-1, -1, -1]):
        sign = torch.tensor(flips).double()
        # Rounding differs between these products although the matrix is the same.
        found.append(svd.principal_directions((waves * sign * scale) @ (sign[:, None] * right), 3))
    for other in found[1:]:
        torch.testing.assert_close(other.U, found[0].U)
        torch.testing.assert_close(other.Vh, found[0].Vh)
    negated = svd.principal_directions(-(waves * scale) @ right, 3)
    torch.testing.assert_close(negated.U, found[0].U)
    torch.testing.assert_close(negated.Vh, -found[0].Vh)


def test_signs_of_waves_do_not_depend_on_rounding() -> None:
    """A sine reaches its maximum and its minimum, so its largest entry has either sign."""
    rank_one = torch.outer(fourier_basis(13)[2], torch.ones(3).double())
    reference = svd.principal_directions(rank_one, 1)
    for seed in range(20):
        noisy = svd.principal_directions(rank_one + 1e-9 * normal(seed, 13, 3), 1)
        torch.testing.assert_close(noisy.U, reference.U, atol=1e-7, rtol=0)
        torch.testing.assert_close(noisy.Vh, reference.Vh, atol=1e-7, rtol=0)


def test_effective_rank_follows_its_definition() -> None:
    values = normal(3, 4, 6).abs()
    share = (values / values.sum(-1, keepdim=True)).numpy()
    expected = np.exp(-(share * np.log(share)).sum(-1))
    np.testing.assert_allclose(svd.effective_rank(values), expected)


@pytest.mark.parametrize("rank_of", [svd.effective_rank, svd.participation_ratio])
def test_ranks_of_projections_count_dimensions(rank_of) -> None:  # type: ignore[no-untyped-def]
    values = torch.tensor([[2.0, 2, 2, 0], [5, 0, 0, 0], [0, 0, 0, 0]])
    torch.testing.assert_close(rank_of(values), torch.tensor([3.0, 1, 0]).double())
    torch.testing.assert_close(rank_of(7 * values), rank_of(values))


def test_participation_ratio_and_explained_variance_follow_their_definitions() -> None:
    values = normal(4, 5).abs()
    torch.testing.assert_close(
        svd.participation_ratio(values), values.square().sum() ** 2 / values.pow(4).sum()
    )
    torch.testing.assert_close(
        svd.explained_variance(values), values.square() / values.square().sum()
    )
    assert svd.explained_variance(torch.zeros(3)).tolist() == [0, 0, 0]


def test_gaussian_control_keeps_shape_type_and_each_norm() -> None:
    matrix = normal(5, 3, 6, 4).float() * torch.tensor([1.0, 10, 0]).view(3, 1, 1)
    control = svd.gaussian_control(matrix, torch.Generator().manual_seed(0))
    assert control.shape == matrix.shape
    assert control.dtype == matrix.dtype
    torch.testing.assert_close(control.flatten(1).norm(dim=1), matrix.flatten(1).norm(dim=1))
    assert not torch.allclose(control[0] / control[0].norm(), control[1] / control[1].norm())
    again = svd.gaussian_control(matrix, torch.Generator().manual_seed(0))
    assert torch.equal(control, again)


@given(
    st.lists(st.floats(min_value=0, max_value=1e3), min_size=1, max_size=12).filter(
        lambda values: sum(values) > 1e-3
    )
)
@settings(deadline=None)
def test_gini_equals_the_mean_difference_over_all_pairs(values: list[float]) -> None:
    x = np.array(values)
    expected = np.abs(x[:, None] - x).sum() / (2 * len(x) * x.sum())
    assert svd.gini(torch.tensor(values)).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("n", [1, 2, 5, 113])
def test_gini_of_equal_values_and_of_a_single_one(n: int) -> None:
    one_hot = torch.zeros(n)
    one_hot[n // 2] = 3
    stacked = torch.stack([torch.full((n,), 0.7), one_hot, torch.zeros(n)])
    expected = torch.tensor([0, (n - 1) / n, 0]).double()
    torch.testing.assert_close(svd.gini(stacked), expected, atol=1e-12, rtol=1e-6)


def test_gini_refuses_negative_values() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        svd.gini(torch.tensor([1.0, -1.0]))


def test_a_random_square_matrix_has_less_than_full_effective_rank() -> None:
    rank = svd.effective_rank(svd.singular_values(normal(6, 50, 50))).item()
    assert 1 < rank < 50
    assert math.isclose(svd.effective_rank(torch.ones(50)).item(), 50, rel_tol=1e-9)
