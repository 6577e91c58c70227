"""Chance levels, the permutation of labels, and selectivity."""

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier

from mechflow.probes.controls import chance_accuracy, permute_labels, selectivity

SCORES = pd.DataFrame(
    [
        (1, "trained", "z", "a", 0, "none", "test", "accuracy", 0.75),
        (0, "trained", "z", "a", 0, "none", "test", "accuracy", 0.5),
        (0, "trained", "z", "cos", 3, "none", "test", "r2", 0.9),
        (0, "trained", "z", "cos", 4, "none", "test", "r2", 0.8),
        (0, "trained", "z", "cos", 4, "shuffled_labels", "test", "r2", -0.1),
        (0, "trained", "z", "cos", 4, "shuffled_labels", "train", "r2", 0.3),
        (0, "trained", "z", "a", 0, "shuffled_labels", "test", "accuracy", 0.25),
        (1, "trained", "z", "a", 0, "shuffled_labels", "test", "accuracy", 0.125),
        (1, "untrained", "z", "a", 0, "shuffled_labels", "test", "accuracy", 0.1),
    ],
    columns=[
        *("replicate", "model", "site", "target", "frequency"),
        *("control", "split", "metric", "value"),
    ],
)


def _generators(count, first=0):
    return [torch.Generator().manual_seed(first + seed) for seed in range(count)]


@given(r=st.integers(1, 4), n=st.integers(1, 50), seed=st.integers(0, 2**20))
@settings(max_examples=40, deadline=None)
def test_permutation_keeps_the_labels_of_each_replicate(r, n, seed):
    labels = torch.randint(0, 5, (r, n), generator=torch.Generator().manual_seed(seed))
    permuted = permute_labels(labels, _generators(r, seed))
    assert torch.equal(permuted.sort(dim=1).values, labels.sort(dim=1).values)


def test_permutation_depends_on_the_replicates_generator_alone():
    labels = torch.arange(100).expand(3, 100)
    permuted = permute_labels(labels, _generators(3))
    assert not torch.equal(permuted[0], permuted[1])
    assert torch.equal(permuted[2], permute_labels(labels[:1], _generators(1, first=2))[0])
    assert torch.equal(labels[0], torch.arange(100))


def test_permutation_crosses_the_split():
    labels = (torch.arange(2000) >= 1000).long()[None]
    permuted = permute_labels(labels, _generators(1))
    assert 400 < int(permuted[0, :1000].sum()) < 600


def test_one_generator_for_each_replicate():
    with pytest.raises(ValueError, match="2 generators for 3 replicates"):
        permute_labels(torch.zeros(3, 4, dtype=torch.int64), _generators(2))


def test_chance_equals_scikit_learn_dummy():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 6, (2, 80), generator=generator).clamp_min(2)
    mask = torch.rand(2, 80, generator=generator) < 0.5
    frame = chance_accuracy(labels, mask)
    for r in range(2):
        dummy = DummyClassifier().fit(torch.zeros(int(mask[r].sum()), 1), labels[r, mask[r]])
        for split, rows in (("train", mask[r]), ("test", ~mask[r])):
            chosen = frame[(frame["replicate"] == r) & (frame["split"] == split)]
            chosen = chosen.set_index("chance")["value"]
            expected = dummy.score(torch.zeros(int(rows.sum()), 1), labels[r, rows])
            assert chosen["majority"] == pytest.approx(expected)
            assert chosen["uniform"] == 0.25


@pytest.mark.parametrize("value", [True, False])
def test_chance_needs_both_splits(value):
    with pytest.raises(ValueError, match="empty split"):
        chance_accuracy(torch.zeros(1, 4, dtype=torch.int64), torch.full((1, 4), value))


def test_selectivity_joins_each_score_with_its_own_control():
    joined = selectivity(SCORES)
    found = joined[["replicate", "target", "frequency", "selectivity"]].values.tolist()
    assert found == [[1, "a", 0, 0.625], [0, "a", 0, 0.25], [0, "cos", 4, pytest.approx(0.9)]]
    assert "control" not in joined.columns
    assert (joined["value"] - joined["control_value"]).equals(joined["selectivity"])


def test_selectivity_refuses_ambiguous_or_incomplete_scores():
    with pytest.raises(ValueError, match="more than one score"):
        selectivity(pd.concat([SCORES, SCORES.head(1)]))
    with pytest.raises(ValueError, match="lack the columns site, value"):
        selectivity(SCORES.drop(columns=["value", "site"]))
