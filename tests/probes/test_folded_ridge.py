"""Fits of folds from shared moments against fits from scratch, and each score against its words."""

import itertools

import jaxtyping
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from mechflow.probes.folded_ridge import fold_moments, folded_ridge_scores, score_fits
from mechflow.probes.number_scores import LARGEST_LOG, NumberTargets, tidy
from mechflow.probes.ridge import (
    COLUMNS_AT_ONCE,
    PENALTIES,
    RidgeFit,
    accumulate_moments,
    centred_moments,
    combine,
    fit_ridge,
)


@pytest.fixture
def no_type_checks():
    """What a user meets who has not switched them on, as these tests do."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def _folds(numbers, k=4, fitted=None, seed=0):
    block = torch.randperm(numbers, generator=torch.Generator().manual_seed(seed)) % k
    fitted = k if fitted is None else fitted
    test = torch.stack([block == fold for fold in range(fitted)])
    valid = torch.stack([block == (fold + 1) % k for fold in range(fitted)])
    return {"train": ~test & ~valid, "valid": valid, "test": test}


def _states(numbers=120, rows=900, d=14, seed=0, noise=0.3):
    """Rows that hold the number's digits, its size and something else, in a random basis."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(numbers, (rows,), generator=generator)
    code = torch.cat([NumberTargets(numbers).table[:, 2:], labels.new_zeros(numbers, 2)], dim=1)
    code[:, -1] = torch.arange(numbers) / numbers
    mixing = torch.randn(code.shape[1], d, generator=generator).double()
    X = code[labels] @ mixing + noise * torch.randn(rows, d, generator=generator).double() + 3
    return X, labels


def _value(frame, probe, target, metric, split, fold=0):
    query = (frame["probe"] == probe) & (frame["target"] == target) & (frame["metric"] == metric)
    found = frame.loc[query & (frame["split"] == split) & (frame["fold"] == fold), "value"]
    assert len(found) == 1
    return float(found.iloc[0])


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    offset=st.sampled_from([0.0, 1e4]),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=40, deadline=None)
def test_combined_moments_are_those_of_all_rows(sizes, offset, seed):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(sum(sizes), 4, generator=generator).double() + offset
    Y = torch.randn(sum(sizes), 2, generator=generator).double() - offset
    parts = list(zip(X.split(sizes), Y.split(sizes), strict=True))
    combined = combine([accumulate_moments([part]) for part in parts])
    whole = accumulate_moments([(X, Y)])
    assert combined.count == whole.count == sum(sizes)
    for name in ("feature_mean", "target_mean", "gram", "cross", "target_squares"):
        found, expected = getattr(combined, name), getattr(whole, name)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-8, msg=name)


