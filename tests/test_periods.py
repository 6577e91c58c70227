"""Spectra along the numbers: planted waves, Parseval, the slow transform, and the permuted null."""

import math

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mechflow import fourier
from mechflow.periods import (
    PERIODS,
    cross_spectrum,
    frequency_of_period,
    number_spectrum,
    periods,
    permuted_shares,
    remove_trend,
    shares_at,
)


@pytest.fixture
def no_type_checks():
    """What a user meets who has not switched them on, as these tests do."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def _noise(numbers, d, seed=0):
    return torch.randn(numbers, d, generator=torch.Generator().manual_seed(seed)).double()


def _wave(numbers, period, phase=0.4):
    n = torch.arange(numbers).double()
    return (2 * math.pi * n / period + phase).cos()[:, None]


@given(st.integers(3, 41), st.integers(1, 5), st.integers(0, 2**20))
@settings(deadline=None)
def test_shares_sum_to_one_and_equal_the_slow_transform(numbers, d, seed):
    means = _noise(numbers, d, seed)
    found = number_spectrum(means)
    assert len(found.share) == numbers // 2
    assert float(found.share.sum()) == pytest.approx(1)
    slow = fourier.frequency_power(fourier.transform_1d(remove_trend(means)[0]), share=True)
    torch.testing.assert_close(found.share, slow, rtol=1e-9, atol=1e-12)


@given(st.integers(3, 30), st.integers(0, 2**20))
@settings(deadline=None)
def test_the_trend_is_that_of_polyfit(numbers, seed):
    means = _noise(numbers, 3, seed) + 10
    residual, share = remove_trend(means)
    n = np.arange(numbers)
    line = np.stack([np.polyval(np.polyfit(n, y, 1), n) for y in means.numpy().T], axis=1)
    np.testing.assert_allclose(residual, means.numpy() - line, atol=1e-9)
    expected = np.square(line - line.mean(axis=0)).sum() / means.numpy().var(axis=0).sum() / numbers
    assert share == pytest.approx(expected, abs=1e-9)


def test_planted_waves_have_their_share_of_the_power():
    """Waves of whole periods are orthogonal; their power is amplitude² / 2, without the 2 at N / 2.

    The line takes away a little of each, and more of a long one.
    """
    numbers = 1000
    trend = torch.linspace(-1, 1, numbers).double()[:, None]
    parts = [_wave(numbers, 2, phase=0), 2 * _wave(numbers, 10), 3 * _wave(numbers, 100)]
    directions = torch.linalg.qr(_noise(6, 4)).Q.T
    means = torch.cat([*parts, 50 * trend], dim=1) @ directions + 7
    found = number_spectrum(means)
    power = torch.tensor([1.0, 4 / 2, 9 / 2]).double()
    shares = torch.tensor([found.at(period) for period in (2, 10, 100)])
    torch.testing.assert_close(shares.double(), power / power.sum(), rtol=3e-3, atol=0)
    assert found.at(5) < 1e-4
    assert found.trend_share == pytest.approx(2500 / 3 / (2500 / 3 + 7.5), rel=1e-2)
    assert int(found.share.argmax()) + 1 == frequency_of_period(100, numbers)


def test_rotating_or_shifting_the_states_changes_nothing():
    means = _noise(60, 4)
    rotation = torch.linalg.qr(_noise(4, 4, seed=1)).Q
    torch.testing.assert_close(
        number_spectrum(means @ rotation + 100).share, number_spectrum(means).share
    )


@pytest.mark.parametrize("numbers", [1000, 100, 7])
def test_periods_belong_to_their_frequencies(numbers):
    found = periods(numbers)
    assert len(found) == numbers // 2
    for period in PERIODS:
        if numbers % period == 0:
            assert float(found[frequency_of_period(period, numbers) - 1]) == period


@pytest.mark.parametrize(("period", "numbers"), [(3, 1000), (1000, 900), (1, 10), (0, 10)])
def test_a_period_between_two_frequencies_is_refused(period, numbers):
    with pytest.raises(ValueError, match=f"{numbers} numbers have no frequency of period {period}"):
        frequency_of_period(period, numbers)


def test_permuted_states_have_no_period():
    numbers = 200
    means = torch.cat([_wave(numbers, 10), _wave(numbers, 100), _noise(numbers, 3)], dim=1)
    null = permuted_shares(means, 40, torch.Generator().manual_seed(0))
    assert null.shape == (40, 100)
    torch.testing.assert_close(null.sum(dim=1), torch.ones(40).double())
    at_ten = shares_at(null, numbers, [10, 2])
    assert number_spectrum(means).at(10) > 5 * float(at_ten[:, 0].max())
    # Two of numbers - 1 dimensions belong to a frequency, one to the last.
    assert float(at_ten[:, 0].mean()) == pytest.approx(2 / 199, rel=0.25)
    assert float(at_ten[:, 1].mean()) == pytest.approx(1 / 199, rel=0.35)
    again = permuted_shares(means, 2, torch.Generator().manual_seed(0))
    assert torch.equal(again, null[:2])
    assert permuted_shares(means, 0, torch.Generator()).shape == (0, 100)


def test_the_trend_is_removed_after_the_permutation():
    """Of a straight line nothing is left in order, and everything out of order."""
    line = torch.arange(50).double()[:, None]
    assert not number_spectrum(line).share.any()
    null = permuted_shares(line, 3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(null.sum(dim=1), torch.ones(3).double())


def test_noise_of_the_means_cancels_between_halves():
    numbers, signal = 500, 3 * _wave(500, 10).expand(500, 20)
    halves = [signal + 3 * _noise(numbers, 20, seed) for seed in (1, 2)]
    plain = number_spectrum(halves[0]).at(10)
    crossed = cross_spectrum(*halves)
    assert plain < 0.4
    assert float(shares_at(crossed, numbers, [10])) == pytest.approx(1, abs=0.05)
    assert float(crossed.sum()) == pytest.approx(1)
    assert float(crossed.min()) < 0


def test_cross_spectrum_of_equal_halves_is_the_spectrum():
    means = _noise(31, 4)
    torch.testing.assert_close(cross_spectrum(means, means), number_spectrum(means).share)
    with pytest.raises(ValueError, match="no power in common"):
        cross_spectrum(means, -means)


def test_states_that_do_not_vary_have_no_power():
    constant = torch.full((20, 3), 0.1).double() + 1e-15 * _noise(20, 3)
    found = number_spectrum(constant)
    assert found.trend_share == 0
    assert not found.share.any()
    line = number_spectrum(torch.arange(20)[:, None] * torch.tensor([[0.1, 3.0]]) + 1e3)
    assert line.trend_share == pytest.approx(1, abs=1e-6)


def test_numbers_that_were_never_seen_are_named():
    means = _noise(1000, 2)
    means[[3, 997]] = torch.nan
    for analyse in (number_spectrum, lambda x: permuted_shares(x, 1, torch.Generator())):
        with pytest.raises(ValueError, match=r"2 of 1000 numbers .* \(3, 997\): every number must"):
            analyse(means)
    with pytest.raises(ValueError, match="at least 3 numbers, not 2"):
        number_spectrum(_noise(2, 1))


def test_halves_of_different_shapes_are_refused(no_type_checks):
    with pytest.raises(ValueError, match=r"shapes \(31, 4\) and \(30, 4\)"):
        cross_spectrum(_noise(31, 4), _noise(30, 4))
