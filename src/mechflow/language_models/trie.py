"""Prompts that begin alike, merged so that a model computes each distinct beginning once.

In a causal model the state at a token depends on the tokens up to it alone. A shard of prompts is
therefore merged into a trie of tokens, whose every node stands for one distinct prefix. Cut into
packs of bounded size, a trie is a sequence in which each token attends to itself and its ancestors
("tree attention", Miao et al. 2023, SpecInfer, section 4.1). How prompts are packed depends on
their tokens only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int
from torch import Tensor

ROOT = -1


@dataclass(frozen=True)
class Pack:
    """Some prompts as the nodes of a token trie, parents before their children."""

    tokens: Int[Tensor, " nodes"]
    parents: Int[Tensor, " nodes"]  # index of a node's parent, ROOT for a first token
    depths: Int[Tensor, " nodes"]  # tokens before this one, which is its position id
    prompts: Int[Tensor, " prompts"]  # indices of the prompts that were packed
    rows: Int[Tensor, "prompts positions"]  # node of each position that was asked for

    @property
    def mask(self) -> Bool[Tensor, "nodes nodes"]:
        """Which nodes (second axis) a node attends to: itself and its ancestors."""
        return ancestor_mask(self.parents)


def pack_prompts(
    prompts: Sequence[tuple[int, ...]],
    positions: Int[Tensor, "prompts positions"],
    max_nodes: int,
) -> list[Pack]:
    """Merge prompts into packs, in the order of their tokens.

    A pack is closed when the next prompt does not fit; the prefix that the next prompt shares with
    the last one is then computed again in the new pack. Equal prompts share all their nodes. Tokens
    behind the last position that is asked for are left out.

    Args:
        prompts: tokens of each prompt.
        positions: index into the tokens of each position that is asked for.
        max_nodes: largest number of nodes of a pack.

    Raises:
        ValueError: if a position is not one of its prompt's tokens, or a prompt has more tokens
            than a pack has nodes.
    """
    asked: list[list[int]] = positions.tolist()
    needed = [_needed(prompt, wanted) for prompt, wanted in zip(prompts, asked, strict=True)]
    longest = max(map(len, needed), default=0)
    if longest > max_nodes:
        raise ValueError(f"a prompt of {longest} tokens does not fit into {max_nodes} nodes")
    packs = []
    growing = _GrowingPack()
    for index in sorted(range(len(needed)), key=lambda i: (needed[i], i)):
        if len(growing.tokens) + growing.new_nodes(needed[index]) > max_nodes:
            packs.append(growing.finished())
            growing = _GrowingPack()
        growing.add(index, needed[index], asked[index])
    if growing.prompts:
        packs.append(growing.finished())
    return packs


def ancestor_mask(parents: Int[Tensor, "*packs nodes"]) -> Bool[Tensor, "*packs nodes nodes"]:
    """Which nodes (last axis) are a node itself or its ancestors.

    Args:
        parents: index of each node's parent within its pack, ROOT for none.
    """
    n_nodes = parents.shape[-1]
    # Going up from a first token leads to a column of its own, which leads to itself.
    above = torch.where(parents == ROOT, n_nodes, parents)
    above = torch.nn.functional.pad(above, (0, 1), value=n_nodes)
    reached = torch.arange(n_nodes, device=parents.device).expand_as(parents)
    mask = parents.new_zeros((*parents.shape, n_nodes + 1), dtype=torch.bool)
    while bool((reached < n_nodes).any()):
        mask.scatter_(-1, reached.unsqueeze(-1), True)
        reached = above.gather(-1, reached)
    return mask[..., :n_nodes]


def _needed(prompt: tuple[int, ...], wanted: list[int]) -> tuple[int, ...]:
    """A prompt up to the last position that is asked for."""
    if not wanted or min(wanted) < 0 or max(wanted) >= len(prompt):
        raise ValueError(f"positions {wanted} are not all in a prompt of {len(prompt)} tokens")
    return prompt[: max(wanted) + 1]


@dataclass
class _GrowingPack:
    """A pack to which prompts are added in the order of their tokens."""

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    prompts: list[int] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)
    path: list[int] = field(default_factory=list)  # nodes of the prompt added last

    def new_nodes(self, prompt: tuple[int, ...]) -> int:
        """How many nodes the pack would grow by."""
        return len(prompt) - self._shared(prompt)

    def add(self, index: int, prompt: tuple[int, ...], wanted: list[int]) -> None:
        """Add the prompt that comes next."""
        del self.path[self._shared(prompt) :]
        for depth in range(len(self.path), len(prompt)):
            self.parents.append(self.path[-1] if self.path else ROOT)
            self.path.append(len(self.tokens))
            self.tokens.append(prompt[depth])
            self.depths.append(depth)
        self.prompts.append(index)
        self.rows.append([self.path[position] for position in wanted])

    def finished(self) -> Pack:
        """The pack as tensors."""
        columns = (self.tokens, self.parents, self.depths, self.prompts, self.rows)
        return Pack(*(torch.tensor(column) for column in columns))

    def _shared(self, prompt: tuple[int, ...]) -> int:
        """Length of the prefix that is in the pack: in this order, that of the prompt before."""
        shared = 0
        for node, token in zip(self.path, prompt, strict=False):
            if self.tokens[node] != token:
                break
            shared += 1
        return shared
