"""Binary and ternary weights against their definitions, and their straight-through gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mechflow.models.quantise import levels, quantise


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0)) * 0.1 + 0.03


def test_binary_is_the_sign_of_the_centred_matrix(weight: torch.Tensor) -> None:
    expected = (weight - weight.mean()).sign()
    assert torch.equal(quantise(weight, "binary", scale=False), expected)


def test_binary_is_not_the_sign_of_the_latent_matrix_that_the_notebook_plotted(
    weight: torch.Tensor,
) -> None:
    assert not torch.equal(quantise(weight, "binary", scale=False), weight.sign())


def test_scaled_binary_has_the_mean_latent_magnitude(weight: torch.Tensor) -> None:
    scaled = quantise(weight, "binary", scale=True)
    torch.testing.assert_close(scaled.abs(), weight.abs().mean().expand_as(weight))


def test_ternary_rounds_the_centred_matrix_in_units_of_its_mean_magnitude(
    weight: torch.Tensor,
) -> None:
    centred = weight - weight.mean()
    unit = centred.abs().mean()
    expected = torch.where(centred.abs() <= unit / 2, 0.0, centred.sign())
    assert torch.equal(quantise(weight, "ternary", scale=False), expected)
    torch.testing.assert_close(quantise(weight, "ternary", scale=True), expected * unit)


def test_full_precision_is_untouched(weight: torch.Tensor) -> None:
    assert quantise(weight, "full", scale=False) is weight


@pytest.mark.parametrize("precision", ["binary", "ternary"])
@pytest.mark.parametrize("scale", [False, True])
def test_each_replicate_of_a_stack_is_quantised_on_its_own(
    weight: torch.Tensor, precision: str, scale: bool
) -> None:
    stacked = quantise(weight, precision, scale=scale, stacked=True)
    alone = torch.stack([quantise(w, precision, scale=scale) for w in weight])
    torch.testing.assert_close(stacked, alone, rtol=0, atol=1e-7)


@pytest.mark.parametrize("precision", ["binary", "ternary"])
@pytest.mark.parametrize("scale", [False, True])
def test_gradient_is_that_of_the_centred_weights(
    weight: torch.Tensor, precision: str, scale: bool
) -> None:
    upstream = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    latent = weight.clone().requires_grad_()
    quantise(latent, precision, scale=scale).backward(upstream)
    torch.testing.assert_close(latent.grad, upstream - upstream.mean())


def test_value_is_exact_despite_the_straight_through_term(weight: torch.Tensor) -> None:
    values = quantise(weight.requires_grad_(), "binary", scale=False)
    assert set(values.flatten().tolist()) == {-1.0, 1.0}


def test_a_constant_matrix_quantises_to_zero_without_dividing_by_zero() -> None:
    assert torch.equal(quantise(torch.ones(3, 3), "ternary", scale=True), torch.zeros(3, 3))


@given(st.floats(0.125, 8.0, width=16), st.integers(0, 2**31 - 1))
def test_levels_do_not_depend_on_the_scale_of_the_latent_weights(factor: float, seed: int) -> None:
    weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for precision in ("full", "binary", "ternary"):
        assert torch.equal(levels(weight * factor, precision), levels(weight, precision))
