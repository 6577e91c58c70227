"""Hidden states of a language model at chosen tokens, in all layers, of one shard of prompts.

Prompts are packed into tries of tokens, so that the model computes the state of a beginning that
several prompts share once. The model's own code runs, told by a mask and by position ids which
tokens follow which.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedConfig

from mechflow.language_models.errors import NonFiniteStateError, UnsupportedModelError
from mechflow.language_models.load import LanguageModel
from mechflow.language_models.tokens import Encoded
from mechflow.language_models.trie import ROOT, Pack, ancestor_mask, pack_prompts

States = dict[str, Float[Tensor, "prompts positions d_model"]]
"""States by site, in the order of layers."""

MAX_NODES = 128
NODES_PER_TOKEN = 4
"""Packs are at least so many times as large as the longest prompt, which each may begin with."""
PACKS_PER_FORWARD = {"cpu": 4}
PACKS_PER_FORWARD_ELSEWHERE = 32


class RelativeError(NamedTuple):
    """Distance from a reference, divided by the reference's norm, over states."""

    median: float
    largest: float


@torch.no_grad()
def hidden_states(
    language_model: LanguageModel,
    encoded: Encoded,
    *,
    max_nodes: int = MAX_NODES,
    packs_per_forward: int | None = None,
) -> States:
    """States of one shard of prompts at all sites of the model and all positions asked for.

    They are the states of each prompt alone, up to rounding, which depends on the prompts of the
    shard, on the two settings and on the device, but not on the order of the prompts.

    Args:
        language_model: the model.
        encoded: the prompts.
        max_nodes: tokens of a pack; packs are larger if prompts are long.
        packs_per_forward: packs that run together, None for a number that suits the device.

    Returns:
        States on the CPU, in the model's dtype, prompts in the order given.

    Raises:
        NonFiniteStateError: if a state has a NaN or infinite value.
        UnsupportedModelError: if a prompt is longer than the tokens that the model attends to, its
            attention takes no mask, or its blocks hand on more than one residual stream.
    """
    if packs_per_forward is None:
        packs_per_forward = PACKS_PER_FORWARD.get(
            language_model.device.type, PACKS_PER_FORWARD_ELSEWHERE
        )
    longest = int(encoded.positions.max()) + 1 if encoded.positions.numel() else 0
    _check_attention(language_model, longest)
    packs = pack_prompts(encoded.ids, encoded.positions, max(max_nodes, NODES_PER_TOKEN * longest))
    states = _empty(language_model, encoded)
    for first in range(0, len(packs), packs_per_forward):
        batch = packs[first : first + packs_per_forward]
        prompts = torch.cat([pack.prompts for pack in batch])
        _store(states, prompts, _read_packs(language_model, batch), language_model, encoded)
    return states


@torch.no_grad()
def unshared_hidden_states(
    language_model: LanguageModel, encoded: Encoded, *, batch: int = 32
) -> States:
    """The same states by the model's ordinary forward pass, prompts of equal length together.

    It shares neither prefixes nor masks nor position ids with `hidden_states`, which is to be
    compared with it.

    Raises:
        NonFiniteStateError: if a state has a NaN or infinite value.
        UnsupportedModelError: if the model's blocks hand on more than one residual stream.
    """
    states = _empty(language_model, encoded)
    by_length = sorted(range(len(encoded.ids)), key=lambda i: len(encoded.ids[i]))
    for _, group in groupby(by_length, key=lambda i: len(encoded.ids[i])):
        indices = list(group)
        for first in range(0, len(indices), batch):
            prompts = torch.tensor(indices[first : first + batch])
            ids = torch.tensor([encoded.ids[i] for i in prompts.tolist()])
            rows = torch.arange(len(ids))[:, None] * ids.shape[1] + encoded.positions[prompts]
            with _reading(language_model, rows) as found:
                language_model.backbone(ids.to(language_model.device), use_cache=False)
            read = torch.stack([found[site] for site in states]).cpu()
            _store(states, prompts, read, language_model, encoded)
    return states


def relative_errors(
    reference: Mapping[str, Float[Tensor, "*states d_model"]],
    states: Mapping[str, Float[Tensor, "*states d_model"]],
) -> dict[str, RelativeError]:
    """How far states are from a reference, by site.

    The error of one state x is ‖x − reference‖ / ‖reference‖, computed in float64.

    Raises:
        ValueError: if the sites differ or there is no state.
    """
    if reference.keys() != states.keys():
        raise ValueError("the states and their reference are of different sites")
    errors = {}
    for site, exact in reference.items():
        exact = exact.double().flatten(0, -2)
        distance = (states[site].double().flatten(0, -2) - exact).norm(dim=-1)
        if not len(distance):
            raise ValueError(f"there is no state at {site}")
        ratio = torch.where(distance == 0, 0.0, distance / exact.norm(dim=-1))
        errors[site] = RelativeError(float(ratio.quantile(0.5)), float(ratio.max()))
    return errors


def store_bytes(
    n_prompts: int, n_sites: int, n_positions: int, d_model: int, dtype: torch.dtype
) -> int:
    """Bytes that the states of so many prompts take."""
    return n_prompts * n_sites * n_positions * d_model * dtype.itemsize


