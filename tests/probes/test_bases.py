"""Bases against loops over numbers, the published example, and what each promises of its rows."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mechflow.probes.bases import (
    binary_basis,
    digit_basis,
    random_basis,
    random_fourier_basis,
    sinusoidal_basis,
)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(numbers=st.integers(2, 40), half=st.integers(1, 8))
def test_sinusoidal_basis_is_the_formula(numbers, half):
    basis = sinusoidal_basis(numbers, 2 * half)
    for n in range(numbers):
        for j in range(0, 2 * half, 2):
            omega = numbers ** (-j / (2 * half))
            assert basis[n, j].item() == pytest.approx(math.sin(n * omega), abs=1e-6)
            assert basis[n, j + 1].item() == pytest.approx(math.cos(n * omega), abs=1e-6)


def test_sinusoidal_basis_gives_the_published_example():
    # The example encodes -5, 2, 1 and 0 in the range -5 to 5: the numbers 0, 7, 6, 5 of 10.
    published = torch.tensor(
        [
            [0.0000, 1.0000, 0.0000, 1.0000, 0.0000, 1.0000],
            [0.6570, 0.7539, -0.1073, -0.9942, 0.9980, 0.0627],
            [-0.2794, 0.9602, 0.3491, -0.9371, 0.9616, 0.2746],
            [-0.9589, 0.2837, 0.7317, -0.6816, 0.8806, 0.4738],
        ]
    )
    found = sinusoidal_basis(10, 6)[[0, 7, 6, 5]]
    torch.testing.assert_close(found, published, rtol=0, atol=5e-5)


@given(numbers=st.integers(1, 1100))
def test_binary_rows_spell_their_number(numbers):
    basis = binary_basis(numbers, width=11)
    spelt = ["".join(str(int(bit)) for bit in row) for row in basis]
    assert spelt == [format(n, "011b") for n in range(numbers)]


def test_binary_basis_refuses_numbers_that_do_not_fit():
    assert binary_basis(1024).shape == (1024, 10)
    with pytest.raises(ValueError, match="1025 numbers do not fit into 10"):
        binary_basis(1025)


@given(numbers=st.integers(1, 1200), base=st.integers(2, 12))
def test_digit_rows_spell_their_number(numbers, base):
    basis = digit_basis(numbers, base)
    places = basis.shape[1] // base
    digits = basis.view(numbers, places, base)
    assert (digits.sum(-1) == 1).all()
    values = digits.argmax(-1) @ torch.tensor([base**p for p in reversed(range(places))])
    assert values.tolist() == list(range(numbers))
    assert places == 1 or base ** (places - 1) < numbers <= base**places


def test_digits_of_three_places():
    basis = digit_basis(1000)
    assert basis.shape == (1000, 30)
    assert basis[407].nonzero()[:, 0].tolist() == [4, 10, 27]


def test_random_fourier_basis_pairs_sines_with_cosines_of_one_frequency():
    basis = random_fourier_basis(50, 12, _generator()).double()
    frequencies = torch.atan2(basis[1, 0::2], basis[1, 1::2])
    assert ((frequencies > 0) & (frequencies < math.pi)).all()
    angles = torch.arange(50.0, dtype=torch.float64)[:, None] * frequencies
    torch.testing.assert_close(basis[:, 0::2], angles.sin(), rtol=0, atol=1e-5)
    torch.testing.assert_close(basis[:, 1::2], angles.cos(), rtol=0, atol=1e-5)


def test_random_frequencies_fill_the_range():
    basis = random_fourier_basis(2, 4000, _generator()).double()
    frequencies = torch.atan2(basis[1, 0::2], basis[1, 1::2]).sort().values
    uniform = math.pi * (torch.arange(2000) + 0.5) / 2000
    assert (frequencies - uniform).abs().max() < 0.15


def test_random_code_is_standard_normal_and_unrelated():
    code = random_basis(400, 300, _generator())
    assert abs(code.mean().item()) < 0.01
    assert abs(code.std().item() - 1) < 0.01
    similarity = torch.nn.functional.normalize(code) @ torch.nn.functional.normalize(code).T
    assert (similarity - torch.eye(400)).abs().max() < 0.35


@pytest.mark.parametrize("make", [random_basis, random_fourier_basis])
def test_random_bases_follow_their_generator(make):
    first, again, other = (make(20, 6, _generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    "make",
    [
        sinusoidal_basis,
        binary_basis,
        digit_basis,
        lambda n, w: random_basis(n, w, _generator()),
        lambda n, w: random_fourier_basis(n, w, _generator()),
    ],
)
def test_bases_are_float32_and_have_a_row_for_each_number(make):
    basis = make(30, 10)
    assert basis.dtype == torch.float32
    assert len(basis) == 30
    with pytest.raises(ValueError, match="numbers and columns"):
        make(0, 10)


def test_odd_widths_are_refused():
    with pytest.raises(ValueError, match="odd width of 5"):
        sinusoidal_basis(10, 5)
    with pytest.raises(ValueError, match="odd width of 5"):
        random_fourier_basis(10, 5, _generator())
