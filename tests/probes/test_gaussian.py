"""Gaussian control features: the moments of the states, and no trace of how numbers are related."""

import pytest
import torch

from mechflow.probes.gaussian import gaussian_features


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _states(numbers=400, prompts=30, d=4, seed=0):
    generator = _generator(seed)
    labels = torch.arange(numbers).repeat_interleave(prompts)
    mix = torch.randn(2, d, d, generator=generator)
    named = torch.randn(numbers, d, generator=generator) @ mix[0]
    noise = 0.5 * torch.randn(len(labels), d, generator=generator) @ mix[1]
    return named[labels] + noise + 7, labels


def _moments(states, labels):
    states = states.double()
    means = torch.stack([states[labels == n].mean(0) for n in labels.unique()])
    within = states - means[torch.searchsorted(labels.unique(), labels)]
    covariance = within.T @ within / (len(labels) - len(means))
    return states.mean(0), means.T.cov() - covariance * len(means) / len(labels), covariance


def test_shares_mean_and_both_covariances():
    states, labels = _states()
    drawn = gaussian_features(states, labels, _generator(1))
    for found, expected in zip(_moments(drawn, labels), _moments(states, labels), strict=True):
        scale = expected.abs().max()
        torch.testing.assert_close(found, expected, rtol=0, atol=0.2 * float(scale))


def test_covariances_agree_on_average_where_counts_differ():
    generator = _generator(3)
    labels = torch.cat([torch.full((int(c),), n) for n, c in enumerate((torch.arange(60) % 9) + 1)])
    states = torch.randn(60, 2, generator=generator)[labels]
    states = states + torch.randn(len(labels), 2, generator=generator) + 3
    draws = [gaussian_features(states, labels, _generator(seed)) for seed in range(200)]
    again = torch.stack([torch.stack(_moments(draw, labels)[2].unbind()) for draw in draws])
    torch.testing.assert_close(again.mean(0), _moments(states, labels)[2], rtol=0, atol=0.05)


def test_vectors_of_numbers_follow_no_order():
    """Neighbouring numbers have neighbouring states; in the control they do not."""
    labels = torch.arange(300).repeat_interleave(10)
    line = torch.linspace(-3, 3, 300)[:, None] * torch.tensor([[1.0, 2.0]])
    states = line[labels] + 0.01 * torch.randn(3000, 2, generator=_generator(2))
    drawn = gaussian_features(states, labels, _generator(1))
    means = torch.stack([drawn[labels == n].mean(0) for n in range(300)])
    step = (means[1:] - means[:-1]).square().sum(1).mean()
    spread = means.var(0).sum()
    assert 1.6 < step / spread < 2.4


def test_prompts_of_a_number_share_its_vector():
    labels = torch.arange(100).repeat_interleave(5)
    states = torch.randn(100, 3, generator=_generator(2))[labels]
    drawn = gaussian_features(states, labels, _generator(1))
    assert (drawn.view(100, 5, 3).std(1) < 1e-3).all()
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
