"""Scores of readouts: against a loop over prompts, and on layers whose code is known."""

from dataclasses import replace

import pytest
import torch

from mechflow.probes.bases import digit_basis, random_basis, sinusoidal_basis
from mechflow.probes.gaussian import gaussian_features
from mechflow.probes.number_split import NumberSplit
from mechflow.probes.readout import Readout, ReadoutFit, train_readouts
from mechflow.probes.readout_scores import METRICS, score_readouts
from mechflow.probes.readout_settings import ReadoutSettings

NUMBERS = 200
SETTINGS = ReadoutSettings(hidden=40, steps=200, l1=1e-3)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _split(numbers=NUMBERS):
    place = torch.randperm(numbers, generator=_generator(4))
    train = place < 0.8 * numbers
    valid = ~train & (place < 0.9 * numbers)
    return NumberSplit(train=train, valid=valid, test=~train & ~valid)


def _random_fit(numbers=12, d=5, hidden=3, width=4):
    draw = [(hidden, d), (hidden,), (hidden, width), (hidden,)]
    weights = [torch.randn(shape, generator=_generator(i)) for i, shape in enumerate(draw)]
    readout = Readout(random_basis(numbers, width, _generator(9)), _split(numbers))
    return ReadoutFit(*weights, readout=readout, steps=1, kept_step=1)


@pytest.mark.parametrize("rows", [1, 40, 1024, 1025])
def test_scores_against_a_loop_over_prompts(rows, monkeypatch):
    monkeypatch.setattr("mechflow.probes.readout_scores.ROWS_PER_BATCH", 37)
    fit = _random_fit()
    x = torch.randn(rows, 5, generator=_generator(7))
    labels = torch.randint(12, (rows,), generator=_generator(8))
    scores = score_readouts(x, labels, [fit], train_rows=None)[0]
    found = scores.summary.set_index(["split", "metric"])["value"]
    assert len(found) == 3 * len(METRICS)
    per_number = {}
    for name, mask in fit.readout.split.masks().items():
        errors, losses, hits = [], [], {}
        for row, label in zip(x, labels.tolist(), strict=True):
            if not mask[label]:
                continue
            latent = fit.W_in @ row + fit.b_in
            logits = [
                float((fit.W_out @ s + fit.b_out) @ latent) for s in fit.readout.basis.unbind()
            ]
            answer = max(range(12), key=logits.__getitem__)
            errors.append(answer - label)
            losses.append(torch.tensor(logits).logsumexp(0).item() - logits[label])
            hits.setdefault(label, []).append(answer - label)
        if not errors:
            assert found[name].isna().all()
            continue
        right = [e == 0 for e in errors]
        macro = [sum(e == 0 for e in es) / len(es) for es in hits.values()]
        absolute = torch.tensor([abs(e) for e in errors]).double()
        assert found[name, "accuracy"] == pytest.approx(sum(right) / len(right))
        assert found[name, "accuracy_macro"] == pytest.approx(sum(macro) / len(macro))
        assert found[name, "loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-4)
        assert found[name, "median_error"] == absolute.quantile(0.5)
        per_number[name] = hits
    test = per_number.get("test", {})
    assert scores.values["number"].tolist() == sorted(test)
    for row in scores.values.itertuples():
        errors = test[row.number]
        assert row.prompts == len(errors)
        assert row.correct == sum(e == 0 for e in errors)
        assert row.mean_error == pytest.approx(sum(errors) / len(errors))


def test_train_prompts_are_thinned_and_others_are_not():
    fit = _random_fit()
    x = torch.randn(900, 5, generator=_generator(7))
    labels = torch.randint(12, (900,), generator=_generator(8))
    everything = score_readouts(x, labels, [fit], train_rows=None)[0].summary
    thinned = score_readouts(x, labels, [fit], train_rows=50)[0].summary
    same = everything["value"] == thinned["value"]
    assert same[everything["split"] != "train"].all()
    assert not same[everything["split"] == "train"].all()
    with pytest.raises(ValueError, match="train_rows = 0"):
        score_readouts(x, labels, [fit], train_rows=0)


def _planted(code, noise, prompts=20, seed=0):
    """Prompts whose states hold a rotated code of their number, with noise."""
    generator = _generator(seed)
    labels = torch.arange(len(code)).repeat_interleave(prompts)
    rotation = torch.linalg.qr(torch.randn(64, code.shape[1], generator=generator)).Q
    states = code[labels] @ rotation.T
    return states + noise * torch.randn(states.shape, generator=generator), labels


def _test_accuracy(x, labels, basis, cfg=SETTINGS, own=None, control=None):
    if control is not None:
        x = control(x, labels, _generator(6))
    readout = Readout(basis, _split(len(basis)), own)
    fits = train_readouts(x, labels, [readout], cfg, [_generator(1)])
    summary = score_readouts(x, labels, fits)[0].summary.set_index(["split", "metric"])["value"]
    return summary["test", "accuracy"]


SINUSOIDAL = sinusoidal_basis(NUMBERS, 64)
CIRCULAR = SINUSOIDAL.view(NUMBERS, 32, 2)[:, [2, 9, 16, 23]].flatten(1)
"""Four of the 32 circles of the basis: periods of about 9, 28, 89 and 283."""


@pytest.mark.parametrize("noise", [0.1, 0.35])
def test_planted_sinusoids_are_read_as_well_as_they_can_be(noise):
    x, labels = _planted(CIRCULAR, noise)
    # All codes have one length, so the nearest code is the likeliest number.
    rotation = torch.linalg.qr(torch.randn(64, 8, generator=_generator(0))).Q
    held_out = _split().test[labels]
    nearest = (x[held_out] @ rotation @ CIRCULAR.T).argmax(1)
    ceiling = (nearest == labels[held_out]).double().mean().item()
    basis = SINUSOIDAL
    found = _test_accuracy(x, labels, basis)
    assert ceiling - 0.06 < found <= ceiling + 0.03


def test_controls_and_unrelated_codes_read_no_held_out_number():
    x, labels = _planted(CIRCULAR, 0.1)
    basis = SINUSOIDAL
    shuffled = labels[torch.randperm(len(labels), generator=_generator(3))]
    wrong_code = basis[torch.randperm(NUMBERS, generator=_generator(2))]
    assert _test_accuracy(x, labels, random_basis(NUMBERS, 64, _generator(5))) < 0.05
    assert _test_accuracy(x, labels, wrong_code) < 0.05
    assert _test_accuracy(x, labels, basis, own=shuffled) < 0.05
    assert _test_accuracy(x, labels, basis, control=gaussian_features) < 0.05


def test_planted_digits_are_read_by_the_digit_basis():
    code = digit_basis(NUMBERS)
    x, labels = _planted(code, 0.1)
    assert _test_accuracy(x, labels, code) > 0.95
    assert _test_accuracy(x, labels, random_basis(NUMBERS, 30, _generator(5))) < 0.05


def test_formats_of_products_agree():
    x, labels = _planted(CIRCULAR, 0.35)
    basis = SINUSOIDAL
    accuracy = {
        precision: _test_accuracy(x, labels, basis, replace(SETTINGS, precision=precision))
        for precision in ("float64", "float32", "bfloat16")
    }
    assert accuracy["float32"] == pytest.approx(accuracy["float64"], abs=0.02)
    assert accuracy["bfloat16"] == pytest.approx(accuracy["float64"], abs=0.06)
