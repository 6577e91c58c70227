"""Fourier analysis along the number line: at which periods do mean states repeat?

The states of the numbers 0 .. N - 1 are taken as N samples of a function of n. A straight line in
each dimension is removed first, since a transform over an interval sees a trend as power at every
long period. Power is summed over dimensions and given as a share of what is left, so shares over
the frequencies k = 1 .. N // 2 sum to 1; frequency k has the period N / k.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mechflow.mean_states import require_all_numbers

PERIODS: tuple[int, ...] = (2, 5, 10, 100, 1000)
"""Periods of decimal digits and of parity; all divide 1000."""


ROUNDING = 1e-12
"""Variation smaller than this, beside the size of the states, is none."""


@dataclass(frozen=True)
class NumberSpectrum:
    """How the variance of the mean states over the numbers is spread."""

    share: Float[Tensor, " n_freq"]
    """Share of the variance without the trend at frequency k = 1 .. N // 2, at index k - 1."""
    trend_share: float
    """Share of the total variance that the straight lines explain."""
    numbers: int

    def at(self, period: int) -> float:
        """Share of the power at a period.

        Raises:
            ValueError: no frequency has exactly this period.
        """
        return float(self.share[frequency_of_period(period, self.numbers) - 1])


def number_spectrum(means: Float[Tensor, "numbers d"]) -> NumberSpectrum:
    """Spectrum of the mean states along the numbers, in float64.

    Without any variance, or any beside the trend, shares are 0.

    Raises:
        ValueError: there are fewer than three numbers, or a number has no mean state.
    """
    require_all_numbers(means)
    residual, trend_share = remove_trend(means)
    return NumberSpectrum(_shares(_power(residual, residual)), trend_share, len(means))


def cross_spectrum(
    first: Float[Tensor, "numbers d"], second: Float[Tensor, "numbers d"]
) -> Float[Tensor, " n_freq"]:
    """Shares of the power that two independent estimates of the mean states have in common.

    Noise of the means adds power to every frequency of `number_spectrum`. In the product of the
    transforms of means over two halves of the prompts it has expectation 0. Shares sum to 1, and
    one of no power scatters around 0, to both sides.

    Raises:
        ValueError: shapes differ, there are fewer than three numbers, a number has no mean state
            in one of the halves, or the halves have no power in common.
    """
    if first.shape != second.shape:
        raise ValueError(f"halves of shapes {tuple(first.shape)} and {tuple(second.shape)}")
    for half in (first, second):
        require_all_numbers(half)
    power = _power(remove_trend(first)[0], remove_trend(second)[0])
    if power.sum() <= 0:
        raise ValueError("the two halves have no power in common")
    return power / power.sum()


def permuted_shares(
    means: Float[Tensor, "numbers d"], draws: int, generator: torch.Generator
) -> Float[Tensor, "draws n_freq"]:
    """Shares after dealing the states out to the numbers at random: the null of no order.

    The states stay what they are. The trend is removed after each permutation, as it is from the
    states in order, so that what it takes away is the null's own.

    Raises:
        ValueError: as `number_spectrum`.
    """
    require_all_numbers(means)
    orders = (torch.randperm(len(means), generator=generator) for _ in range(draws))
    spectra = [number_spectrum(means[order.to(means.device)]).share for order in orders]
    return torch.stack(spectra) if spectra else means.new_zeros(0, len(means) // 2).double()


def remove_trend(means: Float[Tensor, "numbers d"]) -> tuple[Float[Tensor, "numbers d"], float]:
    """Residuals of the least-squares straight line in each dimension, and its share of variance.

    Raises:
        ValueError: there are fewer than three numbers, through which a line always passes.
    """
    if len(means) < 3:
        raise ValueError(f"a spectrum needs at least 3 numbers, not {len(means)}")
    centred = means.double() - means.double().mean(dim=0)
    n = torch.arange(len(means), dtype=torch.float64, device=means.device)
    line = torch.nn.functional.normalize(n - n.mean(), dim=0)
    slope = line @ centred
    residual = centred - torch.outer(line, slope)
    total, left = float(centred.square().sum()), float(residual.square().sum())
    rounding = ROUNDING**2 * float(means.double().square().sum())
    if left <= rounding:
        residual = torch.zeros_like(residual)
    return residual, float(slope.square().sum()) / total if total > rounding else 0.0


def frequency_of_period(period: int, numbers: int) -> int:
    """The k with N / k = period.

    Raises:
        ValueError: the period does not divide N, or is 1 or less.
    """
    if period < 2 or numbers % period:
        raise ValueError(f"{numbers} numbers have no frequency of period {period} exactly")
    return numbers // period


def periods(numbers: int) -> Float[Tensor, " n_freq"]:
    """Period N / k of each frequency."""
    return numbers / torch.arange(1, numbers // 2 + 1, dtype=torch.float64)


def shares_at(
    share: Float[Tensor, "*batch n_freq"], numbers: int, wanted: Sequence[int] = PERIODS
) -> Float[Tensor, "*batch n_periods"]:
    """Shares of power at some periods, for instance of permuted draws.

    Raises:
        ValueError: no frequency has exactly such a period.
    """
    index = [frequency_of_period(period, numbers) - 1 for period in wanted]
    return share[..., index]


def _power(
    first: Float[Tensor, "numbers d"], second: Float[Tensor, "numbers d"]
) -> Float[Tensor, " n_freq"]:
    """Sum over dimensions of the (cross) power at k = 1 .. N // 2, negative frequencies included.

    The transform is orthonormal. Every frequency counts for k and -k, but the Nyquist frequency of
    an even N, which is its own negative.
    """
    transforms = [torch.fft.rfft(x, dim=0, norm="ortho") for x in (first, second)]
    power = (transforms[0] * transforms[1].conj()).real.sum(dim=1)[1:]
    sides = torch.full_like(power, 2.0)
    if len(first) % 2 == 0:
        sides[-1] = 1.0
    return sides * power


def _shares(power: Float[Tensor, " n_freq"]) -> Float[Tensor, " n_freq"]:
    total = power.sum()
    return power / total if total > 0 else torch.zeros_like(power)
