"""Which prompts are read, and which numbers are held out."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mechflow.artifacts import SCHEMAS
from mechflow.seeds import Seeds
from mechflow.studies.number_probes import folds, prompts
from mechflow.studies.number_probes.config import Folds, Prompts

SEEDS = Seeds(0, "number_probes", "operand")


def made(seeds: Seeds = SEEDS, **settings: Any) -> Any:
    return prompts.run(prompts=Prompts(**settings), seeds=seeds)["prompts"]


def pairs_of(frame: Any) -> list[tuple[int, int]]:
    return list(frame[["a", "b"]].itertuples(index=False, name=None))


# Prompts


@pytest.mark.parametrize("limit", [1, 2, 10, 37])
def test_all_pairs_equal_the_double_loop(limit: int) -> None:
    naive = [(a, b) for a in range(limit) for b in range(limit) if a + b < limit]
    found = prompts.all_pairs(limit)
    assert [tuple(pair) for pair in found.tolist()] == naive
    assert len(found) == limit * (limit + 1) // 2


def test_without_a_sample_all_prompts_are_read() -> None:
    frame = made(limit=20, sample=None)
    assert pairs_of(frame) == [(a, b) for a in range(20) for b in range(20 - a)]
    assert pairs_of(made(limit=20, sample=210)) == pairs_of(frame)
    assert pairs_of(made(limit=20, sample=9999)) == pairs_of(frame)


@pytest.mark.parametrize("sampling", ["balanced", "uniform"])
def test_a_sample_is_sorted_distinct_and_as_large_as_asked(sampling: str) -> None:
    frame = made(limit=30, sample=100, sampling=sampling)
    pairs = pairs_of(frame)
    assert pairs == sorted(set(pairs))
    assert len(pairs) == 100
    assert all(a >= 0 and b >= 0 and a + b < 30 for a, b in pairs)
    assert frame["example"].tolist() == list(range(100))
    assert list(frame.columns) == [column.name for column in SCHEMAS["prompts"]]


@pytest.mark.parametrize(("label", "expected"), [("a", [7, 0]), ("b", [2, 5]), ("sum", [9, 5])])
def test_labels(label: str, expected: list[int]) -> None:
    assert prompts.label(np.array([[7, 2], [0, 5]]), label).tolist() == expected


@pytest.mark.parametrize("label", ["a", "b", "sum"])
def test_the_label_of_a_prompt_is_the_number_that_is_looked_for(label: str) -> None:
    frame = made(limit=30, sample=50, label=label)
    a, b = frame["a"], frame["b"]
    assert frame["label"].equals({"a": a, "b": b, "sum": a + b}[label].rename("label"))


def test_the_text_holds_the_operands() -> None:
    frame = made(limit=10, sample=None, template="2 + 3 = 5\n{a} + {b} = ")
    assert frame["text"].tolist() == [f"2 + 3 = 5\n{a} + {b} = " for a, b in pairs_of(frame)]


def test_a_sample_is_that_of_the_seed_and_the_same_in_all_variants() -> None:
    settings: dict[str, Any] = {"limit": 40, "sample": 60}
    for sampling in ("balanced", "uniform"):
        first = made(**settings, sampling=sampling)
        assert made(**settings, sampling=sampling).equals(first)
        assert made(Seeds(0, "number_probes", "sum"), **settings, sampling=sampling).equals(first)
        other = made(Seeds(1, "number_probes", "operand"), **settings, sampling=sampling)
        assert not other.equals(first)


@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=60),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_labels_are_equally_common_as_far_as_there_are_enough(
    labels: list[int], share: float, seed: int
) -> None:
    size = round(share * len(labels))
    chosen = prompts.balanced_sample(np.array(labels), size, np.random.default_rng(seed))
    assert len(set(chosen.tolist())) == len(chosen) == size
    found = {name: sum(labels[i] == name for i in chosen) for name in set(labels)}
    most = max(found.values())
    for name, count in found.items():
        assert count >= most - 1 or count == labels.count(name)


def test_no_example_of_a_label_is_favoured() -> None:
    labels = np.repeat([0, 1, 2], [4, 4, 4])
    generator, hits = np.random.default_rng(0), np.zeros(12)
    for _ in range(3000):
        hits[prompts.balanced_sample(labels, 5, generator)] += 1
    # Standard deviation of a count: sqrt(3000 * 5/12 * 7/12) = 27.
    np.testing.assert_allclose(hits, 3000 * 5 / 12, atol=27 * 4.5)


def test_a_uniform_sample_has_more_small_operands() -> None:
    uniform = made(limit=100, sample=1000, sampling="uniform")["label"]
    balanced = made(limit=100, sample=1000, sampling="balanced")["label"]
    assert uniform.lt(50).mean() == pytest.approx(0.75, abs=0.05)
    assert balanced.lt(50).mean() == pytest.approx(0.5, abs=0.05)


# Folds


def splits(count: int, valid: int, limit: int, seed: int = 0) -> np.ndarray:
    return np.stack(folds.equal_folds(limit, count, valid, np.random.default_rng(seed)))


@given(
    limit=st.integers(10, 60), count=st.integers(2, 7), valid=st.integers(1, 4), seed=st.integers(0)
)
def test_every_number_is_tested_once(limit: int, count: int, valid: int, seed: int) -> None:
    found = splits(count, valid, limit, seed)
    assert found.shape == (count, limit)
    assert ((found == "test").sum(axis=0) == 1).all()
    sizes = (found == "test").sum(axis=1)
    assert sizes.max() - sizes.min() <= 1
    assert ((found == "valid").sum(axis=1) == valid).all()
    assert ((found == "train").sum(axis=1) == limit - sizes - valid).all()


def table(replicates: range = range(2), limit: int = 100, **settings: Any) -> Any:
    return folds.run(limit=limit, folds=Folds(**settings), seeds=SEEDS, replicates=replicates)[
        "folds"
    ]


def test_the_table_has_a_row_for_each_number_of_each_fold() -> None:
    frame = table(range(3, 5), folds=5, valid_share=0.05)
    keys = ["replicate", "fold", "number"]
    assert list(frame.columns) == [column.name for column in SCHEMAS["folds"]]
    expected = [(r, f, n) for r in (3, 4) for f in range(5) for n in range(100)]
    assert list(frame[keys].itertuples(index=False, name=None)) == expected
    assert set(frame["split"]) == {"train", "valid", "test"}
    valid = frame[frame["split"] == "valid"].groupby(["replicate", "fold"]).size()
    assert valid.tolist() == [5] * 10


def test_replicates_divide_the_numbers_differently() -> None:
    first, second = (frame["split"].tolist() for _, frame in table().groupby("replicate"))
    assert first != second


def test_a_replicate_has_the_same_folds_whatever_its_block_and_variant() -> None:
    both, alone = table(range(2)), table(range(1, 2))
    assert both[both["replicate"] == 1].reset_index(drop=True).equals(alone)
    other = folds.run(
        limit=100,
        folds=Folds(),
        seeds=Seeds(0, "number_probes", "sum"),
        replicates=range(2),
    )["folds"]
    assert other.equals(both)


def test_the_published_split_is_the_notebooks() -> None:
    draw = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    train = draw < 0.9
    valid = ~train & (draw < 0.95)
    frame = table(range(1), limit=1000, split="published")
    assert frame["fold"].eq(0).all()
    for name, mask in (("train", train), ("valid", valid), ("test", ~train & ~valid)):
        assert torch.equal(torch.tensor((frame["split"] == name).to_numpy()), mask)


def test_replicates_of_the_published_split_differ() -> None:
    first, second = (
        frame["split"].tolist()
        for _, frame in table(range(2), limit=1000, split="published").groupby("replicate")
    )
    assert first != second


def test_drawing_a_split_leaves_the_global_generators_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    folds.published_split(50, 0)
    table()
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002