def _check_attention(language_model: LanguageModel, longest: int) -> None:
    """Refuses a model for which one causal mask in all layers is not right.

    Raises:
        UnsupportedModelError: as `hidden_states`.
    """
    config = language_model.backbone.config
    if config._attn_implementation not in ("sdpa", "eager"):
        raise UnsupportedModelError(
            f"the attention '{config._attn_implementation}' takes no mask: load the model with "
            "'sdpa' or 'eager'"
        )
    for key, reach in _windows(config):
        if longest > reach:
            raise UnsupportedModelError(
                f"a prompt of {longest} tokens is longer than the {reach} that some layers of the "
                f"model attend to ({key} in config.json): use a shorter template"
            )


def _windows(config: PreTrainedConfig) -> Iterator[tuple[str, int]]:
    """How many tokens some layers attend to, by the key that says so; 0 and null say nothing."""
    kinds = getattr(config, "layer_types", None)
    for key, kind in (
        ("sliding_window", "sliding_attention"),
        ("attention_chunk_size", "chunked_attention"),
    ):
        reach = getattr(config, key, None)
        is_used = kind in kinds if kinds else getattr(config, f"use_{key}", True)
        if reach and is_used:
            yield key, reach


def _read_packs(
    language_model: LanguageModel, packs: Sequence[Pack]
) -> Float[Tensor, "site prompts positions d_model"]:
    """States of all prompts of some packs, one forward pass."""
    width = max(len(pack.tokens) for pack in packs)
    device = language_model.device
    # Nodes that fill up a shorter pack are roots to which no other node attends.
    tokens = _stacked([pack.tokens for pack in packs], width, 0).to(device)
    depths = _stacked([pack.depths for pack in packs], width, 0).to(device)
    parents = _stacked([pack.parents for pack in packs], width, ROOT).to(device)
    unseen = ~ancestor_mask(parents)[:, None]
    # Both implementations of attention add a mask of numbers to the scores.
    mask = torch.zeros(unseen.shape, dtype=language_model.dtype, device=device)
    mask.masked_fill_(unseen, torch.finfo(mask.dtype).min)
    rows = torch.cat([index * width + pack.rows for index, pack in enumerate(packs)])
    with _reading(language_model, rows) as found:
        language_model.backbone(
            input_ids=tokens, attention_mask=mask, position_ids=depths, use_cache=False
        )
    # One transfer instead of one for each site.
    return torch.stack([found[site] for site in language_model.sites]).cpu()


def _stacked(rows: Sequence[Int[Tensor, " ..."]], width: int, fill: int) -> Int[Tensor, "row w"]:
    """Rows of different lengths as one matrix."""
    return torch.stack([nn.functional.pad(row, (0, width - len(row)), value=fill) for row in rows])


@contextmanager
def _reading(
    language_model: LanguageModel, rows: Int[Tensor, "prompts positions"]
) -> Iterator[dict[str, Tensor]]:
    """Keeps the asked rows of each site, and nothing else, of the forward pass in the block.

    Args:
        language_model: the model.
        rows: token of the batch, counted through all its sequences.
    """
    found: dict[str, Tensor] = {}
    rows = rows.to(language_model.device)

    def keep(site: str, stream: Tensor) -> None:
        if stream.dim() != 3:
            raise UnsupportedModelError(
                f"{type(language_model.model).__name__} has {len(stream)} residual streams side by "
                f"side at {site}, [{', '.join(map(str, stream.shape))}]: only models with one can "
                "be read"
            )
        # Indexing copies, so that the activations of the other tokens can be freed.
        found[site] = stream.flatten(0, 1)[rows]

    def attach(site: str) -> torch.utils.hooks.RemovableHandle:
        def before(_: nn.Module, args: tuple[Any, ...]) -> None:
            keep(site, args[0])

        def after(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            keep(site, output[0] if isinstance(output, tuple) else output)

        module, side = language_model.hook_point(site)
        if side == "input":
            return module.register_forward_pre_hook(before)
        return module.register_forward_hook(after)

    handles = [attach(site) for site in language_model.sites]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _empty(language_model: LanguageModel, encoded: Encoded) -> States:
    shape = (*encoded.positions.shape, language_model.d_model)
    return {site: torch.empty(shape, dtype=language_model.dtype) for site in language_model.sites}


def _store(
    states: States,
    prompts: Int[Tensor, " n"],
    read: Float[Tensor, "site n positions d_model"],
    language_model: LanguageModel,
    encoded: Encoded,
) -> None:
    """Puts the states of some prompts in their places.

    Raises:
        NonFiniteStateError: if one is not finite.
    """
    finite = read.isfinite().flatten(2).all(dim=-1)
    for layer, (site, values) in enumerate(zip(states, read, strict=True)):
        if not finite[layer].all():
            prompt = int(prompts[~finite[layer]].min())
            text = language_model.tokenizer.decode(list(encoded.ids[prompt]))
            dtype = str(language_model.dtype).removeprefix("torch.")
            raise NonFiniteStateError(site, layer, prompt, str(text), dtype)
        states[site][prompts] = values
