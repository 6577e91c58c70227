"""Trained readouts: equal to a plain training loop, and free of the published faults."""

import itertools
from dataclasses import replace

import pytest
import torch

from mechflow.probes.bases import digit_basis, random_basis, sinusoidal_basis
from mechflow.probes.number_split import NumberSplit
from mechflow.probes.readout import Readout, train_readouts
from mechflow.probes.readout_inputs import input_map
from mechflow.probes.readout_settings import PUBLISHED, ReadoutSettings

EXACT = ReadoutSettings(
    hidden=7, steps=30, batch=16, eval_every=10, precision="float64", decay="none"
)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _layer(numbers=40, d=12, rows=300, seed=0):
    generator = _generator(seed)
    labels = torch.randint(numbers, (rows,), generator=generator)
    named = torch.randn(numbers, d, generator=generator)
    return named[labels] + 0.3 * torch.randn(rows, d, generator=generator) + 5, labels


def _split(numbers=40, seed=0):
    place = torch.randperm(numbers, generator=_generator(seed))
    train = place < 0.7 * numbers
    valid = ~train & (place < 0.85 * numbers)
    return NumberSplit(train=train, valid=valid, test=~train & ~valid)


class PlainReadout(torch.nn.Module):
    """The probe as a researcher would write it."""

    def __init__(self, d, basis, hidden, generator):
        super().__init__()
        self.basis = basis
        self.into = torch.nn.Linear(d, hidden, dtype=torch.float64)
        self.out = torch.nn.Linear(basis.shape[1], hidden, dtype=torch.float64)
        for linear in (self.into, self.out):
            for parameter in (linear.weight, linear.bias):
                uniform = torch.rand(parameter.shape, generator=generator) * 2 - 1
                parameter.data = (uniform / linear.in_features**0.5).double()

    def forward(self, x):
        return self.into(x) @ self.out(self.basis).T


