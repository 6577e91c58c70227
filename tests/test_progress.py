import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mechflow import progress
from mechflow.fourier import Definition, fourier_basis, transform_1d
from mechflow.svd import gini

moduli = st.integers(min_value=3, max_value=13)
seeds = st.integers(min_value=0, max_value=2**32)
definitions = st.sampled_from(["sum_directions", "block_2x2"])
DEFINITIONS: list[Definition] = ["sum_directions", "block_2x2", "all_products_of_frequency"]


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sums(p: int, sign: int = 1) -> Tensor:
    x = torch.arange(p)
    return ((x[:, None] + sign * x) % p).flatten()


def clock_logits(p: int, weights: dict[int, float], sign: int = 1) -> Tensor:
    """Sum over k of alpha_k cos(w_k (a + sign b - c)), the algorithm of the paper."""
    difference = (sums(p, sign)[:, None] - torch.arange(p)).double()
    return sum(
        (alpha * torch.cos(2 * math.pi * k * difference / p) for k, alpha in weights.items()),
        torch.zeros(p * p, p).double(),
    )


def mask_of(p: int, *chosen: int) -> Tensor:
    mask = torch.zeros(p // 2, dtype=torch.bool)
    mask[torch.tensor(chosen) - 1] = True
    return mask


def naive_projection(logits: Tensor, p: int, key: Tensor, definition: str, sign: int) -> Tensor:
    """One frequency, one explicit direction and one column of logits at a time."""
    basis = fourier_basis(p)
    result = torch.zeros_like(logits)
    for k in range(1, p // 2 + 1):
        if not key[k - 1]:
            continue
        rows = [basis[i] for i in (2 * k - 1, 2 * k) if i < p]
        if definition == "block_2x2" or len(rows) == 1:
            directions = [torch.outer(u, v).flatten() for u in rows for v in rows]
        else:
            cos, sin = rows
            directions = [
                (torch.outer(cos, cos) - sign * torch.outer(sin, sin)).flatten() / math.sqrt(2),
                (torch.outer(sin, cos) + sign * torch.outer(cos, sin)).flatten() / math.sqrt(2),
            ]
        for direction in directions:
            for column in range(logits.shape[1]):
                result[:, column] += direction * (direction @ logits[:, column])
    return result


@given(moduli, seeds, definitions, st.sampled_from([1, -1]))
@settings(max_examples=40, deadline=None)
def test_logits_and_losses_equal_the_naive_loop_for_each_replicate(
    p: int, seed: int, definition: Definition, sign: int
) -> None:
    logits, key = normal(seed, 2, p * p, 3), normal(seed, 2, p // 2) > 0
    labels = normal(seed + 1, 2, p * p).mul(10).long() % 3
    split = normal(seed + 2, 2, p * p) > 0
    split[:, 0] = True
    options = (p, key, definition, sign)
    kept = progress.restricted_logits(logits, *options)
    removed = progress.excluded_logits(logits, *options)
    kept_loss = progress.restricted_loss(logits, labels, *options, split)
    removed_loss = progress.excluded_loss(logits, labels, *options, split)
    for r in range(2):
        part = naive_projection(logits[r], p, key[r], definition, sign)
        torch.testing.assert_close(kept[r], part + logits[r].mean(0))
        torch.testing.assert_close(removed[r], logits[r] - part)
        rows = split[r]
        for loss, expected in (
            (kept_loss, part + logits[r].mean(0)),
            (removed_loss, logits[r] - part),
        ):
            naive = torch.nn.functional.cross_entropy(expected[rows], labels[r][rows])
            torch.testing.assert_close(loss[r], naive)


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("p", [7, 8])
def test_parts_sum_to_the_whole_and_projecting_twice_changes_nothing(
    p: int, definition: Definition
) -> None:
    logits, key = normal(0, p * p, p), mask_of(p, 1, p // 2)
    kept = progress.restricted_logits(logits, p, key, definition)
    removed = progress.excluded_logits(logits, p, key, definition)
    torch.testing.assert_close(kept + removed - logits.mean(0), logits)
    torch.testing.assert_close(progress.restricted_logits(kept, p, key, definition), kept)
    torch.testing.assert_close(progress.excluded_logits(removed, p, key, definition), removed)
    nothing = progress.excluded_logits(kept, p, key, definition)
    torch.testing.assert_close(nothing, logits.mean(0).expand_as(logits))


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("sign", [1, -1])
def test_clock_logits_live_in_their_key_frequencies(definition: Definition, sign: int) -> None:
    p = 11
    logits, labels = clock_logits(p, {2: 3.0, 5: 1.5}, sign), sums(p, sign)
    key = mask_of(p, 2, 5)
    loss = progress.split_mean(progress.cross_entropy(logits, labels))
    arguments = (logits, labels, p, key, definition, sign)
    torch.testing.assert_close(progress.restricted_loss(*arguments), loss)
    uniform = progress.excluded_loss(*arguments)
    torch.testing.assert_close(uniform, torch.tensor(math.log(p)).double())
    assert progress.split_mean(progress.correct(logits, labels)).item() == 1


def test_missing_a_key_frequency_raises_the_restricted_loss() -> None:
    p = 11
    logits, labels = clock_logits(p, {2: 3.0, 5: 1.5}), sums(p)
    full = progress.restricted_loss(logits, labels, p, mask_of(p, 2, 5))
    assert progress.restricted_loss(logits, labels, p, mask_of(p, 2)) > full + 0.1
    others = progress.restricted_loss(logits, labels, p, mask_of(p, 1, 3))
    torch.testing.assert_close(others, torch.tensor(math.log(p)).double())


def test_definitions_differ_by_the_difference_waves() -> None:
    p = 7
    wave, other = clock_logits(p, {3: 1.0}, sign=1), clock_logits(p, {3: 1.0}, sign=-1)
    key = mask_of(p, 3)
    torch.testing.assert_close(progress.restricted_logits(wave + other, p, key), wave)
    block = progress.restricted_logits(wave + other, p, key, "block_2x2")
    torch.testing.assert_close(block, wave + other)


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_products_of_two_frequencies_are_never_kept(definition: Definition) -> None:
    p = 11
    basis = fourier_basis(p)
    product = torch.outer(basis[3], basis[9]).reshape(-1, 1)  # cos 2 of a times cos 5 of b
    kept = progress.restricted_logits(product, p, mask_of(p, 2, 5), definition)
    torch.testing.assert_close(kept, torch.zeros_like(kept))


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_losses_of_many_sets_equal_one_set_at_a_time(definition: Definition) -> None:
    p, generator = 8, torch.Generator().manual_seed(0)
    logits, labels = normal(1, 2, p * p, p).float(), sums(p)
    sets = torch.rand(5, 2, p // 2, generator=generator) > 0.5
    splits = torch.rand(3, 2, p * p, generator=generator) > 0.5
    found = progress.frequency_set_losses(logits, labels, p, sets, definition, split=splits)
    assert found.restricted.shape == found.excluded.shape == (5, 3, 2)
    for draw, mask in enumerate(sets):
        for s, split in enumerate(splits):
            arguments = (logits, labels, p, mask, definition, 1, split)
            kept, removed = progress.restricted_loss(*arguments), progress.excluded_loss(*arguments)
            torch.testing.assert_close(found.restricted[draw, s], kept)
            torch.testing.assert_close(found.excluded[draw, s], removed)


def test_one_key_set_serves_all_replicates() -> None:
    p = 7
    logits, labels, key = normal(2, 3, p * p, p), sums(p), mask_of(p, 1, 3)
    shared = progress.restricted_loss(logits, labels, p, key)
    torch.testing.assert_close(
        shared, progress.restricted_loss(logits, labels.expand(3, -1), p, key.expand(3, -1))
    )


def test_loss_of_a_confident_network_is_not_rounded_to_zero() -> None:
    """Float32 gives exactly 0 where the true loss is exp(-30)."""
    logits, labels = torch.tensor([[30.0, 0.0]]), torch.tensor([0])
    assert torch.nn.functional.cross_entropy(logits, labels).item() == 0
    loss = progress.cross_entropy(logits, labels)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(math.exp(-30), rel=1e-2)


def test_split_mean_takes_masks_with_more_axes_and_is_nan_on_empty_splits() -> None:
    values = torch.tensor([[1.0, 2.0, 6.0], [4.0, math.inf, 2.0]]).double()
    splits = torch.tensor([[[1, 1, 0], [1, 0, 1]], [[0, 0, 1], [0, 0, 0]]]).bool()
    found = progress.split_mean(values, splits)
    assert found[0].tolist() == [1.5, 3.0]  # the infinite loss is outside the split
    assert found[1, 0].item() == 6
    assert found[1, 1].isnan()


@given(st.integers(1, 12), st.integers(0, 12), seeds, st.booleans())
@settings(max_examples=60, deadline=None)
def test_random_sets_have_the_size_of_the_key_and_avoid_it_if_they_can(
    n_freq: int, size: int, seed: int, exclude_key: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    key = torch.zeros(2, n_freq, dtype=torch.bool)
    key[0, : min(size, n_freq)] = True
    key[1, -1] = True
    sets = progress.random_frequency_sets(key, 20, generator, exclude_key=exclude_key)
    assert sets.shape == (20, 2, n_freq)
    assert (sets.sum(-1) == key.sum(-1)).all()
    if exclude_key:
        avoidable = key.sum(-1) <= n_freq // 2
        assert not (sets & key)[:, avoidable].any()


def test_random_sets_cover_all_allowed_frequencies_evenly() -> None:
    key = mask_of(21, 1, 2, 3)
    draws = 4000
    sets = progress.random_frequency_sets(key, draws, torch.Generator().manual_seed(0))
    share = sets.double().mean(0)
    assert share[:3].eq(0).all()
    torch.testing.assert_close(share[3:], torch.full((7,), 3 / 7).double(), atol=0.04, rtol=0)
    everywhere = progress.random_frequency_sets(
        key, draws, torch.Generator().manual_seed(0), exclude_key=False
    )
    share = everywhere.double().mean(0)
    torch.testing.assert_close(share, torch.full((10,), 0.3).double(), atol=0.04, rtol=0)


def test_random_sets_use_all_frequencies_where_most_are_key() -> None:
    key = torch.tensor([True, True, True, False])
    sets = progress.random_frequency_sets(key, 200, torch.Generator().manual_seed(0))
    assert sets.unique(dim=0).shape[0] == 4  # every set of three of the four


def test_gini_of_components_is_sparse_in_fourier_space_only() -> None:
    p = 13
    sparse = fourier_basis(p)[[3, 4]].T @ normal(6, 2, 5)
    dense = normal(7, p, 5)
    found = progress.gini_of_components(torch.stack([sparse, dense]))
    for matrix, value in zip((sparse, dense), found, strict=True):
        torch.testing.assert_close(value, gini(transform_1d(matrix).norm(dim=1)))
    assert found[0] > 0.8 > 0.4 > found[1]
