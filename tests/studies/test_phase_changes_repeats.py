import itertools
import math
from collections import Counter, defaultdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mechflow.studies.phase_changes.tasks.repeats import optimal_losses

# d_vocab, sequence length, length of the subsequence, repeats: small enough to list everything.
PROCESSES = [(3, 7, 2, 2), (4, 7, 2, 2), (3, 8, 2, 2), (3, 9, 3, 2), (3, 10, 2, 3), (3, 13, 2, 3)]
PUBLISHED = (128, 85, 16, 3)
Process = tuple[int, int, int, int]


@pytest.mark.parametrize("process", PROCESSES, ids=str)
def test_equals_counting_over_all_equally_likely_sequences(process: Process) -> None:
    tokens, starts = every_outcome(process)
    tokens, positions, targets = reads(tokens, starts, process)
    outcomes = [
        (tuple(sequence[: position + 1]), target)
        for sequence, row, answers in zip(
            tokens.tolist(), positions.tolist(), targets.tolist(), strict=True
        )
        for position, target in zip(row, answers, strict=True)
    ]
    counts: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for history, target in outcomes:
        counts[history][target] += 1
    expected = [-math.log(counts[seen][target] / counts[seen].total()) for seen, target in outcomes]
    torch.testing.assert_close(
        losses(tokens, positions, targets, process).flatten(),
        torch.tensor(expected, dtype=torch.float64),
    )


@given(st.integers(0, 10**6), st.sampled_from([*PROCESSES, (5, 31, 4, 3), PUBLISHED]))
def test_only_the_past_and_the_equality_of_tokens_matter(seed: int, process: Process) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens, positions, targets = reads(*sample(4, process, generator), process)
    found = losses(tokens, positions, targets, process)
    assert (found >= 0).all()
    assert found.isfinite().all()
    read = int(torch.randint(positions.shape[1], (), generator=generator))
    future = torch.arange(tokens.shape[1]) > positions[:, read, None]
    other = tokens.where(~future, torch.randint_like(tokens, 1, process[0], generator=generator))
    names = torch.cat(
        [torch.zeros(1, dtype=torch.int64), 1 + torch.randperm(process[0] - 1, generator=generator)]
    )
    torch.testing.assert_close(
        losses(names[other], positions[:, [read]], names[targets[:, [read]]], process),
        found[:, [read]],
    )


def test_probabilities_of_all_answers_sum_to_one() -> None:
    process = (4, 25, 5, 3)
    tokens, positions, targets = reads(
        *sample(64, process, torch.Generator().manual_seed(0)), process
    )
    every = [
        losses(tokens, positions, torch.full_like(targets, answer), process) for answer in range(4)
    ]
    assert every[0].isposinf().all()  # the first token never occurs again
    torch.testing.assert_close(
        torch.stack(every).neg().exp().sum(dim=0), torch.ones(positions.shape, dtype=torch.float64)
    )


def test_without_a_choice_of_places_the_next_token_is_certain() -> None:
    process = (3, 13, 6, 2)  # the subsequence fills its interval
    tokens, positions, targets = reads(
        *sample(64, process, torch.Generator().manual_seed(0)), process
    )
    assert losses(tokens, positions, targets, process).eq(0).all()


def test_a_long_subsequence_does_not_overflow() -> None:
    process = (10**6, 1 + 2 * 260, 250, 2)
    tokens, positions, targets = reads(
        *sample(2, process, torch.Generator().manual_seed(0)), process
    )
    assert losses(tokens, positions, targets, process).max() < 1e-3


def test_the_published_setting_has_almost_no_irreducible_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    found = losses(*reads(*sample(512, PUBLISHED, generator), PUBLISHED), PUBLISHED)
    # 20,000 sequences give 0.00229 nats with a standard error of 0.00006.
    standard_error = float(found.mean(dim=1).std()) / math.sqrt(512)
    assert found.mean().item() == pytest.approx(0.00229, abs=3 * standard_error)
    first = found[:, 0].mean()  # one token is seen: it may occur twice in the first interval
    assert 0.04 < first < 0.12
    assert found[:, 1:].mean() < 0.001
    assert found[:, 15:].mean() < found[:, :15].mean()  # the second copy of the original is known


def test_reads_that_cannot_be_are_refused() -> None:
    tokens = torch.tensor([[0, 1, 2, 1, 1, 2, 2]])
    targets = torch.tensor([[2]])
    with pytest.raises(ValueError, match="interval with a copy"):
        losses(tokens, torch.tensor([[3]]), targets, (3, 7, 2, 2))
    with pytest.raises(ValueError, match="no copy"):
        losses(torch.tensor([[0, 1, 1, 1, 2, 1, 1]]), torch.tensor([[4]]), targets, (3, 7, 2, 2))
    assert losses(tokens, targets[:, :0], targets[:, :0], (3, 7, 2, 2)).shape == (1, 0)


def losses(tokens: Tensor, positions: Tensor, targets: Tensor, process: Process) -> Tensor:
    d_vocab, _, subseq_len, repeats = process
    return optimal_losses(
        tokens, positions, targets, subseq_len=subseq_len, repeats=repeats, d_vocab=d_vocab
    )


def every_outcome(process: Process) -> tuple[Tensor, Tensor]:
    """All choices of noise and starts: tokens [n, pos] without copies, starts [n, repeat]."""
    d_vocab, seq_len, subseq_len, repeats = process
    interval = (seq_len - 1) // repeats
    noise = itertools.product(range(1, d_vocab), repeat=repeats * interval)
    places = list(itertools.product(range(interval - subseq_len + 1), repeat=repeats))
    tail = (1,) * (seq_len - 1 - repeats * interval)  # after all reads
    outcomes = [((0, *base, *tail), place) for base in noise for place in places]
    first = 1 + interval * torch.arange(repeats)
    return torch.tensor([o[0] for o in outcomes]), torch.tensor([o[1] for o in outcomes]) + first


def sample(n: int, process: Process, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    d_vocab, seq_len, subseq_len, repeats = process
    interval = (seq_len - 1) // repeats
    tokens = torch.randint(1, d_vocab, (n, seq_len), generator=generator)
    tokens[:, 0] = 0
    places = torch.randint(interval - subseq_len + 1, (n, repeats), generator=generator)
    return tokens, 1 + interval * torch.arange(repeats) + places


def reads(tokens: Tensor, starts: Tensor, process: Process) -> tuple[Tensor, Tensor, Tensor]:
    """The tokens with copies, the positions that are read, and the tokens after these."""
    subseq_len = process[2]
    tokens, row = tokens.clone(), torch.arange(len(tokens)).unsqueeze(1)
    places = starts.unsqueeze(2) + torch.arange(subseq_len)
    for copy in places[:, 1:].unbind(dim=1):
        tokens[row, copy] = tokens[row, places[:, 0]]
    positions = places[:, 1:, :-1].flatten(1)
    return tokens, positions, tokens[row, positions + 1]
