"""Interchange interventions: the state of one prompt put into the run of another.

Two prompts differ in one operand only. The residual stream of the source prompt at the operand is
put into the run of the base prompt, in place of what is there, and the rest of that run shows what
was in it: what later layers then hold, and which token the model goes on with (Geiger et al. 2021,
"Causal abstractions of neural networks"; activation patching in Vig et al. 2020).

What lies before the operand is the same in both prompts and never changes, so it is run once, and
its keys and values are kept. A patched run computes only the tokens from the operand on, in the
blocks above the patched layer.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mechflow.language_models.load import LanguageModel
from mechflow.language_models.partial_runs import (
    Recorded,
    run_from,
    run_prefix,
    run_recorded,
    unembed,
)

Tokens = Literal["last", "operand"]
"""Which tokens of the operand are patched: the last one alone, or all of them."""

PatchControl = Literal["none", "random_direction"]
"""What is put in: the source's state, or the base's moved as far in a random direction."""


@dataclass(frozen=True)
class NextToken:
    """What a run goes on with after the prompt."""

    token: Int[Tensor, " pairs"]
    """The most probable next token."""
    base_log_prob: Float[Tensor, " pairs"]
    """Log-probability (nats) of the token that the base prompt goes on with when left alone."""
    source_log_prob: Float[Tensor, " pairs"]
    """Log-probability (nats) of the token that the source prompt goes on with."""


@dataclass(frozen=True)
class Patched:
    """Runs of the base prompts with one layer patched."""

    layer: int
    states: Float[Tensor, "pairs read d_model"]
    """At the operand's last token, at each of `read_layers`: the first is what was put in."""
    read_layers: range
    """The patched layer and all later ones, the last of them after the final norm."""
    distance: Float[Tensor, " pairs"]
    """Norm of the change that was made, over all patched tokens, as the dtype rounds it."""
    next_token: NextToken


@dataclass(frozen=True)
class _Group:
    """Pairs of equal length with the operand at the same place, from its first token on."""

    rows: Int[Tensor, " pairs"]
    width: int
    """Tokens of the operand: the first ones of `pos`."""
    base: Recorded
    source: Float[Tensor, "site pairs pos d_model"]


@dataclass(frozen=True)
class CleanRuns:
    """Both prompts of every pair left alone, and what patching the base prompts needs."""

    language_model: LanguageModel
    base: NextToken
    source: NextToken
    groups: tuple[_Group, ...]


@torch.no_grad()
def run_pairs(
    language_model: LanguageModel,
    base_ids: Sequence[Sequence[int]],
    source_ids: Sequence[Sequence[int]],
    operands: Sequence[tuple[int, int]],
    *,
    batch: int = 128,
) -> CleanRuns:
    """Run both prompts of every pair, and keep what patched runs start from.

    Args:
        language_model: the model.
        base_ids: tokens of the prompts that are to be patched.
        source_ids: tokens of the prompts that the states are taken from.
        operands: first token of the differing operand and the one after its last, for each pair.
        batch: pairs that run together at most. Pairs run together only if their prompts have equal
            length and their operands the same place, so such pairs are cheapest.

    Raises:
        ValueError: if there is no pair, or a pair's prompts differ in length or outside of the
            operand.
    """
    groups, base, source = [], [], []
    for rows in _alike(base_ids, source_ids, operands, batch):
        first, stop = operands[rows[0]]
        ids = [
            torch.tensor([prompts[row] for row in rows], device=language_model.device)
            for prompts in (base_ids, source_ids)
        ]
        cache = run_prefix(language_model, ids[0][:, :first])
        of_base, of_source = (
            run_recorded(language_model, prompt[:, first:], cache) for prompt in ids
        )
        tokens = of_base.logits.argmax(dim=-1), of_source.logits.argmax(dim=-1)
        base.append(_next_token(of_base.logits, *tokens))
        source.append(_next_token(of_source.logits, *tokens))
        groups.append(
            _Group(
                rows=torch.tensor(rows, device=language_model.device),
                width=stop - first,
                base=of_base,
                source=of_source.streams,
            )
        )
    order = _order(groups)
    return CleanRuns(
        language_model, _in_order(base, order), _in_order(source, order), tuple(groups)
    )


