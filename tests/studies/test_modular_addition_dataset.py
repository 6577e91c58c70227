"""The dataset of modular addition: labels, splits, and the leak of the published split."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mechflow.seeds import Seeds
from mechflow.studies.modular_addition.config import Dataset
from mechflow.studies.modular_addition.dataset import run, train_mask
from mechflow.studies.modular_addition.inputs import (
    all_tokens,
    column,
    modulus,
    split_examples,
    train_masks,
)

SEEDS = Seeds(0, "modular_addition", "full")


def dataset(replicates: range = range(2), **options: object) -> pd.DataFrame:
    cfg = Dataset(**{"p": 11, "train_fraction": 0.4, **options})
    return run(dataset=cfg, seeds=SEEDS, replicates=replicates)["dataset"]


@pytest.mark.parametrize(
    ("task", "formula"),
    [
        ("add", lambda a, b: a + b),
        ("subtract", lambda a, b: a - b),
        ("quadratic", lambda a, b: a**2 + a * b + b**2),
    ],
)
def test_every_ordered_pair_occurs_once_with_its_label(task: str, formula: object) -> None:
    frame = dataset(task=task)
    for _, own in frame.groupby("replicate"):
        assert list(own["example"]) == list(own["a"] * 11 + own["b"]) == list(range(121))
        assert (own["label"] == formula(own["a"], own["b"]) % 11).all()


def test_random_labels_differ_between_replicates_and_ignore_the_operands() -> None:
    frame = dataset(task="random_labels")
    first, second = column(frame, "label")
    assert not torch.equal(first, second)
    assert set(frame["label"]) == set(range(11))
    assert (frame["label"] == (frame["a"] + frame["b"]) % 11).mean() < 0.3


@given(st.integers(3, 40), st.floats(0.1, 0.9), st.integers(0, 2**31 - 1))
def test_unordered_split_keeps_mirror_images_on_one_side(
    p: int, fraction: float, seed: int
) -> None:
    mask = train_mask(p, fraction, "unordered", torch.Generator().manual_seed(seed)).view(p, p)
    assert torch.equal(mask, mask.T)
    assert mask.diagonal().sum() == round(p * fraction)
    assert mask.triu(1).sum() == round(p * (p - 1) // 2 * fraction)


@given(st.integers(3, 40), st.floats(0.1, 0.9), st.integers(0, 2**31 - 1))
def test_ordered_split_has_the_published_size(p: int, fraction: float, seed: int) -> None:
    mask = train_mask(p, fraction, "ordered", torch.Generator().manual_seed(seed))
    assert mask.sum() == int(p * p * fraction)


def test_published_split_is_the_one_that_torch_randperm_drew_in_the_notebook() -> None:
    mask = train_mask(113, 0.3, "ordered", torch.Generator().manual_seed(598))
    # The first train pairs that the notebook prints.
    for a, b in ((21, 31), (30, 98), (47, 10), (86, 21), (99, 83)):
        assert mask[a * 113 + b]
    for a, b in ((43, 40), (31, 42), (39, 63), (35, 61), (112, 102)):
        assert not mask[a * 113 + b]
    assert (mask.sum(), (~mask).sum()) == (3830, 8939)


def test_published_split_leaks_mirror_images_and_the_default_does_not() -> None:
    generator = torch.Generator().manual_seed(598)
    published = train_mask(113, 0.3, "ordered", generator).view(113, 113)
    leaked = (published.T & ~published).sum() / (~published).sum()
    assert leaked.item() == pytest.approx(0.301, abs=0.005)
    seen = (published | published.T).triu(0).sum() / (113 * 114 / 2)
    assert seen.item() == pytest.approx(0.509, abs=0.005)
    ours = train_mask(113, 0.3, "unordered", torch.Generator().manual_seed(0)).view(113, 113)
    assert not (ours.T & ~ours).any()


def test_replicates_have_their_own_splits_unless_a_seed_fixes_one() -> None:
    own = train_masks(dataset())
    assert not torch.equal(own[0], own[1])
    fixed = train_masks(dataset(split="ordered", split_seed=598))
    assert torch.equal(fixed[0], fixed[1])


def test_a_replicate_does_not_depend_on_the_block_it_is_made_in() -> None:
    together = dataset(range(4))
    later = dataset(range(2, 4))
    alone = together[together["replicate"] >= 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, later)


def test_tokens_are_the_pairs_and_the_equals_sign() -> None:
    frame = dataset()
    assert modulus(frame) == 11
    train, test = split_examples(frame, "train"), split_examples(frame, "test")
    assert (train.tokens[..., 2] == 11).all()
    assert torch.equal((train.tokens[..., 0] + train.tokens[..., 1]) % 11, train.labels)
    assert train.labels.shape[1] + test.labels.shape[1] == 121
    codes = np.concatenate(
        [(s.tokens[0] @ torch.tensor([11, 1, 0])).numpy() for s in (train, test)]
    )
    assert sorted(codes) == list(range(121))
    assert torch.equal(all_tokens(11)[:, :2] @ torch.tensor([11, 1]), torch.arange(121))
