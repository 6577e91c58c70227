"""Ridge from moments against scikit-learn, against hat matrices, and on degenerate features."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeCV

from mechflow.probes.ridge import PENALTIES, centred_moments, fit_ridge


def _regression(n, d, t, seed=0, offset=5.0):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, generator=generator) + offset
    truth = torch.randn(d, t, generator=generator)
    Y = X @ truth + torch.randn(n, t, generator=generator) * torch.logspace(-2, 2, t) + 3
    return X, Y.double()


def _mean_eigenvalue(X):
    centred = X.double() - X.double().mean(dim=0)
    return float(centred.square().sum() / X.shape[1])


@given(
    n=st.integers(2, 40),
    d=st.integers(1, 6),
    t=st.integers(1, 4),
    chunk=st.integers(1, 41),
    offset=st.sampled_from([0.0, 1e3]),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=60, deadline=None)
def test_moments_do_not_depend_on_the_batches(n, d, t, chunk, offset, seed):
    X, Y = _regression(n, d, t, seed, offset)
    moments = centred_moments(zip(X.split(chunk), Y.split(chunk), strict=True))
    X0, Y0 = X.double() - X.double().mean(dim=0), Y - Y.mean(dim=0)
    scale = dict(rtol=1e-9, atol=1e-7)
    assert moments.count == n
    torch.testing.assert_close(moments.feature_mean, X.double().mean(dim=0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(moments.target_mean, Y.mean(dim=0), rtol=1e-12, atol=1e-11)
    torch.testing.assert_close(moments.gram, X0.T @ X0, **scale)
    torch.testing.assert_close(moments.cross, X0.T @ Y0, **scale)
    torch.testing.assert_close(moments.target_squares, Y0.square().sum(dim=0), **scale)


def test_large_mean_costs_no_precision():
    X, Y = _regression(500, 4, 2, offset=0.0)
    near = fit_ridge(centred_moments([(X.double(), Y)]), [1e-3])
    far = fit_ridge(centred_moments([(X.double() + 2.0**24, Y)]), [1e-3])
    torch.testing.assert_close(near.weights, far.weights, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("penalty", [1e-6, 1e-2, 10.0])
@pytest.mark.parametrize("shape", [(80, 7), (20, 35)])
def test_one_penalty_equals_scikit_learn(penalty, shape):
    X, Y = _regression(*shape, t=3)
    fit = fit_ridge(centred_moments([(X, Y)]), [penalty])
    oracle = Ridge(alpha=penalty * _mean_eigenvalue(X), solver="svd").fit(X.double(), Y)
    np.testing.assert_allclose(fit.weights.T, oracle.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(fit.predict(X), oracle.predict(X.double()), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("shape", [(80, 7), (20, 35)])
def test_each_target_has_the_scikit_learn_fit_at_its_own_penalty(shape):
    X, Y = _regression(*shape, t=4)
    fit = fit_ridge(centred_moments([(X, Y)]))
    alpha = (fit.penalty * _mean_eigenvalue(X)).numpy()
    oracle = Ridge(alpha=alpha, solver="svd").fit(X.double(), Y)
    np.testing.assert_allclose(fit.weights.T, oracle.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(fit.bias, oracle.intercept_, rtol=1e-6, atol=1e-7)


def test_equals_leave_one_out_where_every_row_has_the_same_leverage():
    """On a full grid of cosines and sines GCV is exactly the criterion of RidgeCV."""
    n = 60
    angle = 2 * math.pi * torch.outer(torch.arange(n), torch.arange(1, 13)) / n
    X = torch.cat([angle.cos(), angle.sin()], dim=1).double()
    X = X * torch.logspace(0, -2, 12, dtype=torch.float64).repeat(2)
    generator = torch.Generator().manual_seed(3)
    Y = X @ torch.randn(24, 6, generator=generator).double()
    Y = Y + torch.randn(n, 6, generator=generator).double() * torch.logspace(-4, 1, 6).double()
    fit = fit_ridge(centred_moments([(X, Y)]))
    alphas = np.array(PENALTIES) * _mean_eigenvalue(X)
    oracle = RidgeCV(alphas=alphas, alpha_per_target=True).fit(X, Y)
    chosen = fit.penalty * _mean_eigenvalue(X)
    assert len(set(fit.penalty.tolist())) > 2
    np.testing.assert_allclose(chosen, oracle.alpha_, rtol=1e-12)
    np.testing.assert_allclose(fit.weights.T, oracle.coef_, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("shape", [(80, 7), (40, 40), (20, 35), (30, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_chosen_penalty_minimises_gcv_computed_from_hat_matrices(shape, seed):
    X, Y = _regression(*shape, t=5, seed=seed)
    fit = fit_ridge(centred_moments([(X, Y)]))
    n = len(X)
    X0, Y0 = X.double() - X.double().mean(dim=0), Y - Y.mean(dim=0)
    errors = []
    for penalty in PENALTIES:
        left, singular, _ = torch.linalg.svd(X0, full_matrices=False)
        shrink = singular**2 / (singular**2 + penalty * _mean_eigenvalue(X))
        hat = (left * shrink) @ left.T + 1 / n
        residual = (Y0 - hat @ Y0).square().sum(dim=0)
        errors.append(n * residual / (n - hat.trace()) ** 2)
    table = torch.stack(errors)
    chosen = torch.tensor([PENALTIES.index(q) for q in fit.penalty.tolist()])
    at_choice = table.gather(0, chosen[None])[0]
    torch.testing.assert_close(at_choice, table.amin(dim=0), rtol=1e-5, atol=0)


def test_a_group_shares_the_penalty_that_is_best_for_it_as_a_whole():
    X, Y = _regression(60, 10, 4)
    Y[:, 1:] = torch.randn(60, 3, generator=torch.Generator().manual_seed(1)).double() * 1e-3
    moments = centred_moments([(X, Y)])
    alone = fit_ridge(moments)
    together = fit_ridge(moments, groups=torch.tensor([0, 0, 0, 1]))
    assert alone.penalty[0] != alone.penalty[1]
    assert together.penalty[:3].tolist() == [float(alone.penalty[0])] * 3
    assert together.penalty[3] == alone.penalty[3]


def test_the_order_of_the_grid_does_not_matter():
    moments = centred_moments([_regression(60, 10, 4)])
    forward, backward = fit_ridge(moments, PENALTIES), fit_ridge(moments, PENALTIES[::-1])
    assert torch.equal(forward.weights, backward.weights)


def test_duplicated_columns_share_the_weight():
    X, Y = _regression(50, 4, 2)
    doubled = torch.cat([X, X], dim=1)
    for penalties in ([1e-3], PENALTIES):
        fit = fit_ridge(centred_moments([(doubled, Y)]), penalties)
        torch.testing.assert_close(fit.weights[:4], fit.weights[4:], rtol=1e-6, atol=1e-8)


def test_constant_column_has_no_weight():
    X, Y = _regression(50, 4, 2)
    X[:, 2] = 0.1
    for penalties in ([1e-3], PENALTIES):
        weights = fit_ridge(centred_moments([(X, Y)]), penalties).weights
        assert weights[2].abs().max() < 1e-12
        assert weights[[0, 1, 3]].abs().min() > 1e-6


@pytest.mark.parametrize("penalties", [[1e-3], PENALTIES])
def test_features_without_variance_predict_the_mean(penalties):
    _, Y = _regression(50, 4, 2)
    X = torch.full((50, 4), 0.1)
    fit = fit_ridge(centred_moments([(X, Y)]), penalties)
    torch.testing.assert_close(fit.predict(X[:3]), Y.mean(dim=0).expand(3, 2))
    assert not fit.weights.any()


def test_more_features_than_rows_interpolates_at_a_small_penalty():
    X, Y = _regression(15, 40, 2)
    fit = fit_ridge(centred_moments([(X, Y)]), [1e-9])
    torch.testing.assert_close(fit.predict(X), Y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("penalties", [[], [0.0], [1.0, -1.0], [math.nan], [math.inf, 1.0]])
def test_bad_penalties_are_refused(penalties):
    with pytest.raises(ValueError, match="penalties must be positive and finite"):
        fit_ridge(centred_moments([_regression(20, 3, 1)]), penalties)


def test_lost_penalty_is_refused():
    X, Y = _regression(10, 40, 1)
    with pytest.raises(ValueError, match="too small"):
        fit_ridge(centred_moments([(X, Y)]), [1e-300])


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_are_refused(rows):
    X, Y = _regression(5, 3, 1)
    with pytest.raises(ValueError, match=f"at least 2 train rows, got {rows}"):
        centred_moments([(X[:rows], Y[:rows])] if rows else [])


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("side", ["features", "targets"])
def test_values_that_are_not_finite_are_refused(value, side):
    X, Y = _regression(20, 3, 1)
    (X if side == "features" else Y)[4, 0] = value
    with pytest.raises(ValueError, match="not finite"):
        centred_moments([(X, Y)])
