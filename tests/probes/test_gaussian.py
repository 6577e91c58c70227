"""Gaussian control features: the moments of the states, and no trace of how numbers are related."""

import pytest
import torch

from mechflow.probes.gaussian import covariance_components, gaussian_features


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _states(numbers=2000, prompts=10, d=4, seed=0):
    generator = _generator(seed)
    labels = torch.arange(numbers).repeat_interleave(prompts)
    mix = torch.randn(2, d, d, generator=generator)
    named = torch.randn(numbers, d, generator=generator) @ mix[0]
    noise = 0.5 * torch.randn(len(labels), d, generator=generator) @ mix[1]
    return named[labels] + noise + 7, labels


def _components(states, labels):
    """The mean and the covariances between and within, written out number by number."""
    states = states.double()
    mean = states.mean(0)
    between = within = torch.zeros(states.shape[1], states.shape[1], dtype=torch.float64)
    counts = []
    for number in labels.unique():
        own = states[labels == number]
        counts.append(len(own))
        within = within + (own - own.mean(0)).T @ (own - own.mean(0))
        between = between + len(own) * torch.outer(own.mean(0) - mean, own.mean(0) - mean)
    n, k = len(labels), len(counts)
    within = within / (n - k)
    size = (n - sum(count**2 for count in counts) / n) / (k - 1)
    return mean, (between / (k - 1) - within) / size, within


@pytest.mark.parametrize(
    ("offset", "numbers_apart", "prompts_apart"),
    [(0, 1, 1), (1e4, 1, 1), (0, 1e4, 1), (1e4, 1, 0.1)],
    ids=["centred", "large mean", "numbers far apart", "large mean, prompts close"],
)
def test_covariances_are_exact_whatever_is_large_beside_them(offset, numbers_apart, prompts_apart):
    """Differences of float32 sums are off by 1e-6 to 1e-2 of a component, or by 500 times it."""
    generator = _generator(4)
    labels = 7 + torch.randint(300, (6000,), generator=generator)
    states = numbers_apart * torch.randn(307, 5, generator=generator)[labels]
    states += offset + prompts_apart * torch.randn(6000, 5, generator=generator)
    found = covariance_components(states, labels)
    for component, expected in zip(found, _components(states, labels), strict=True):
        scale = float(expected.abs().max())
        torch.testing.assert_close(component, expected, rtol=0, atol=1e-8 * scale)


def test_shares_mean_and_both_covariances():
    states, labels = _states()
    drawn = gaussian_features(states, labels, _generator(1))
    expected_moments = _components(states, labels)
    for found, expected in zip(_components(drawn, labels), expected_moments, strict=True):
        scale = expected.abs().max()
        torch.testing.assert_close(found, expected, rtol=0, atol=0.2 * float(scale))


def test_covariances_agree_on_average_where_counts_differ():
    generator = _generator(3)
    labels = torch.cat([torch.full((int(c),), n) for n, c in enumerate((torch.arange(60) % 9) + 1)])
    states = torch.randn(60, 2, generator=generator)[labels]
    states = states + torch.randn(len(labels), 2, generator=generator) + 3
    draws = [gaussian_features(states, labels, _generator(seed)) for seed in range(200)]
    found = [covariance_components(draw, labels) for draw in draws]
    expected = covariance_components(states, labels)
    for name, tolerance in (("between", 0.15), ("within", 0.05)):
        average = torch.stack([getattr(components, name) for components in found]).mean(0)
        torch.testing.assert_close(average, getattr(expected, name), rtol=0, atol=tolerance)


def test_vectors_of_numbers_follow_no_order():
    """Neighbouring numbers have neighbouring states; in the control they do not."""
    labels = torch.arange(300).repeat_interleave(10)
    line = torch.linspace(-3, 3, 300)[:, None] * torch.tensor([[1.0, 2.0]])
    states = line[labels] + 0.01 * torch.randn(3000, 2, generator=_generator(2))
    drawn = gaussian_features(states, labels, _generator(1))
    means = torch.stack([drawn[labels == n].mean(0) for n in range(300)])
    step = (means[1:] - means[:-1]).square().sum(1).mean()
    spread = means.var(0).sum()
    assert 1.4 < step / spread < 2.6


def test_prompts_of_a_number_share_its_vector():
    labels = torch.arange(100).repeat_interleave(5)
    states = torch.randn(100, 3, generator=_generator(2))[labels]
    drawn = gaussian_features(states, labels, _generator(1))
    assert (drawn.view(100, 5, 3).std(1) < 1e-4).all()
    assert (drawn.view(100, 5, 3).mean(1).std(0) > 0.5).all()


def test_format_and_generator():
    states, labels = _states(numbers=20, prompts=4)
    first, again, other = (
        gaussian_features(states.bfloat16(), labels, _generator(seed)) for seed in (1, 1, 2)
    )
    assert first.dtype == torch.bfloat16
    assert first.shape == states.shape
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("labels", [torch.zeros(5).long(), torch.arange(5)])
def test_refuses_labels_without_both_kinds_of_spread(labels):
    with pytest.raises(ValueError, match="two numbers"):
        gaussian_features(torch.randn(5, 2, generator=_generator()), labels, _generator())
