"""Logistic regression against scikit-learn, and its independence of what it must not see."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from mechflow.probes.logistic import fit_logistic

pytestmark = pytest.mark.filterwarnings("error:logistic probe stopped")

R, N, D, C = 3, 90, 6, 4


@pytest.fixture
def stack():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(R, N, D, generator=generator) * torch.logspace(1, -2, D) + 4
    direction = torch.randn(D, C, generator=generator) / torch.logspace(1, -2, D)[:, None]
    noise = torch.randn(R, N, C, generator=generator)
    labels = ((X - 4) @ direction + noise).argmax(dim=-1)
    mask = torch.rand(R, N, generator=generator) < torch.tensor([[0.4], [0.6], [0.8]])
    assert all(len(labels[r, mask[r]].unique()) == C for r in range(R))
    return X, labels, mask


@pytest.mark.parametrize("inverse_penalty", [0.01, 1.0, 100.0])
def test_probabilities_equal_scikit_learn(stack, inverse_penalty):
    X, labels, mask = stack
    fit = fit_logistic(X, labels, mask, inverse_penalty, tolerance=1e-8)
    probabilities = fit.log_probabilities(X).exp()
    for r in range(R):
        oracle = LogisticRegression(C=inverse_penalty, solver="newton-cg", tol=1e-12, max_iter=9999)
        oracle.fit(X[r, mask[r]].double().numpy(), labels[r, mask[r]].numpy())
        expected = oracle.predict_proba(X[r].double().numpy())
        np.testing.assert_allclose(probabilities[r].numpy(), expected, atol=1e-6)
        np.testing.assert_allclose(fit.weights[r].T.numpy(), oracle.coef_, rtol=1e-4, atol=1e-5)


def test_default_tolerance_is_near_the_optimum(stack):
    exact, fast = (
        fit_logistic(*stack, tolerance=t).log_probabilities(stack[0]).exp() for t in (1e-8, 1e-6)
    )
    torch.testing.assert_close(exact, fast, rtol=0, atol=1e-4)


def test_replicates_do_not_mix(stack):
    X, labels, mask = stack
    together = fit_logistic(X, labels, mask, tolerance=1e-8)
    for r in range(R):
        alone = fit_logistic(X[r : r + 1], labels[r : r + 1], mask[r : r + 1], tolerance=1e-8)
        probabilities = alone.log_probabilities(X[r : r + 1])[0].exp()
        torch.testing.assert_close(
            together.log_probabilities(X)[r].exp(), probabilities, rtol=0, atol=1e-6
        )


def test_repeated_fits_are_identical(stack):
    first, second = fit_logistic(*stack), fit_logistic(*stack)
    assert torch.equal(first.weights, second.weights)
    assert torch.equal(first.bias, second.bias)


def test_test_rows_never_reach_the_fit(stack):
    X, labels, mask = stack
    before = fit_logistic(X, labels, mask)
    X = X.masked_fill(~mask[..., None], torch.nan)
    labels = labels.masked_fill(~mask, 10_000)
    after = fit_logistic(X, labels, mask)
    assert torch.equal(before.weights, after.weights)
    assert torch.equal(before.bias, after.bias)


def test_class_absent_from_train_has_no_probability(stack):
    X, labels, mask = stack
    mask[0] &= labels[0] != 1
    fit = fit_logistic(X, labels, mask, tolerance=1e-8)
    probabilities = fit.log_probabilities(X).exp()
    assert (probabilities[0, :, 1] == 0).all()
    assert (probabilities[1:, :, 1] > 0).all()
    oracle = LogisticRegression(solver="newton-cg", tol=1e-12, max_iter=9999)
    oracle.fit(X[0, mask[0]].double().numpy(), labels[0, mask[0]].numpy())
    expected = oracle.predict_proba(X[0].double().numpy())
    np.testing.assert_allclose(probabilities[0][:, [0, 2, 3]].numpy(), expected, atol=1e-6)


def test_degenerate_features_are_fitted(stack):
    X, labels, mask = stack
    wide = torch.cat([X] * 20 + [torch.ones(R, N, 1)], dim=2)
    probabilities = fit_logistic(wide, labels, mask).log_probabilities(wide).exp()
    torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(R, N, dtype=torch.float64))


def test_an_early_stop_is_told(stack):
    with pytest.warns(UserWarning, match="stopped with gradient"):
        fit_logistic(*stack, max_iterations=2)


def test_bad_arguments_are_refused(stack):
    X, labels, mask = stack
    with pytest.raises(ValueError, match="inverse_penalty must be positive"):
        fit_logistic(X, labels, mask, 0.0)
    mask[1] = False
    with pytest.raises(ValueError, match="no train rows"):
        fit_logistic(X, labels, mask)
