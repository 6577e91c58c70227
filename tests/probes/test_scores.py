"""Scores of a site: equality with scikit-learn, no influence of test rows, degenerate inputs."""

import math

import jaxtyping
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score

from mechflow.probes import scores
from mechflow.probes.controls import permute_labels
from mechflow.probes.scores import linear_probe_scores

P, R, D = 11, 2, 24
N = P * P


@pytest.fixture
def site():
    """Activations that hold cos and sin of frequency 3 of a + b behind a ReLU, and noise."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.arange(N) // P, torch.arange(N) % P
    total = ((a + b) % P).expand(R, N)
    angle = 2 * math.pi * 3 * total / P
    planted = torch.stack([angle.cos(), angle.sin()], dim=-1)
    X = planted @ torch.randn(R, 2, D, generator=generator)
    X = (X + 0.05 * torch.randn(R, N, D, generator=generator)).relu()
    mask = torch.rand(R, N, generator=generator) < 0.6
    categorical = {"a": a.expand(R, N), "sum": total}
    regression = {
        (name, k): wave(2 * math.pi * k * total.double() / P)
        for k in (1, 3)
        for name, wave in (("cos", torch.cos), ("sin", torch.sin))
    }
    return X, mask, categorical, regression


def _value(frame, **where):
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return float(frame["value"].iloc[0])


def test_table_is_tidy_and_ordered(site):
    frame = linear_probe_scores(*site, replicates=[5, 6])
    assert list(frame.columns) == [
        *("replicate", "target", "frequency", "split", "metric", "value"),
    ]
    assert frame["replicate"].dtype == frame["frequency"].dtype == "int64"
    assert frame["value"].dtype == "float64"
    assert len(frame) == R * 6 * 2
    assert not frame.duplicated(["replicate", "target", "frequency", "split", "metric"]).any()
    first = frame[frame["replicate"] == 5]
    assert first["target"].tolist()[::2] == ["a", "sum", "cos", "sin", "cos", "sin"]
    assert first["frequency"].tolist()[::2] == [0, 0, 1, 1, 3, 3]
    assert first["split"].tolist() == ["train", "test"] * 6
    assert (frame["metric"] == "accuracy").equals(frame["target"].isin(["a", "sum"]))


@pytest.mark.parametrize("rows_per_batch", [7, 4096])
def test_scores_equal_scikit_learn(site, monkeypatch, rows_per_batch):
    monkeypatch.setattr(scores, "ROWS_PER_BATCH", rows_per_batch)
    X, mask, categorical, regression = site
    frame = linear_probe_scores(*site, penalties=[1e-3])
    for r in range(R):
        features = X[r].double()
        train, test = mask[r], ~mask[r]
        centred = features[train] - features[train].mean(dim=0)
        ridge = Ridge(alpha=1e-3 * float(centred.square().sum() / D), solver="svd")
        for name, labels in categorical.items():
            one_hot = torch.nn.functional.one_hot(labels[r]).double()
            answers = ridge.fit(features[train], one_hot[train]).predict(features).argmax(axis=1)
            for split, rows in (("train", train), ("test", test)):
                expected = (torch.from_numpy(answers) == labels[r])[rows].double().mean()
                assert _value(frame, replicate=r, target=name, split=split) == expected
        for (name, k), values in regression.items():
            predicted = torch.from_numpy(
                ridge.fit(features[train], values[r, train]).predict(features)
            )
            error = (values[r] - predicted).square()
            spread = (values[r] - values[r, train].mean()).square()
            where = {"replicate": r, "target": name, "frequency": k}
            in_train = r2_score(values[r, train].numpy(), predicted[train].numpy())
            held_out = float(1 - error[test].sum() / spread[test].sum())
            assert _value(frame, **where, split="train") == pytest.approx(in_train, abs=1e-9)
            assert _value(frame, **where, split="test") == pytest.approx(held_out, abs=1e-9)


def test_planted_frequency_is_found_and_its_control_is_not(site):
    X, mask, categorical, _ = site
    frame = linear_probe_scores(*site)
    generators = [torch.Generator().manual_seed(r) for r in range(R)]
    permuted = permute_labels(categorical["sum"], generators)
    waves = {("cos", 3): (2 * math.pi * 3 * permuted.double() / P).cos()}
    control = linear_probe_scores(X, mask, {"sum": permuted}, waves)
    for r in range(R):
        assert _value(frame, replicate=r, target="cos", frequency=3, split="test") > 0.95
        assert _value(frame, replicate=r, target="sum", split="test") > 0.9
        assert _value(frame, replicate=r, target="a", split="test") < 0.4
        assert _value(control, replicate=r, target="cos", frequency=3, split="test") < 0.1
        assert _value(control, replicate=r, target="sum", split="test") < 0.4


def test_logistic_scores_equal_scikit_learn(site):
    X, mask, categorical, _ = site
    frame = linear_probe_scores(*site, classifier="logistic", inverse_penalty=0.5)
    ridge = linear_probe_scores(*site)
    keys = ["replicate", "target", "frequency", "split"]
    joined = frame.merge(ridge, on=keys, suffixes=("", "_ridge")).query("metric == 'r2'")
    pd.testing.assert_series_equal(
        joined["value"], joined["value_ridge"], check_names=False, rtol=1e-12
    )
    for r in range(R):
        oracle = LogisticRegression(C=0.5, tol=1e-8, max_iter=9999)
        oracle.fit(X[r, mask[r]].double().numpy(), categorical["sum"][r, mask[r]].numpy())
        for split, rows in (("train", mask[r]), ("test", ~mask[r])):
            expected = oracle.score(
                X[r, rows].double().numpy(), categorical["sum"][r, rows].numpy()
            )
            assert _value(frame, replicate=r, target="sum", split=split) == pytest.approx(expected)


@given(seed=st.integers(0, 2**20), scale=st.sampled_from([0.0, 1.0, 1e6, math.nan]))
@settings(max_examples=25, deadline=None)
def test_test_rows_never_reach_the_fit(seed, scale):
    """The train scores, a function of the weights, stay bit for bit; so do the weights."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(1, 40, 5, generator=generator)
    labels = torch.randint(0, 3, (1, 40), generator=generator)
    labels[0, :3] = torch.arange(3)
    values = torch.randn(1, 40, generator=generator)
    mask = torch.rand(1, 40, generator=generator) < 0.5
    mask[0, :3], mask[0, 3] = True, False

    def fitted(X, labels, values):
        targets = scores._Targets({"label": labels[0]}, {("cos", 1): values[0]})
        moments = scores.centred_moments(scores._batches(X[0], targets, mask[0]))
        fit = scores.fit_ridge(moments, groups=targets.groups(X.device))
        frame = linear_probe_scores(X, mask, {"label": labels}, {("cos", 1): values})
        return fit, frame[frame["split"] == "train"]

    before, train_before = fitted(X, labels, values)
    other = torch.randn(X.shape, generator=generator) * scale
    X = torch.where(mask[..., None], X, other)
    labels = torch.where(mask, labels, torch.randint(0, 3, (1, 40), generator=generator))
    values = torch.where(mask, values, other[..., 0])
    after, train_after = fitted(X, labels, values)
    assert before.penalty[:3].unique().numel() == 1, "the classes of a label share a penalty"
    assert torch.equal(before.weights, after.weights)
    assert torch.equal(before.bias, after.bias)
    assert torch.equal(before.penalty, after.penalty)
    pd.testing.assert_frame_equal(train_before, train_after, check_exact=True)


