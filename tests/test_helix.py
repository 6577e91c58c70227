"""Fits of helices and digits to mean states: planted structure, least squares, held-out scores."""

import itertools
import math

import jaxtyping
import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from mechflow.helix import (
    HELIX_PERIODS,
    basis_scores,
    circle_periods,
    digit_basis,
    digit_circle_basis,
    helix_basis,
    permuted_basis_scores,
)


@pytest.fixture
def no_type_checks():
    """What a user meets who has not switched them on, as these tests do."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def _noise(numbers, d, seed=0):
    return torch.randn(numbers, d, generator=torch.Generator().manual_seed(seed)).double()


def _folds(numbers, k=5, seed=0):
    block = torch.randperm(numbers, generator=torch.Generator().manual_seed(seed)) % k
    test = torch.stack([block == fold for fold in range(k)])
    return ~test, test


def test_helix_columns_are_the_line_and_the_waves():
    basis = helix_basis(200, HELIX_PERIODS)
    n = np.arange(200)
    waves = [f(2 * np.pi * n / T) for T, f in itertools.product((5, 10, 100), (np.cos, np.sin))]
    expected = np.stack([2 * n / 199 - 1, np.cos(np.pi * n), *waves], axis=1)
    np.testing.assert_allclose(basis, expected, atol=1e-9)


@pytest.mark.parametrize("harmonics", [1, 2, 3, 4, 5])
def test_bases_compared_have_nearly_equal_rank(harmonics):
    numbers = 1000
    train, test = _folds(numbers, 2)
    helix = helix_basis(numbers, circle_periods(range(3), harmonics))
    digits = digit_circle_basis(numbers, range(3), harmonics)
    ranks = [basis_scores(_noise(numbers, 1), b, train, test).rank for b in (helix, digits)]
    assert ranks[1] == digits.shape[1] == (27 if harmonics == 5 else 6 * harmonics)
    assert ranks[0] == helix.shape[1] == (30 if harmonics == 5 else 6 * harmonics + 1)


def test_five_harmonics_of_the_digits_span_all_functions_of_each_digit():
    train, test = _folds(300)
    means = _noise(300, 3)
    circles = basis_scores(means, digit_circle_basis(300, range(3), 5), train, test)
    one_hot = basis_scores(means, digit_basis(300, range(3)), train, test)
    assert circles.rank == one_hot.rank == 9 + 9 + 2  # three digits occur in the hundreds
    torch.testing.assert_close(circles.train, one_hot.train, rtol=1e-9, atol=1e-9)


def test_one_hot_digits_sum_back_to_the_number():
    basis = digit_basis(1000, [2, 0, 1])
    weights = torch.cat([torch.arange(10.0) * place for place in (100, 1, 10)]).double()
    torch.testing.assert_close(basis @ weights, torch.arange(1000).double())
    assert (basis.sum(dim=1) == 3).all()


def test_circles_of_the_ones_are_those_of_the_helix():
    ones = digit_circle_basis(100, [0], 5)
    torch.testing.assert_close(helix_basis(100, circle_periods([0], 5))[:, 1:], ones)


def test_scores_are_those_of_ordinary_least_squares():
    numbers = 60
    means, basis = _noise(numbers, 4) + 3, helix_basis(numbers, [7.0, 20.0])
    train, test = _folds(numbers, 3)
    found = basis_scores(means, basis, train, test)
    for fold in range(3):
        oracle = LinearRegression().fit(basis[train[fold]], means[train[fold]])
        residual = means.numpy() - oracle.predict(basis)
        centred = means.numpy() - means[train[fold]].mean(dim=0).numpy()
        for mask, value in ((train[fold], found.train[fold]), (test[fold], found.test[fold])):
            expected = 1 - np.square(residual[mask]).sum() / np.square(centred[mask]).sum()
            assert float(value) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("truth", ["helix", "digits"])
def test_the_basis_that_made_the_states_explains_them_and_its_rival_does_not(truth):
    numbers = 1000
    bases = {
        "helix": helix_basis(numbers, circle_periods(range(3), 1)),
        "digits": digit_circle_basis(numbers, range(3), 1),
    }
    means = bases[truth][:, -4:] @ _noise(4, 12) + 0.01 * _noise(numbers, 12, 1)
    train, test = _folds(numbers)
    scores = {name: basis_scores(means, b, train, test).test for name, b in bases.items()}
    rival = scores[next(name for name in bases if name != truth)]
    assert float(scores[truth].min()) > 0.999
    assert float(rival.max()) < 0.98


def test_permuted_states_are_explained_worse_than_by_their_mean():
    means, basis = helix_basis(200, HELIX_PERIODS) @ _noise(8, 6), helix_basis(200, HELIX_PERIODS)
    train, test = _folds(200)
    generator = torch.Generator().manual_seed(0)
    null = permuted_basis_scores(means, basis, train, test, 10, generator)
    assert null.shape == (10, 5)
    assert float(null.mean()) < 0
    assert float(basis_scores(means, basis, train, test).test.min()) > 0.999
    assert permuted_basis_scores(means, basis, train, test, 0, generator).shape == (0, 5)


def test_dependent_columns_change_nothing():
    means, basis = _noise(50, 2), helix_basis(50, [5.0])
    train, test = _folds(50)
    plain = basis_scores(means, basis, train, test)
    doubled = basis_scores(means, torch.cat([basis, basis[:, :2]], dim=1), train, test)
    torch.testing.assert_close(plain.test, doubled.test, rtol=1e-9, atol=1e-9)
    assert doubled.rank == plain.rank == 3


def test_bad_input_is_refused(no_type_checks):
    means, basis = _noise(20, 2), helix_basis(20, [5.0])
    train, test = _folds(20)
    with pytest.raises(ValueError, match="have shapes"):
        basis_scores(means, basis[:10], train, test)
    with pytest.raises(ValueError, match="no train numbers or no test numbers"):
        basis_scores(means, basis, train, torch.zeros_like(test))
    means[4] = math.nan
    with pytest.raises(ValueError, match=r"\(4\)"):
        basis_scores(means, basis, train, test)
    for harmonics in (0, 6):
        with pytest.raises(ValueError, match=f"harmonics 1 .. 5, not {harmonics}"):
            circle_periods(range(3), harmonics)
        with pytest.raises(ValueError, match=f"harmonics 1 .. 5, not {harmonics}"):
            digit_circle_basis(100, [0, 1], harmonics)
