"""The three tasks: what is generated, where it is read, and what a blind answer costs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mechflow.studies.phase_changes.config import Data
from mechflow.studies.phase_changes.config import Induction as InductionConfig
from mechflow.studies.phase_changes.tasks import Task, task_of
from mechflow.studies.phase_changes.tasks.addition import EQUALS, PLUS, Addition
from mechflow.studies.phase_changes.tasks.induction import Induction
from mechflow.studies.phase_changes.tasks.repeats import positional_losses
from mechflow.studies.phase_changes.tasks.skip_trigram import QUERY, SkipTrigram

TASKS: list[Task] = [Addition(3), SkipTrigram(4, 9), Induction(31, 6, 3, 12)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 15), st.integers(0, 2**31))
def test_the_written_answer_is_the_sum(n_digits: int, seed: int) -> None:
    tokens = Addition(n_digits).generate(5, generator(seed)).tokens.tolist()
    for row in tokens:
        text = "".join({PLUS: "+", EQUALS: "="}.get(token, str(token)) for token in row)
        a, rest = text.split("+")
        b, answer = rest.split("=")
        assert len(a) == len(b) == n_digits
        assert len(answer) == n_digits + 1
        assert int(a) + int(b) == int(answer)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_reads_come_before_their_answers_and_name_their_group(task: Task) -> None:
    sequences = task.generate(50, generator())
    assert sequences.tokens.shape == (50, task.n_ctx)
    assert sequences.tokens.max() < task.d_vocab
    assert sequences.targets.max() < task.d_vocab_out
    assert sequences.positions.max() < task.n_ctx
    assert set(sequences.groups.flatten().tolist()) == set(range(len(task.groups)))
    if not isinstance(task, SkipTrigram):
        following = sequences.tokens.gather(1, sequences.positions + 1)
        assert torch.equal(following, sequences.targets)


def test_groups_of_addition_are_powers_of_ten() -> None:
    task = Addition(4)
    sequences = task.generate(20, generator())
    a, b = task.operands(sequences.tokens)
    total = sum((a[:, k] + b[:, k]) * 10**k for k in range(4))
    for read in range(5):
        power = sequences.groups[:, read]
        assert torch.equal(sequences.targets[:, read], total // 10**power % 10)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(0, 2**31))
def test_carries_are_those_of_written_addition(n_digits: int, seed: int) -> None:
    task = Addition(n_digits)
    tokens = task.generate(20, generator(seed)).tokens
    carries, passed = task.carries(tokens)
    for row, carried, because in zip(tokens, carries.tolist(), passed.tolist(), strict=True):
        a, b = (digits.tolist() for digits in task.operands(row))
        for k in range(n_digits):
            lower = sum((a[j] + b[j]) * 10**j for j in range(k + 1))
            assert carried[k] == (lower >= 10 ** (k + 1))
            assert because[k] == (carried[k] and a[k] + b[k] < 10)


def test_subsets_are_what_they_are_called() -> None:
    task = Addition(3)
    counts = {}
    for subset in task.subsets:
        sequences = task.generate_subset(subset, 300, generator())
        assert len(sequences) == 300
        counts[subset] = task.carries(sequences.tokens)
    assert not counts["none"][0].any()
    assert (counts["one"][0].sum(1) == 1).all()
    assert not counts["one"][1].any()
    assert counts["cascade"][1].any(1).all()


def test_the_trigger_is_alone_and_is_the_answer() -> None:
    task = SkipTrigram(5, 12)
    sequences = task.generate(400, generator())
    triggers = sequences.tokens >= task.first_trigger
    assert (triggers.sum(1) == 1).all()
    place = task.places(sequences.tokens)
    assert set(place.tolist()) == set(range(1, 13))
    token = sequences.tokens[torch.arange(400), place]
    assert torch.equal(token - task.first_trigger, sequences.targets[:, 0])
    assert (sequences.tokens[:, -1] == QUERY).all()


@pytest.mark.parametrize("sizes", [(31, 6, 3, 12), (85, 16, 3, 128), (9, 4, 2, 5), (10, 2, 4, 3)])
def test_every_copy_is_the_subsequence_and_lies_in_its_interval(
    sizes: tuple[int, int, int, int],
) -> None:
    task = Induction(*sizes)
    sequences = task.generate(300, generator())
    length = task.subseq_len - 1
    starts = sequences.positions[:, ::length]
    copies = torch.stack(
        [sequences.tokens.gather(1, s[:, None] + torch.arange(length + 1)) for s in starts.T]
    )
    assert (copies == copies[0]).all()
    offset = starts - 1 - torch.arange(1, task.repeats) * task.interval
    places = task.interval - task.subseq_len + 1
    assert set(offset.flatten().tolist()) == set(range(places))
    first = sequences.tokens[:, 1 : 1 + task.interval].unfold(1, task.subseq_len, 1)
    assert (first == copies[0][:, None]).all(2).any(1).all()
    assert (sequences.tokens[:, 0] == 0).all()
    assert (sequences.tokens[:, 1:] > 0).all()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_blind_losses_are_the_entropies_of_the_answers(task: Task) -> None:
    sequences = task.generate(40_000, generator())
    for group, name in enumerate(task.groups):
        # The group of a skip trigram is its answer, which a blind answer does not know.
        blind = isinstance(task, SkipTrigram) | (sequences.groups == group)
        answers = sequences.targets[blind]
        share = answers.bincount(minlength=task.d_vocab_out).double() / len(answers)
        entropy = -(share[share > 0] * share[share > 0].log()).sum().item()
        assert entropy == pytest.approx(task.blind_losses()[name], abs=5e-3)


def test_positions_alone_predict_as_counting_all_places_does() -> None:
    task = Induction(16, 3, 3, 4)
    sequences = task.generate(30, generator())
    found = positional_losses(
        sequences.tokens, sequences.positions, sequences.targets, subseq_len=3, repeats=3
    )
    places = range(task.interval - 3 + 1)
    for row in range(30):
        for read in range(sequences.positions.shape[1]):
            position = int(sequences.positions[row, read])
            interval = (position - 1) // task.interval
            right = possible = 0
            for original in places:
                for copy in places:
                    offset = position - (1 + interval * task.interval + copy)
                    if 0 <= offset < 2:
                        possible += 1
                        following = sequences.tokens[row, 1 + original + offset + 1]
                        right += int(following == sequences.targets[row, read])
            expected = -math.log(right / possible)
            assert found[row, read].item() == pytest.approx(expected)


def test_tasks_come_from_the_configuration() -> None:
    cfg = Data(task="induction", induction=InductionConfig(seq_len=61, subseq_len=10))
    assert task_of(cfg) == Induction(61, 10, 3, 128)
    assert task_of(Data()) == Addition(5)
    assert task_of(Data(task="skip_trigram")) == SkipTrigram(10, 40)