def _train_plainly(x, labels, readout, cfg, generator, *, whiten=None):
    """Log-probabilities after the same minibatches through autograd and `torch.optim.Adam`.

    Not logits: without L1 the gradient of b_out is zero but for rounding, which Adam enlarges, and
    b_out adds the same number to all logits of a prompt.
    """
    labels = labels if readout.labels is None else readout.labels
    x, split = x.double(), readout.split
    rows = split.train[labels].nonzero()[:, 0]
    if whiten is not None:
        x = whiten(x, x[rows])
    probe = PlainReadout(x.shape[1], readout.basis.double(), cfg.hidden, generator)
    optimizer = torch.optim.Adam(probe.parameters(), lr=cfg.lr, betas=cfg.betas)
    candidates = split.train if cfg.softmax == "train" else ~split.test
    excluded = torch.where(candidates, 0.0, -torch.inf).double()
    for step in range(cfg.steps):
        drawn = rows[torch.randint(len(rows), (cfg.batch,), generator=generator)]
        loss = torch.nn.functional.cross_entropy(probe(x[drawn]) + excluded, labels[drawn])
        loss = loss + cfg.l1 * sum(p.abs().sum() for p in probe.parameters())
        optimizer.param_groups[0]["lr"] = cfg.rate(step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return probe(x).detach().log_softmax(-1)


def _fit(x, labels, readout, cfg, seed=3, **options):
    return train_readouts(x, labels, [readout], cfg, [_generator(seed)], **options)[0]


VARIANTS = {
    "default": {},
    "l1": {"l1": 0.05},
    "no l1": {"l1": 0.0},
    "linear decay": {"decay": "linear"},
    "cosine decay": {"decay": "cosine"},
    "published softmax": {"softmax": "train_valid"},
    "betas": {"betas": (0.8, 0.99)},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_a_plain_training_loop(variant):
    x, labels = _layer()
    cfg = replace(EXACT, standardise="none", restore="last", **VARIANTS[variant])
    readout = Readout(random_basis(40, 6, _generator(1)), _split())
    expected = _train_plainly(x, labels, readout, cfg, _generator(3))
    found = _fit(x, labels, readout, cfg).logits(x).log_softmax(-1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def _scaled(x, train):
    centred = train - train.mean(0)
    return (x - train.mean(0)) / centred.square().mean().sqrt()


def _whitened(x, train):
    x, train = _scaled(x, train), _scaled(train, train)
    root = torch.linalg.cholesky(
        train.T @ train / len(train) + 0.1 * torch.eye(x.shape[1]).double()
    )
    return x @ torch.linalg.inv(root).T


@pytest.mark.parametrize(("kind", "whiten"), [("scale", _scaled), ("whiten", _whitened)])
def test_standardisation_is_folded_back_into_the_weights(kind, whiten):
    x, labels = _layer(rows=90)
    cfg = replace(EXACT, standardise=kind, restore="last")
    readout = Readout(random_basis(40, 6, _generator(1)), _split())
    expected = _train_plainly(x, labels, readout, cfg, _generator(3), whiten=whiten)
    found = _fit(x, labels, readout, cfg).logits(x).log_softmax(-1)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_scaled_states_have_unit_mean_square_however_many_they_are(offset):
    states = torch.randn(40_000, 512, generator=_generator()) + offset
    exact = states.double()
    expected = float((exact - exact.mean(0)).square().mean().rsqrt())
    assert input_map(states, "scale").factor == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("stack", [1, 2, 32])
def test_company_changes_nothing(stack):
    x, labels = _layer()
    shuffled = labels[torch.randperm(len(labels), generator=_generator(8))]
    bases = [random_basis(40, 6, _generator(1)), random_basis(40, 6, _generator(2))]
    bases.append(digit_basis(40))
    readouts = [
        Readout(basis, _split(seed=fold), own)
        for basis, fold, own in itertools.product(bases, (0, 1), (None, shuffled))
    ]
    seeds = range(len(readouts))
    together = train_readouts(x, labels, readouts, EXACT, list(map(_generator, seeds)), stack=stack)
    for readout, seed, fit in zip(readouts, seeds, together, strict=True):
        alone = _fit(x, labels, readout, EXACT, seed)
        assert fit.readout is readout
        assert (fit.steps, fit.kept_step) == (alone.steps, alone.kept_step)
        torch.testing.assert_close(fit.logits(x), alone.logits(x), rtol=1e-10, atol=1e-10)


def test_company_that_stops_early_changes_nothing():
    x, labels = _layer()
    cfg = replace(EXACT, steps=200, eval_every=5, patience=2, batch=4)
    readouts = [Readout(random_basis(40, 6, _generator(s)), _split()) for s in range(6)]
    seeds = range(6)
    together = train_readouts(x, labels, readouts, cfg, list(map(_generator, seeds)))
    stacked = train_readouts(x, labels, readouts, cfg, list(map(_generator, seeds)), stack=6)
    assert len({fit.steps for fit in together}) > 1
    assert max(fit.steps for fit in together) < 200
    for one, other in zip(together, stacked, strict=True):
        assert (one.steps, one.kept_step) == (other.steps, other.kept_step)
        assert one.steps - one.kept_step == 2 * 5
        torch.testing.assert_close(one.logits(x), other.logits(x), rtol=1e-9, atol=1e-9)


def _overfitting():
    """A layer on which valid accuracy has its best long before the end."""
    x, labels = _layer(numbers=40, d=30, rows=200, seed=2)
    cfg = replace(EXACT, steps=150, lr=3e-2, l1=0.0, hidden=20)
    return x, labels, Readout(digit_basis(40), _split()), cfg


def test_best_checkpoint_is_a_copy_not_an_alias():
    x, labels, readout, cfg = _overfitting()
    best = _fit(x, labels, readout, cfg)
    assert best.kept_step < best.steps == 150
    last = _fit(x, labels, readout, replace(cfg, restore="last"))
    assert last.kept_step == 150
    assert (best.W_out - last.W_out).abs().max() > 1e-3
    # The rate does not decay here, so a run that ends at the kept step must end with its weights.
    short = _fit(x, labels, readout, replace(cfg, steps=best.kept_step, restore="last"))
    torch.testing.assert_close(best.W_out, short.W_out, rtol=0, atol=0)
    valid = readout.split.rows("valid", labels)
    hits = [
        (fit.logits(x[valid]).argmax(1) == labels[valid]).double().mean() for fit in (best, last)
    ]
    assert hits[0] > hits[1]


def test_valid_numbers_are_not_negatives_in_training_softmax():
    x, labels = _layer()
    readout = Readout(torch.eye(40), _split())
    cfg = replace(EXACT, l1=0.0, steps=60, restore="last", lr=1e-2)

    def trained_columns(softmax):
        fit = _fit(x, labels, readout, replace(cfg, softmax=softmax))
        start = _fit(x, labels, readout, replace(cfg, softmax=softmax, steps=1, lr=0.0))
        return (fit.W_out - start.W_out).abs().amax(0) > 0

    split = readout.split
    assert torch.equal(trained_columns("train"), split.train)
    assert torch.equal(trained_columns("train_valid"), split.train | split.valid)


def test_equal_width_bases_are_compared():
    """Equal widths have equally many weights, hence equal L1 mass at the start."""
    x, labels = _layer()
    split, cfg = _split(), replace(EXACT, steps=1, lr=0.0)
    bases = [sinusoidal_basis(40, 10), random_basis(40, 10, _generator(5))]
    fits = [_fit(x, labels, Readout(basis, split), cfg) for basis in bases]
    assert torch.equal(fits[0].W_out, fits[1].W_out)
    assert torch.equal(fits[0].W_in, fits[1].W_in)


def test_states_of_held_out_numbers_are_not_looked_at():
    x, labels = _layer()
    readout = Readout(random_basis(40, 6, _generator(1)), _split())
    changed = x.clone()
    changed[readout.split.rows("test", labels)] = torch.nan
    first, second = (_fit(states, labels, readout, EXACT) for states in (x, changed))
    assert torch.equal(first.W_in, second.W_in)
    assert torch.equal(first.W_out, second.W_out)


def test_own_labels_replace_those_of_the_layer():
    x, labels = _layer()
    own = labels[torch.randperm(len(labels), generator=_generator(8))]
    basis = random_basis(40, 6, _generator(1))
    override = _fit(x, labels, Readout(basis, _split(), own), EXACT)
    direct = _fit(x, own, Readout(basis, _split()), EXACT)
    assert torch.equal(override.W_in, direct.W_in)


def test_published_settings_are_the_notebooks():
    assert (PUBLISHED.lr, PUBLISHED.batch, PUBLISHED.steps) == (1e-3, 1024, 10_001)
    assert (PUBLISHED.l1, PUBLISHED.eval_every, PUBLISHED.hidden) == (1e-3, 500, 100)
    assert (PUBLISHED.softmax, PUBLISHED.restore) == ("train_valid", "last")
    assert (PUBLISHED.decay, PUBLISHED.standardise, PUBLISHED.patience) == ("none", "none", None)
    assert PUBLISHED.rate(10_000) == 1e-3


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_rates_fall_from_the_first_to_nearly_zero(decay):
    cfg = ReadoutSettings(decay=decay, steps=100, lr=0.5)
    rates = [cfg.rate(step) for step in range(100)]
    assert rates[0] == 0.5
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.5 / 99
    assert rates[50] == pytest.approx(0.25)


def test_refuses_what_cannot_be_trained():
    x, labels = _layer()
    split = _split()
    readout = Readout(digit_basis(40), split)
    with pytest.raises(ValueError, match="0 generators for 1 readouts"):
        train_readouts(x, labels, [readout], EXACT, [])
    only_test = torch.full_like(labels, int(split.test.nonzero()[0]))
    with pytest.raises(ValueError, match="needs train and valid prompts"):
        _fit(x, only_test, readout, EXACT)
    with pytest.raises(ValueError, match="outside of its basis"):
        _fit(x, labels + 1, readout, EXACT)
    broken = x.clone()
    broken[split.rows("train", labels)[0], 0] = torch.inf
    with pytest.raises(ValueError, match="not finite"):
        _fit(broken, labels, readout, EXACT)
    with pytest.raises(ValueError, match="exactly one"):
        NumberSplit(train=split.train, valid=split.train, test=~split.train)
    with pytest.raises(ValueError, match="no train number"):
        NumberSplit(train=~split.train & split.train, valid=split.train, test=~split.train)
    with pytest.raises(ValueError, match="steps = 0"):
        ReadoutSettings(steps=0)
    with pytest.raises(ValueError, match="l1 = -1"):
        ReadoutSettings(l1=-1.0)