@torch.no_grad()
def interchange(
    runs: CleanRuns,
    layer: int,
    *,
    tokens: Tokens = "operand",
    control: PatchControl = "none",
    generator: torch.Generator | None = None,
) -> Patched:
    """Patch one layer of all base prompts, and read the rest of their runs.

    Args:
        runs: what `run_pairs` gave.
        layer: 0 for the embedding, i + 1 for the residual stream after block i. The last one is
            before the final norm.
        tokens: which tokens of the operand are patched.
        control: `random_direction` moves the base's state at each patched token by a random vector
            of the norm by which the source's state differs from it, in place of that difference.
        generator: CPU generator of the random directions.

    Raises:
        ValueError: if there is no such layer, or a random direction was asked for without a
            generator.
    """
    n_layers = runs.language_model.n_layers
    if not 0 <= layer <= n_layers:
        raise ValueError(f"layer {layer} cannot be patched, the model has layers 0..{n_layers}")
    directions = _directions(runs, generator) if control == "random_direction" else None
    states, distances, next_tokens = [], [], []
    for group in runs.groups:
        stream, distance = _put_in(group, layer, tokens, directions)
        streams = list(run_from(runs.language_model, stream, group.base, layer))
        states.append(torch.stack([later[:, group.width - 1] for later in streams], dim=1))
        distances.append(distance)
        logits = unembed(runs.language_model, streams[-1], group.base)
        clean_tokens = runs.base.token[group.rows], runs.source.token[group.rows]
        next_tokens.append(_next_token(logits, *clean_tokens))
    order = _order(runs.groups)
    return Patched(
        layer=layer,
        states=torch.cat(states)[order],
        read_layers=range(layer, n_layers + 2),
        distance=torch.cat(distances)[order],
        next_token=_in_order(next_tokens, order),
    )


def _put_in(
    group: _Group,
    layer: int,
    tokens: Tokens,
    directions: Float[Tensor, "all_pairs width d_model"] | None,
) -> tuple[Float[Tensor, "pairs pos d_model"], Float[Tensor, " pairs"]]:
    """The base prompts' residual stream with the patch in it, and how far that moved it."""
    patched = slice(0 if tokens == "operand" else group.width - 1, group.width)
    wide = torch.promote_types(group.source.dtype, torch.float32)
    before = group.base.streams[layer][:, patched].to(wide)
    after = group.source[layer][:, patched].to(wide)
    if directions is not None:
        direction = directions[group.rows, -after.shape[1] :].to(wide)
        after = before + direction * (after - before).norm(dim=-1, keepdim=True)
    stream = group.base.streams[layer].clone()
    stream[:, patched] = after.to(stream.dtype)
    distance = (stream[:, patched].to(wide) - before).flatten(start_dim=1).norm(dim=1)
    return stream, distance


def _alike(
    base_ids: Sequence[Sequence[int]],
    source_ids: Sequence[Sequence[int]],
    operands: Sequence[tuple[int, int]],
    batch: int,
) -> Iterator[list[int]]:
    """Batches of pairs that can run together.

    Raises:
        ValueError: if there is no pair, or a pair is none.
    """
    if not base_ids:
        raise ValueError("there is no pair of prompts")
    alike: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    pairs = zip(base_ids, source_ids, operands, strict=True)
    for row, (base, source, (first, stop)) in enumerate(pairs):
        if len(base) != len(source) or not 0 <= first < stop <= len(base):
            raise ValueError(
                f"pair {row}: prompts of {len(base)} and {len(source)} tokens cannot exchange "
                f"the states of tokens {first}..{stop - 1}"
            )
        if [*base[:first], *base[stop:]] != [*source[:first], *source[stop:]]:
            raise ValueError(f"pair {row}: the prompts differ outside of the operand")
        alike[len(base), first, stop].append(row)
    for rows in alike.values():
        for start in range(0, len(rows), batch):
            yield rows[start : start + batch]


def _next_token(
    logits: Float[Tensor, "pairs vocab"],
    base_token: Int[Tensor, " pairs"],
    source_token: Int[Tensor, " pairs"],
) -> NextToken:
    log_probs = logits.float().log_softmax(dim=-1)
    chosen = log_probs.gather(1, torch.stack([base_token, source_token], dim=1))
    return NextToken(logits.argmax(dim=-1), chosen[:, 0], chosen[:, 1])


def _order(groups: Sequence[_Group]) -> Int[Tensor, " pairs"]:
    """Where each pair is among the pairs of all groups, one group after the other."""
    return torch.cat([group.rows for group in groups]).argsort()


def _in_order(parts: Sequence[NextToken], order: Int[Tensor, " pairs"]) -> NextToken:
    """Next tokens of all groups, in the order of the pairs."""
    return NextToken(
        torch.cat([part.token for part in parts])[order],
        torch.cat([part.base_log_prob for part in parts])[order],
        torch.cat([part.source_log_prob for part in parts])[order],
    )


def _directions(
    runs: CleanRuns, generator: torch.Generator | None
) -> Float[Tensor, "pairs width d_model"]:
    """A random unit vector for each pair and operand token, counted from the operand's end.

    They do not depend on how the pairs are batched.

    Raises:
        ValueError: if there is no generator.
    """
    if generator is None:
        raise ValueError("random directions need a generator")
    n_pairs = sum(len(group.rows) for group in runs.groups)
    width = max(group.width for group in runs.groups)
    shape = (n_pairs, width, runs.language_model.d_model)
    directions = nn.functional.normalize(torch.randn(shape, generator=generator), dim=-1)
    return directions.to(runs.language_model.device)
