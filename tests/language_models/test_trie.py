"""Packs hold every prompt, each prefix once, and let a token attend to its own prompt only."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mechflow.language_models.trie import ROOT, Pack, ancestor_mask, pack_prompts

PROMPTS = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=6).map(tuple), min_size=1, max_size=30
)
ROOM = st.integers(6, 40)


def packed(prompts: Sequence[tuple[int, ...]], max_nodes: int) -> list[Pack]:
    """Packs that are asked for the first and the last token of every prompt."""
    ends = torch.tensor([[0, len(prompt) - 1] for prompt in prompts])
    return pack_prompts(prompts, ends, max_nodes)


def path(pack: Pack, node: int) -> list[int]:
    """Nodes from the root to a node."""
    nodes = [node]
    while (parent := int(pack.parents[nodes[0]])) != ROOT:
        nodes.insert(0, parent)
    return nodes


@given(PROMPTS, ROOM)
def test_every_prompt_reads_back_its_tokens(prompts: list[tuple[int, ...]], room: int) -> None:
    packs = packed(prompts, room)
    indices = torch.cat([pack.prompts for pack in packs])
    assert sorted(indices.tolist()) == list(range(len(prompts)))
    for pack in packs:
        for index, (first, last) in zip(pack.prompts.tolist(), pack.rows.tolist(), strict=True):
            nodes = path(pack, last)
            assert tuple(pack.tokens[nodes].tolist()) == prompts[index]
            assert pack.depths[nodes].tolist() == list(range(len(nodes)))
            assert first == nodes[0]


@given(PROMPTS, ROOM)
def test_each_prefix_is_one_node_of_a_pack(prompts: list[tuple[int, ...]], room: int) -> None:
    packs = packed(prompts, room)
    for pack in packs:
        assert len(pack.tokens) <= room
        nodes = [tuple(pack.tokens[path(pack, n)].tolist()) for n in range(len(pack.tokens))]
        inside = [prompts[index] for index in pack.prompts.tolist()]
        prefixes = {prompt[: n + 1] for prompt in inside for n in range(len(prompt))}
        assert sorted(nodes) == sorted(prefixes)
    assert sum(len(pack.tokens) for pack in packs) <= sum(map(len, prompts))


@given(PROMPTS, ROOM)
def test_a_node_attends_to_itself_and_its_ancestors(
    prompts: list[tuple[int, ...]], room: int
) -> None:
    for pack in packed(prompts, room):
        for node, attended in enumerate(pack.mask):
            assert attended.nonzero().flatten().tolist() == path(pack, node)


@given(PROMPTS, ROOM, st.randoms(use_true_random=False))
def test_packs_do_not_depend_on_the_order_of_prompts(
    prompts: list[tuple[int, ...]], room: int, random: object
) -> None:
    order = list(range(len(prompts)))
    random.shuffle(order)  # type: ignore[attr-defined]
    packs, others = packed(prompts, room), packed([prompts[i] for i in order], room)
    for pack, other in zip(packs, others, strict=True):
        for name in ("tokens", "parents", "depths", "rows"):
            assert torch.equal(getattr(pack, name), getattr(other, name))
        there = [prompts[order[index]] for index in other.prompts.tolist()]
        assert there == [prompts[index] for index in pack.prompts.tolist()]


def test_a_full_pack_is_continued_with_the_shared_path() -> None:
    first, second = packed([(1, 2, 3), (1, 2, 4), (1, 2, 5), (1, 6)], 5)
    assert first.tokens.tolist() == [1, 2, 3, 4, 5]
    assert first.parents.tolist() == [ROOT, 0, 1, 1, 1]
    assert second.tokens.tolist() == [1, 6]


def test_tokens_behind_the_last_position_are_left_out() -> None:
    (pack,) = pack_prompts([(1, 2, 3, 4), (1, 2, 9)], torch.tensor([[1], [1]]), 10)
    assert pack.tokens.tolist() == [1, 2]
    assert pack.rows.tolist() == [[1], [1]]


def test_masks_of_several_packs_at_once() -> None:
    parents = torch.tensor([[ROOT, 0, 1, 0], [ROOT, ROOT, 1, ROOT]])
    masks = ancestor_mask(parents)
    assert torch.equal(masks, torch.stack([ancestor_mask(row) for row in parents]))
    assert masks.int().tolist() == [
        [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]],
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]],
    ]


def test_numbers_of_one_digit_a_token_share_most_tokens() -> None:
    prompts = [(*map(int, str(a)), 10, *map(int, str(b))) for a in range(30) for b in range(100)]
    tokens = sum(map(len, prompts))
    assert tokens / sum(len(pack.tokens) for pack in packed(prompts, 128)) > 3


@pytest.mark.parametrize("position", [[3], [-1], []])
def test_positions_outside_of_a_prompt_are_refused(position: list[int]) -> None:
    with pytest.raises(ValueError, match="not all in a prompt of 3 tokens"):
        pack_prompts([(1, 2, 3)], torch.tensor([position], dtype=torch.int64), 10)


def test_a_prompt_longer_than_a_pack_is_refused() -> None:
    with pytest.raises(ValueError, match="3 tokens does not fit into 2 nodes"):
        packed([(1, 2, 3)], 2)


def test_no_prompts_need_no_pack() -> None:
    assert pack_prompts([], torch.zeros(0, 1, dtype=torch.int64), 10) == []
