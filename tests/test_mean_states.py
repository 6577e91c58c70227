"""Means and their jackknife against direct computation, principal components against sklearn."""

import jaxtyping
import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from mechflow.mean_states import (
    grouped_sums,
    jackknife_groups,
    mean_states,
    principal_components,
    require_all_numbers,
)
from mechflow.statistics import jackknife_interval


@pytest.fixture
def no_type_checks():
    """What a user meets who has not switched them on, as these tests do."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def _rows(rows=400, numbers=12, d=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(numbers, (rows,), generator=generator)
    return torch.randn(rows, d, generator=generator) + labels[:, None], labels


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_means_are_over_the_rows_of_each_number(dtype):
    X, labels = _rows(rows=9000)
    found = mean_states(X.to(dtype), labels, 13)
    assert found.means.dtype == torch.float64
    for number in range(12):
        rows = X[labels == number].to(dtype).double()
        torch.testing.assert_close(found.means[number], rows.mean(dim=0), rtol=1e-12, atol=1e-12)
        assert int(found.counts[number]) == len(rows)
    assert int(found.counts[12]) == 0
    assert found.means[12].isnan().all()
    with pytest.raises(ValueError, match=r"1 of 13 numbers have no finite mean state \(12\)"):
        require_all_numbers(found.means)


def test_leave_one_out_means_are_those_of_the_other_rows():
    X, labels = _rows()
    group = jackknife_groups(labels, 4, torch.Generator().manual_seed(1))
    grouped = grouped_sums(X, labels, 12, group, 4)
    torch.testing.assert_close(grouped.overall().means, mean_states(X, labels, 12).means)
    left_out = list(grouped.leave_one_out())
    assert len(left_out) == 4
    for index, found in enumerate(left_out):
        expected = mean_states(X[group != index], labels[group != index], 12)
        torch.testing.assert_close(found.means, expected.means, rtol=1e-12, atol=1e-12)
        assert torch.equal(found.counts, expected.counts)


def test_a_number_without_rows_left_keeps_its_mean():
    X, labels = torch.tensor([[1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1])
    left_out = list(grouped_sums(X, labels, 2, torch.tensor([0, 1, 1]), 2).leave_one_out())
    assert [found.means.flatten().tolist() for found in left_out] == [[3.0, 7.0], [1.0, 7.0]]
    assert [found.counts.tolist() for found in left_out] == [[1, 1], [1, 0]]


def test_jackknife_groups_are_even_within_every_number():
    _, labels = _rows(rows=403)
    group = jackknife_groups(labels, 10, torch.Generator().manual_seed(0))
    sizes = torch.bincount(group, minlength=10)
    assert int(sizes.max() - sizes.min()) <= 1
    for number in range(12):
        sizes = torch.bincount(group[labels == number], minlength=10)
        assert int(sizes.max() - sizes.min()) <= 1
    again = jackknife_groups(labels, 10, torch.Generator().manual_seed(0))
    other = jackknife_groups(labels, 10, torch.Generator().manual_seed(1))
    assert torch.equal(group, again)
    assert not torch.equal(group, other)
    with pytest.raises(ValueError, match="at least 2 groups, not 1"):
        jackknife_groups(labels, 1, torch.Generator())


def test_jackknife_of_the_means_has_their_standard_error():
    """For one mean of many rows the interval is about 2 standard errors to each side."""
    X, labels = torch.randn(20000, 1, generator=torch.Generator().manual_seed(2)), 20000 * [0]
    labels = torch.tensor(labels)
    group = jackknife_groups(labels, 100, torch.Generator().manual_seed(0))
    grouped = grouped_sums(X, labels, 1, group, 100)
    without = [found.means.item() for found in grouped.leave_one_out()]
    interval = jackknife_interval(grouped.overall().means.item(), without)
    assert interval.high - interval.centre == pytest.approx(1.98 / 20000**0.5, rel=0.25)


def test_components_are_those_of_scikit_learn_with_fixed_signs():
    means = torch.randn(30, 8, generator=torch.Generator().manual_seed(0)).double() + 4
    found = principal_components(means, 5)
    oracle = PCA(5, svd_solver="full").fit(means.numpy())
    np.testing.assert_allclose(found.variance_share, oracle.explained_variance_ratio_)
    np.testing.assert_allclose(found.scores.abs(), np.abs(oracle.transform(means.numpy())))
    np.testing.assert_allclose(found.directions.abs(), np.abs(oracle.components_))
    projected = (means - means.mean(dim=0)) @ found.directions.T
    torch.testing.assert_close(projected, found.scores)
    mirrored = principal_components(-means, 5)
    torch.testing.assert_close(mirrored.scores, found.scores)
    torch.testing.assert_close(mirrored.directions, -found.directions)


def test_bad_input_is_refused(no_type_checks):
    X, labels = _rows()
    with pytest.raises(ValueError, match="399 labels for 400 rows"):
        mean_states(X, labels[1:], 12)
    with pytest.raises(ValueError, match=r"labels must be 0 .. 5, found 0 .. 11"):
        mean_states(X, labels, 6)
    with pytest.raises(ValueError, match=r"groups must be 0 .. 5, found 0 .. 11"):
        grouped_sums(X, labels, 12, labels, 6)
    missing = torch.full((40, 2), torch.nan)
    with pytest.raises(ValueError, match=r"40 of 40 .* \(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.\)"):
        principal_components(missing, 1)