def test_replicates_are_scored_alone(site):
    X, mask, categorical, regression = site
    together = linear_probe_scores(*site)
    second = linear_probe_scores(
        X[1:],
        mask[1:],
        {name: labels[1:] for name, labels in categorical.items()},
        {key: values[1:] for key, values in regression.items()},
        replicates=[1],
    )
    expected = together[together["replicate"] == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(second, expected, check_exact=True)


def test_only_labels_or_only_values(site):
    X, mask, categorical, regression = site
    assert set(linear_probe_scores(X, mask, categorical, {})["metric"]) == {"accuracy"}
    assert set(linear_probe_scores(X, mask, {}, regression)["metric"]) == {"r2"}


def test_constant_activations_give_chance(site):
    X, mask, categorical, regression = site
    frame = linear_probe_scores(torch.full_like(X, 0.3), mask, categorical, regression)
    for r in range(R):
        labels = categorical["sum"][r]
        majority = torch.bincount(labels[mask[r]]).argmax()
        expected = (labels[~mask[r]] == majority).double().mean()
        assert _value(frame, replicate=r, target="sum", split="test") == expected
    r2 = frame[frame["metric"] == "r2"].set_index("split")["value"]
    assert r2["train"].abs().max() < 1e-12
    assert r2["test"].abs().max() < 1e-12


@pytest.mark.parametrize("rows_per_batch", [3, 17, 2048])
def test_r2_of_a_constant_is_nan_and_test_r2_may_be_negative(monkeypatch, rows_per_batch):
    monkeypatch.setattr(scores, "ROWS_PER_BATCH", rows_per_batch)
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(1, 40, 30, generator=generator)
    mask = (torch.arange(40) < 34)[None]
    noise = torch.randn(1, 40, generator=generator)
    constant_in_test = torch.where(mask, noise, 0.7)
    constants = {
        ("constant", k): torch.full((1, 40), math.pi * k, dtype=torch.float64) for k in range(20)
    }
    regression = {**constants, ("noise", 1): noise}
    regression[("half", 1)] = constant_in_test
    frame = linear_probe_scores(X, mask, {}, regression, penalties=[1e-6])
    assert frame.loc[frame["target"] == "constant", "value"].isna().all()
    assert _value(frame, target="noise", split="test") < 0
    assert math.isfinite(_value(frame, target="half", split="test"))


def test_class_absent_from_train_is_never_answered(site):
    X, mask, categorical, _ = site
    labels = categorical["sum"]
    mask = mask & (labels != 4)
    for classifier in ("ridge", "logistic"):
        frame = linear_probe_scores(X, mask, {"sum": labels}, {}, classifier=classifier)
        present = labels[0][~mask[0]] != 4
        assert (
            0.5 < _value(frame, replicate=0, target="sum", split="test") <= present.double().mean()
        )


@pytest.mark.parametrize("value", [True, False])
def test_an_empty_split_is_refused(site, value):
    X, mask, categorical, regression = site
    mask[1] = value
    with pytest.raises(ValueError, match=f"replicate 8 has no {'test' if value else 'train'} rows"):
        linear_probe_scores(X, mask, categorical, regression, replicates=[7, 8])


def test_bad_inputs_are_refused(site):
    X, mask, categorical, regression = site
    with pytest.raises(ValueError, match="no target"):
        linear_probe_scores(X, mask, {}, {})
    with pytest.raises(ValueError, match="must be 0 or more, got -1"):
        linear_probe_scores(X, mask, {"sum": categorical["sum"] - 1}, {})
    with pytest.raises(ValueError, match="3 replicate numbers for 2"):
        linear_probe_scores(X, mask, categorical, regression, replicates=[0, 1, 2])
    broken = X.clone()
    broken[mask] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        linear_probe_scores(broken, mask, categorical, regression)


def test_shapes_that_differ_are_refused_without_the_type_checks_of_the_tests(site):
    X, mask, categorical, regression = site
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match=r"sum has shape \(2, 120\)"):
            linear_probe_scores(X, mask, {"sum": categorical["sum"][:, 1:]}, {})
        with pytest.raises(ValueError, match="cos, frequency 1 has shape"):
            linear_probe_scores(X, mask, {}, {("cos", 1): regression["cos", 1][:1]})
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
