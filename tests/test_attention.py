import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mechflow import attention

seeds = st.integers(min_value=0, max_value=2**32)
SHAPE = (2, 3, 4)  # replicates, examples, heads
N_POS = 7


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def causal_pattern(seed: int, *shape: int, n_pos: int = N_POS) -> Tensor:
    scores = torch.randn(*shape, n_pos, n_pos, generator=generator(seed))
    future = torch.ones(n_pos, n_pos, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(-1)


def uniform_pattern(*shape: int, n_pos: int = N_POS) -> Tensor:
    weights = torch.ones(n_pos, n_pos, dtype=torch.float64).tril()
    return (weights / weights.sum(-1, keepdim=True)).expand(*shape, n_pos, n_pos)


def reads(seed: int, n_read: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and sets of sources; some keys lie behind their query."""
    shape = (*SHAPE[:2], n_read)
    queries, keys = (torch.randint(N_POS, shape, generator=generator(seed + i)) for i in range(2))
    sources = torch.rand(*shape, N_POS, generator=generator(seed + 2)) < 0.3
    sources[..., 0, 0] = True
    return queries, keys, sources


def perfect_pattern(keys_of: list[int]) -> Tensor:
    """One example and head whose position t attends to keys_of[t] only."""
    return torch.eye(len(keys_of))[keys_of][None, None]


def test_previous_token_score_equals_a_loop() -> None:
    pattern = causal_pattern(0, *SHAPE)
    score = attention.previous_token_score(pattern)
    for replicate in range(2):
        for head in range(4):
            one = pattern[replicate, :, head]
            terms = [float(one[n, t, t - 1]) for n in range(3) for t in range(1, N_POS)]
            assert score[replicate, head].item() == pytest.approx(sum(terms) / len(terms))


def test_a_previous_token_head_scores_one_and_its_neighbours_do_not() -> None:
    previous = perfect_pattern([0, 0, 1, 2, 3])
    itself = perfect_pattern([0, 1, 2, 3, 4])
    two_back = perfect_pattern([0, 1, 0, 1, 2])
    stacked = torch.cat([previous, itself, two_back], dim=1)
    assert attention.previous_token_score(stacked).tolist() == [1.0, 0.0, 0.0]


def test_an_induction_head_scores_one_and_a_head_on_the_same_token_zero() -> None:
    tokens = torch.tensor([[9, 4, 2, 7, 4, 2, 7]])  # 9 is a start token
    induction = perfect_pattern([0, 0, 0, 0, 2, 3, 4])
    same_token = perfect_pattern([0, 0, 0, 0, 1, 2, 3])
    pattern = torch.cat([induction, same_token], dim=1)
    every, sources = torch.arange(7)[None], attention.after_earlier_occurrences(tokens)
    assert attention.prefix_matching_score(pattern, every, sources).tolist() == [1.0, 0.0]


@given(seeds)
@settings(max_examples=15)
def test_occurrences_equal_a_search(seed: int) -> None:
    tokens = torch.randint(3, (2, 2, 6), generator=generator(seed))
    found = attention.after_earlier_occurrences(tokens)
    for index in torch.cartesian_prod(torch.arange(2), torch.arange(2)):
        sequence = tokens[tuple(index)].tolist()
        for t in range(6):
            expected = [s + 1 for s in range(t) if sequence[s] == sequence[t]]
            assert found[tuple(index)][t].nonzero().flatten().tolist() == expected


@given(seeds)
@settings(max_examples=15)
def test_prefix_matching_equals_a_loop_over_reads_with_sources(seed: int) -> None:
    pattern, (queries, _, sources) = causal_pattern(seed, *SHAPE), reads(seed)
    score = attention.prefix_matching_score(pattern, queries, sources)
    baseline = attention.uniform_prefix_matching_score(queries, sources)
    for replicate in range(2):
        held, uniform, count = torch.zeros(4), 0.0, 0
        for n in range(3):
            for query, mask in zip(queries[replicate, n], sources[replicate, n], strict=True):
                if not mask.any():
                    continue
                count += 1
                held += pattern[replicate, n, :, query, mask].sum(-1)
                uniform += int(mask[: query + 1].sum()) / (int(query) + 1)
        torch.testing.assert_close(score[replicate], (held / count).double())
        assert baseline[replicate].item() == pytest.approx(uniform / count)


def test_reads_without_sources_do_not_dilute_the_mean_but_must_not_be_all() -> None:
    pattern, (queries, _, sources) = causal_pattern(3, *SHAPE), reads(3)
    sources[..., 1:, :] = False
    torch.testing.assert_close(
        attention.prefix_matching_score(pattern, queries, sources),
        attention.prefix_matching_score(pattern, queries[..., :1], sources[..., :1, :]),
    )
    sources[1] = False  # one replicate of two
    with pytest.raises(ValueError, match="no read has a source"):
        attention.prefix_matching_score(pattern, queries, sources)
    with pytest.raises(ValueError, match="no read has a source"):
        attention.uniform_prefix_matching_score(queries, sources)


def test_all_sources_of_a_read_count_together() -> None:
    pattern = torch.full((1, 1, 4, 4), 0.25)
    queries = torch.tensor([[3]])
    sources = torch.tensor([[[True, False, True, False]]])
    assert attention.prefix_matching_score(pattern, queries, sources).tolist() == [0.5]


def test_attention_to_keys_equals_indexing_group_by_group() -> None:
    pattern, (queries, keys, _) = causal_pattern(4, *SHAPE), reads(4)
    example = torch.arange(3)[:, None]
    groups = torch.arange(15).reshape(3, 5).expand(2, 3, 5) % 3
    by_group = attention.attention_to_by_group(pattern, queries, keys, groups, 4)
    assert by_group.shape == (2, 4, 4)
    assert by_group[..., 3].isnan().all()  # no read belongs to it
    for group in range(3):
        chosen = groups[1] == group
        # Advanced indices around a slice come first: [example, read, head].
        rows = pattern[1][example, :, queries[1], keys[1]][chosen]
        torch.testing.assert_close(by_group[1, :, group], rows.double().mean(0))
    with pytest.raises(RuntimeError):
        attention.attention_to_by_group(pattern, queries, keys, groups, 2)


def test_replicates_do_not_mix() -> None:
    pattern, (queries, keys, sources) = causal_pattern(5, *SHAPE), reads(5)
    groups = torch.zeros_like(keys)
    for together, alone in (
        (
            attention.prefix_matching_score(pattern, queries, sources),
            attention.prefix_matching_score(pattern[1], queries[1], sources[1]),
        ),
        (
            attention.attention_to_by_group(pattern, queries, keys, groups, 1),
            attention.attention_to_by_group(pattern[1], queries[1], keys[1], groups[1], 1),
        ),
        (
            attention.previous_token_score(pattern),
            attention.previous_token_score(pattern[1]),
        ),
    ):
        torch.testing.assert_close(together[1], alone)


def test_baselines_are_the_scores_of_uniform_attention() -> None:
    uniform, (queries, _, sources) = uniform_pattern(*SHAPE), reads(6)
    keys = torch.arange(N_POS)
    assert (sources & (keys > queries.unsqueeze(-1))).any()  # the future gets nothing
    score = attention.prefix_matching_score(uniform, queries, sources)
    baseline = attention.uniform_prefix_matching_score(queries, sources)
    torch.testing.assert_close(score, baseline.unsqueeze(-1).expand(-1, 4))
    assert attention.uniform_previous_token_score(N_POS) == pytest.approx(
        attention.previous_token_score(uniform)[0, 0].item()
    )
    assert attention.uniform_previous_token_score(3) == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_a_single_position_has_no_previous_token() -> None:
    with pytest.raises(ValueError, match="two positions"):
        attention.previous_token_score(torch.ones(1, 1, 1, 1))
    with pytest.raises(ValueError, match="two positions"):
        attention.uniform_previous_token_score(1)