def test_wide_gram_matrices_summed_in_blocks_are_whole_and_symmetric():
    X = torch.randn(30, 2 * COLUMNS_AT_ONCE + 5, generator=torch.Generator().manual_seed(0))
    found = accumulate_moments(zip(X.split(11), X[:, :3].split(11), strict=True))
    centred = X.double() - X.double().mean(dim=0)
    torch.testing.assert_close(found.gram, centred.T @ centred, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(found.cross, centred.T @ centred[:, :3], rtol=1e-10, atol=1e-11)
    assert torch.equal(found.gram, found.gram.T)


def test_places_choose_their_penalties_on_their_own_but_digits_of_a_place_together():
    groups = NumberTargets(1000).penalty_groups
    assert groups.tolist() == [0, 1, *[2] * 10, *[3] * 10, *[4] * 10]
    X, labels = _states(noise=1.5)
    X[:, -1] = torch.randn(len(X), generator=torch.Generator().manual_seed(3)).double() * 100
    everything = {"train": torch.ones(1, 120, dtype=torch.bool)}
    targets = NumberTargets(120)
    moments = fold_moments(X, labels, targets.table, everything["train"])[0]
    shared, alone = fit_ridge(moments, groups=targets.penalty_groups), fit_ridge(moments)
    assert not torch.equal(shared.penalty, alone.penalty)
    expected = score_fits(X, labels, [shared], targets).places
    found = folded_ridge_scores(X, labels, everything)
    hits = float(expected[0, :, 0].sum() / len(X))
    assert _value(found, "digits", "digit.0", "accuracy", "train") == pytest.approx(hits)


def test_combining_leaves_its_parts_alone_and_needs_some():
    X, _ = _states(rows=20)
    part = accumulate_moments([(X, X[:, :2])])
    before = part.gram.clone()
    combine([part])
    combine([part, accumulate_moments([(X[:1], X[:1, :2])])])
    assert torch.equal(part.gram, before)
    with pytest.raises(ValueError, match="no moments"):
        combine([])


@pytest.mark.parametrize("random_valid", [False, True])
def test_each_fold_has_the_moments_of_its_own_rows(random_valid):
    """Random valid numbers make more groups than are held at a time."""
    X, labels = _states()
    splits = _folds(120, k=6)
    if random_valid:
        drawn = torch.rand(6, 120, generator=torch.Generator().manual_seed(1)) < 0.3
        splits["valid"] = drawn & ~splits["test"]
        splits["train"] = ~splits["valid"] & ~splits["test"]
        assert splits["train"].unique(dim=1).shape[1] > 32
    table = NumberTargets(120).table
    found = fold_moments(X, labels, table, splits["train"])
    for moments, train in zip(found, splits["train"], strict=True):
        rows = train[labels]
        scratch = centred_moments([(X[rows], table[labels[rows]])])
        assert moments.count == int(rows.sum())
        for name in ("feature_mean", "target_mean", "gram", "cross", "target_squares"):
            found_one, expected = getattr(moments, name), getattr(scratch, name)
            torch.testing.assert_close(found_one, expected, rtol=1e-11, atol=1e-9, msg=name)
        fit, oracle = (fit_ridge(m, PENALTIES) for m in (moments, scratch))
        torch.testing.assert_close(fit.weights, oracle.weights, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_folds_are_the_ridge_fits_of_scikit_learn(dtype):
    X, labels = _states(noise=1.0)
    X = X.to(dtype)
    splits = _folds(120, fitted=2)
    targets = NumberTargets(120)
    for fold, moments in enumerate(fold_moments(X, labels, targets.table, splits["train"])):
        rows = splits["train"][fold][labels]
        fit = fit_ridge(moments, PENALTIES, targets.penalty_groups)
        scale = float((X[rows].double() - X[rows].double().mean(dim=0)).square().sum()) / X.shape[1]
        oracle = Ridge(alpha=(fit.penalty * scale).numpy(), solver="svd")
        oracle.fit(X[rows].double(), targets.table[labels[rows]])
        expected = oracle.predict(X.double())
        np.testing.assert_allclose(fit.predict(X), expected, rtol=1e-8, atol=1e-8)


def test_scores_equal_those_written_out_over_prompts():
    numbers = 120
    X, labels = _states(numbers, noise=1.5)
    splits = _folds(numbers, fitted=2)
    frame = folded_ridge_scores(X, labels, splits, penalties=[1e-3])
    targets = NumberTargets(numbers)
    assert list(frame.columns) == ["probe", "target", "fold", "split", "metric", "value"]
    for fold, (split, masks) in itertools.product(range(2), splits.items()):
        train, rows = splits["train"][fold][labels], masks[fold][labels]
        fit = fit_ridge(centred_moments([(X[train], targets.table[labels[train]])]), [1e-3])
        P, n = fit.predict(X[rows]).numpy(), labels[rows].numpy()
        digits = P[:, 2:].reshape(len(n), 3, 10).argmax(axis=2)
        hits = {
            ("linear", "value"): np.round(P[:, 0]) == n,
            ("log", "value"): np.round(np.expm1(P[:, 1])) == n,
            ("log_published", "value"): np.round(np.exp(P[:, 1]) + 1) == n,
            ("digits", "digit.0"): digits[:, 0] == n % 10,
            ("digits", "digit.1"): digits[:, 1] == n // 10 % 10,
            ("digits", "digit.2"): digits[:, 2] == n // 100,
            ("digits", "value"): digits @ [1, 10, 100] == n,
        }
        for (probe, target), hit in hits.items():
            macro = pd.Series(hit).groupby(n).mean().mean()
            for metric, expected in (("accuracy", hit.mean()), ("accuracy_macro", macro)):
                found = _value(frame, probe, target, metric, split, fold)
                assert found == pytest.approx(expected, abs=1e-12)
        y_train = labels[train].double().numpy()
        for probe, y, means, error in (
            ("linear", n, y_train.mean(), P[:, 0] - n),
            ("log", np.log1p(n), np.log1p(y_train).mean(), np.expm1(P[:, 1]) - n),
        ):
            column = ["linear", "log"].index(probe)
            r2 = 1 - ((y - P[:, column]) ** 2).sum() / ((y - means) ** 2).sum()
            assert _value(frame, probe, "value", "r2", split, fold) == pytest.approx(r2)
            found = _value(frame, probe, "value", "mean_absolute_error", split, fold)
            assert found == pytest.approx(np.abs(error).mean())


def test_published_log_inverse_answers_two_too_many():
    """Trained on log(1 + n) but inverted as exp(y) + 1: a perfect probe is wrong everywhere."""
    numbers = 50
    n = torch.arange(numbers)
    X = torch.stack([n.double().log1p(), n.double()], dim=1)
    splits = {"train": (n % 5 != 0)[None], "test": (n % 5 == 0)[None]}
    frame = folded_ridge_scores(X, n, splits, penalties=[1e-12])
    for split in splits:
        for probe in ("linear", "log"):
            assert _value(frame, probe, "value", "accuracy", split) == 1.0
        assert _value(frame, "log_published", "value", "accuracy", split) == 0.0
    by_two = folded_ridge_scores(X[:-2], n[2:], {"train": torch.ones(1, 50, dtype=torch.bool)})
    assert _value(by_two, "log", "value", "accuracy", "train") < 1.0


def test_macro_accuracy_weighs_every_number_alike():
    """One number of two is read, and it has 9 of the 10 prompts."""
    targets = NumberTargets(2)
    fit = RidgeFit(
        torch.zeros(1, 12, dtype=torch.float64),
        torch.zeros(12, dtype=torch.float64),
        torch.ones(12, dtype=torch.float64),
    )
    labels = torch.tensor([0] * 9 + [1])
    scores = score_fits(torch.zeros(10, 1), labels, [fit], targets)
    frame = tidy(scores, torch.zeros(1, 12), {"train": torch.ones(1, 2, dtype=torch.bool)}, [7])
    assert set(frame["fold"]) == {7}
    for probe in ("linear", "log", "digits"):
        assert _value(frame, probe, "value", "accuracy", "train", 7) == pytest.approx(0.9)
        assert _value(frame, probe, "value", "accuracy_macro", "train", 7) == pytest.approx(0.5)


def test_overflowing_logarithms_leave_finite_errors():
    targets = NumberTargets(10)
    bias = torch.full((12,), 1e4, dtype=torch.float64)
    fit = RidgeFit(torch.zeros(1, 12, dtype=torch.float64), bias, torch.ones(12).double())
    scores = score_fits(torch.zeros(10, 1), torch.arange(10), [fit], targets)
    everything = {"train": torch.ones(1, 10, dtype=torch.bool)}
    frame = tidy(scores, torch.zeros(1, 12), everything, [0])
    assert np.isfinite(frame["value"]).all()
    error = _value(frame, "log", "value", "mean_absolute_error", "train")
    assert error == pytest.approx(np.exp(LARGEST_LOG), rel=1e-6)
    assert _value(frame, "log", "value", "accuracy", "train") == 0


def test_states_of_ten_distinct_rows_read_the_last_digit_and_nothing_else():
    """Embeddings at the last token of a model with one digit a token have rank 10."""
    numbers, rows, d = 200, 2000, 40
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(numbers, (rows,), generator=generator)
    embedding = torch.randn(10, d, generator=generator).to(torch.bfloat16)
    frame = folded_ridge_scores(embedding[labels % 10], labels, _folds(numbers))
    assert np.isfinite(frame["value"]).all()
    for fold in range(4):
        assert _value(frame, "digits", "digit.0", "accuracy", "test", fold) == 1.0
        assert _value(frame, "digits", "digit.1", "accuracy", "test", fold) < 0.3
        assert -0.2 < _value(frame, "linear", "value", "r2", "test", fold) < 0.1


def test_digits_of_unseen_numbers_are_read_where_they_are_and_not_after_shuffling():
    X, labels = _states(noise=0.05, d=40)
    splits = _folds(120)
    frame = folded_ridge_scores(X, labels, splits)
    assert _value(frame, "digits", "value", "accuracy_macro", "test") == 1.0
    assert _value(frame, "linear", "value", "r2", "test") > 0.99
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    control = folded_ridge_scores(X, labels[order], splits)
    assert _value(control, "digits", "value", "accuracy_macro", "test") < 0.1
    assert _value(control, "linear", "value", "r2", "test") < 0.1


def test_rows_outside_every_split_do_not_matter():
    X, labels = _states()
    splits = _folds(120, fitted=1)
    splits.pop("valid")
    inside = (splits["train"] | splits["test"])[0][labels]
    expected = folded_ridge_scores(X[inside], labels[inside], splits)
    pd.testing.assert_frame_equal(folded_ridge_scores(X, labels, splits), expected, rtol=1e-9)


def test_a_split_without_rows_is_left_out():
    X, labels = _states()
    splits = _folds(120, fitted=2)
    splits["valid"][1] = False
    frame = folded_ridge_scores(X, labels, splits, folds=[3, 8])
    assert set(frame.loc[frame["fold"] == 3, "split"]) == {"train", "valid", "test"}
    assert set(frame.loc[frame["fold"] == 8, "split"]) == {"train", "test"}


def test_bad_input_is_refused(no_type_checks):
    X, labels = _states()
    splits = _folds(120)
    refused = [
        (X, labels[:-1], splits, "899 labels for 900 rows"),
        (X, labels + 1, splits, "labels must be 0 .. 119, found 1 .. 120"),
        (X, labels, {"test": splits["test"]}, "no split is called 'train', only test"),
        (X, labels, splits | {"valid": splits["train"]}, "in more than one split"),
        (X, labels, splits | {"test": splits["test"][:2]}, "different shapes"),
        (X, labels, {"train": torch.zeros(1, 120, dtype=torch.bool)}, "in fold 0, .* got 0"),
    ]
    for features, wrong_labels, wrong_splits, message in refused:
        with pytest.raises(ValueError, match=message):
            folded_ridge_scores(features, wrong_labels, wrong_splits)
    with pytest.raises(ValueError, match="2 names of folds for 4 folds"):
        folded_ridge_scores(X, labels, splits, folds=[0, 1])
    splits = {name: mask[:1] for name, mask in splits.items()}
    for split in ("train", "test"):
        row = int(splits[split][0][labels].nonzero()[0])
        broken = X.clone()
        broken[row, 3] = torch.nan
        with pytest.raises(ValueError, match="not finite"):
            folded_ridge_scores(broken, labels, splits)
