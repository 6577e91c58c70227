import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mechflow import fourier

moduli = st.integers(min_value=3, max_value=24)
definitions = st.sampled_from(["sum_directions", "block_2x2", "all_products_of_frequency"])
seeds = st.integers(min_value=0, max_value=2**32)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def directions_of(p: int, k: int, definition: str, sign: int) -> Tensor:
    """Rows that span frequency k, from outer products of basis rows only."""
    basis, frequency = fourier.fourier_basis(p), fourier.component_frequency(p)
    if definition == "sum_directions":
        angle = 2 * math.pi * k / p
        a, b = (torch.arange(p * p) // p).double(), (torch.arange(p * p) % p).double()
        waves = [torch.cos(angle * (a + sign * b)), torch.sin(angle * (a + sign * b))]
        return torch.stack([wave / wave.norm() for wave in waves if wave.norm() > 1e-6])
    allowed = (frequency == k) | ((frequency == 0) & (definition == "all_products_of_frequency"))
    rows = torch.nonzero(allowed).flatten().tolist()
    products = [torch.outer(basis[i], basis[j]).flatten() for i in rows for j in rows if i or j]
    return torch.stack(products)


@given(moduli)
@settings(deadline=None)
def test_basis_is_orthonormal(p: int) -> None:
    basis = fourier.fourier_basis(p)
    assert basis.shape == (p, p)
    torch.testing.assert_close(basis @ basis.T, torch.eye(p, dtype=torch.float64))


def test_basis_has_no_duplicated_frequency_like_the_notebook() -> None:
    p = 113
    x = torch.arange(p).double()
    waves = [
        wave(2 * math.pi * k * x / p)
        for k in range(1, p // 2 + 2)
        for wave in (torch.cos, torch.sin)
    ]
    notebook = torch.stack([torch.ones(p).double(), *waves])
    assert len(notebook) == p + 2
    torch.testing.assert_close(notebook[-2], notebook[-4])  # frequency 57 is frequency 56
    assert torch.linalg.matrix_rank(notebook) == p

    basis = fourier.fourier_basis(p)
    assert len(basis) == p == torch.linalg.matrix_rank(basis)
    _, rows = fourier.component_frequency(p).unique(return_counts=True)
    assert rows.tolist() == [1] + [2] * 56


@pytest.mark.parametrize("p", [7, 8])
def test_rows_are_the_waves_that_their_labels_name(p: int) -> None:
    x = np.arange(p)
    for row, label in zip(fourier.fourier_basis(p), fourier.component_labels(p), strict=True):
        name, _, k = label.partition(" ")
        wave = getattr(np, name)(2 * np.pi * int(k) * x / p) if k else np.ones(p)
        np.testing.assert_allclose(row, wave / np.linalg.norm(wave), atol=1e-12)
    labels = [label.rpartition(" ")[2] for label in fourier.component_labels(p)[1:]]
    assert [int(k) for k in labels] == fourier.component_frequency(p)[1:].tolist()


def test_even_modulus_has_one_row_at_the_nyquist_frequency() -> None:
    assert fourier.frequencies(8).tolist() == [1, 2, 3, 4]
    assert fourier.component_labels(8)[-2:] == ["sin 3", "cos 4"]
    alternating = torch.tensor([1.0, -1.0] * 4).double() / math.sqrt(8)
    torch.testing.assert_close(fourier.fourier_basis(8)[-1], alternating)


def test_a_modulus_below_two_is_refused() -> None:
    with pytest.raises(ValueError, match="p >= 2"):
        fourier.fourier_basis(1)


@given(moduli, seeds)
@settings(max_examples=25, deadline=None)
def test_transforms_invert_and_keep_sums_of_squares(p: int, seed: int) -> None:
    line, plane = normal(seed, 2, p, 3), normal(seed, 2, p * p, 3)
    spectrum_1d, spectrum_2d = fourier.transform_1d(line), fourier.transform_2d(plane, p)
    torch.testing.assert_close(fourier.inverse_1d(spectrum_1d), line)
    torch.testing.assert_close(fourier.inverse_2d(spectrum_2d), plane)
    torch.testing.assert_close(spectrum_1d.square().sum(1), line.square().sum(1))
    torch.testing.assert_close(spectrum_2d.square().sum((1, 2)), plane.square().sum(1))


@pytest.mark.parametrize("p", [9, 10])
def test_transform_1d_agrees_with_numpy_rfft(p: int) -> None:
    values = normal(0, p, 4)
    spectrum = fourier.transform_1d(values)
    reference = np.fft.rfft(values.numpy(), axis=0)
    np.testing.assert_allclose(spectrum[0], reference[0].real / math.sqrt(p))
    for k in range(1, (p - 1) // 2 + 1):
        np.testing.assert_allclose(spectrum[2 * k - 1], reference[k].real * math.sqrt(2 / p))
        np.testing.assert_allclose(spectrum[2 * k], -reference[k].imag * math.sqrt(2 / p))
    if p % 2 == 0:
        np.testing.assert_allclose(spectrum[-1], reference[-1].real / math.sqrt(p))


@pytest.mark.parametrize("p", [9, 10])
def test_transform_2d_has_the_power_of_numpy_rfft2(p: int) -> None:
    values = normal(1, p * p, 2)
    power = fourier.transform_2d(values, p).square()
    full = np.abs(np.fft.fft2(values.reshape(p, p, 2).numpy(), axes=(0, 1))) ** 2 / p**2
    half = np.abs(np.fft.rfft2(values.reshape(p, p, 2).numpy(), axes=(0, 1))) ** 2 / p**2
    frequency = fourier.component_frequency(p).numpy()
    folded = np.minimum(np.arange(p), p - np.arange(p))
    for k in range(p // 2 + 1):
        for m in range(p // 2 + 1):
            ours = power[frequency == k][:, frequency == m].sum((0, 1))
            np.testing.assert_allclose(ours, full[folded == k][:, folded == m].sum((0, 1)))
            twins = 1 if m in (0, p / 2) else 2
            np.testing.assert_allclose(ours, twins * half[folded == k][:, m].sum(0))


def test_transform_2d_is_two_1d_transforms_in_either_order() -> None:
    p, values = 7, normal(2, 3, 49, 2)
    basis = fourier.fourier_basis(p)
    grid = values.reshape(3, p, p, 2)
    by_definition = torch.stack(
        [
            torch.stack(
                [(torch.outer(row, column)[..., None] * grid).sum((1, 2)) for column in basis], 1
            )
            for row in basis
        ],
        1,
    )
    torch.testing.assert_close(fourier.transform_2d(values, p), by_definition)


@given(moduli, seeds)
@settings(max_examples=25, deadline=None)
def test_frequency_power_is_the_sum_over_its_rows(p: int, seed: int) -> None:
    spectrum = normal(seed, 2, p, 3)
    power = fourier.frequency_power(spectrum)
    for k in range(1, p // 2 + 1):
        rows = spectrum[:, 2 * k - 1 : 2 * k + 1]
        torch.testing.assert_close(power[:, k - 1], rows.square().sum((1, 2)))
    share = fourier.frequency_power(spectrum, share=True)
    torch.testing.assert_close(share.sum(-1), torch.ones(2).double())


def test_power_share_of_a_constant_is_zero() -> None:
    spectrum = fourier.transform_1d(torch.zeros(5, 2))
    assert fourier.frequency_power(spectrum, share=True).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("p", [7, 8])
def test_sum_directions_are_the_published_products(p: int, sign: int) -> None:
    basis = fourier.fourier_basis(p)
    for k in range(1, (p - 1) // 2 + 1):
        cos, sin = basis[2 * k - 1], basis[2 * k]
        expected = torch.stack(
            [
                torch.outer(cos, cos) - sign * torch.outer(sin, sin),
                torch.outer(sin, cos) + sign * torch.outer(cos, sin),
            ]
        ).flatten(1) / math.sqrt(2)
        torch.testing.assert_close(fourier.sum_directions(p, k, sign), expected)


@given(moduli, seeds, definitions, st.sampled_from([1, -1]))
@settings(max_examples=60, deadline=None)
def test_fast_projection_equals_explicit_directions(
    p: int, seed: int, definition: fourier.Definition, sign: int
) -> None:
    values = normal(seed, 2, p * p, 3)
    mask = normal(seed + 1, 2, p // 2) > 0
    spectra = fourier.direction_spectra(values, p, definition, sign)
    fast, power = spectra.combine(mask), spectra.power()
    slow = torch.zeros_like(values)
    for k in range(1, p // 2 + 1):
        rows = directions_of(p, k, definition, sign)
        torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows), dtype=torch.float64))
        part = fourier.project_on_directions(values, rows)
        slow += part * mask[:, k - 1, None, None]
        torch.testing.assert_close(power[:, k - 1], part.square().sum(1))
    torch.testing.assert_close(fast, slow)


@given(moduli)
@settings(max_examples=10, deadline=None)
def test_block_2x2_contains_both_kinds_of_sum_directions(p: int) -> None:
    for k in range(1, p // 2 + 1):
        block = fourier.block_2x2(p, k)
        torch.testing.assert_close(block, directions_of(p, k, "block_2x2", 1))
        for sign in (1, -1):
            rows = fourier.sum_directions(p, k, sign)
            torch.testing.assert_close(rows @ block.T @ block, rows)


@given(moduli, seeds)
@settings(max_examples=10, deadline=None)
def test_replicates_with_their_own_masks_equal_one_by_one(p: int, seed: int) -> None:
    values, mask = normal(seed, 3, p * p, 2), normal(seed, 3, p // 2) > 0
    together = fourier.direction_spectra(values, p, "block_2x2").combine(mask)
    for replicate in range(3):
        alone = fourier.direction_spectra(values[replicate], p, "block_2x2").combine(
            mask[replicate]
        )
        torch.testing.assert_close(together[replicate], alone)


def test_projection_refuses_a_wrong_number_of_pairs() -> None:
    with pytest.raises(ValueError, match="expected 25 pairs"):
        fourier.direction_spectra(torch.zeros(24, 2), 5)


@given(moduli, seeds)
@settings(max_examples=25, deadline=None)
def test_fraction_explained_is_the_3x3_block_of_the_2d_spectrum(p: int, seed: int) -> None:
    activations = normal(seed, 2, p * p, 3) + 5
    power = fourier.transform_2d(activations, p).square()
    power[:, 0, 0] = 0
    fraction = fourier.neuron_fraction_explained(activations, p)
    for k in range(1, p // 2 + 1):
        block = [0, *range(2 * k - 1, min(2 * k + 1, p))]
        expected = power[:, block][:, :, block].sum((1, 2)) / power.sum((1, 2))
        torch.testing.assert_close(fraction[:, k - 1], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neurons_that_do_not_vary_explain_nothing(dtype: torch.dtype) -> None:
    p = 11
    constant = torch.tensor([0.0, 0.1, -123.456, 1e6], dtype=dtype).expand(p * p, 4)
    assert fourier.neuron_fraction_explained(constant, p).eq(0).all()
    small_wave = 100 + 0.1 * fourier.sum_directions(p, 2)[0].to(dtype).unsqueeze(1)
    assert fourier.neuron_fraction_explained(small_wave, p)[1].item() == pytest.approx(1, abs=1e-3)


def test_neurons_are_assigned_to_the_frequency_that_explains_them() -> None:
    p = 11
    waves = [fourier.sum_directions(p, k)[0] for k in (2, 5)]
    mixed = (waves[0] + waves[1]) / math.sqrt(2)
    one_letter = fourier.fourier_basis(p)[3].repeat_interleave(p)  # cos 2 of a, any b
    neurons = torch.stack([waves[1], mixed, one_letter, torch.ones(p * p).double()], dim=-1)
    fraction = fourier.neuron_fraction_explained(neurons, p)
    torch.testing.assert_close(fraction[[1, 4], 1], torch.full((2,), 0.5).double())
    clusters = fourier.neuron_clusters(fraction)
    assert clusters.tolist() == [5, 0, 2, 0]
    assert fourier.neuron_clusters(fraction, threshold=0.4)[1].item() in (2, 5)
    assert fourier.cluster_sizes(clusters, p).tolist() == [0, 1, 0, 0, 1]


def test_norm_ratio_compares_norms_not_powers() -> None:
    norms = torch.tensor([[8.0, 2.1, 1.9, 4.0], [1.0, 0.2, 0.3, 0.0]])
    key = fourier.key_frequencies(norms.square(), "norm_ratio")
    assert key.tolist() == [[True, True, False, True], [True, False, True, False]]
    assert fourier.key_frequencies(norms.square(), "norm_ratio", ratio=0.6).sum(-1).tolist() == [
        1,
        1,
    ]


@given(
    st.lists(st.floats(min_value=0, max_value=10), min_size=1, max_size=8),
    st.floats(min_value=0.05, max_value=1.0),
)
@settings(deadline=None)
def test_power_share_is_the_smallest_set_that_suffices(powers: list[float], share: float) -> None:
    power = torch.tensor(powers, dtype=torch.float64)
    chosen = fourier.key_frequencies(power, "power_share", share=share)
    wanted, held = share * power.sum().item(), power[chosen].sum().item()
    assert held >= wanted - 1e-9
    if chosen.any():
        assert held - power[chosen].min().item() <= wanted + 1e-9
        assert power[chosen].min() >= torch.cat([power[~chosen], torch.zeros(1)]).max()


def test_neuron_cluster_rule_counts_neurons() -> None:
    sizes = torch.tensor([[0, 4, 5], [9, 1, 0]])
    key = fourier.key_frequencies(sizes, "neuron_clusters", min_neurons=5)
    assert key.tolist() == [[False, False, True], [True, False, False]]


def test_rules_find_nothing_without_power() -> None:
    assert not fourier.key_frequencies(torch.zeros(4), "norm_ratio").any()
    assert not fourier.key_frequencies(torch.zeros(4), "power_share").any()
