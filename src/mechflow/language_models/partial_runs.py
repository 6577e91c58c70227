"""Running a language model from a layer on, behind tokens whose keys and values are kept.

A block is called with the very arguments that the model's own forward pass gave it (positions,
masks, the kept keys and values), and logits are made by the model's own forward pass around its
blocks, so nothing of an architecture is written down a second time. Whether that is right for a
model, `self_check` finds out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from mechflow.language_models.load import LanguageModel


@dataclass(frozen=True)
class Call:
    """What the model passes to a block beside the residual stream."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class Recorded:
    """A run of the whole model, and what it takes to run its later part again."""

    streams: Float[Tensor, "site pairs pos d_model"]
    """The residual stream at every layer, the last before the final norm."""
    logits: Float[Tensor, "pairs vocab"]
    """Behind the last token."""
    calls: tuple[Call, ...]
    """How each block was called."""
    output: Any
    """What the backbone returned around its final states."""


class _KeptLayer(DynamicLayer):
    """Keys and values of the tokens before, to which nothing is ever added."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(keys, values)
        self.keys: Tensor = keys
        self.values: Tensor = values

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """The kept tokens followed by those of this call."""
        keys = torch.cat([self.keys, key_states], dim=-2)
        return keys, torch.cat([self.values, value_states], dim=-2)


def run_prefix(language_model: LanguageModel, ids: Int[Tensor, "pairs pos"]) -> Cache | None:
    """Keys and values of the tokens that come before, in a cache that never grows.

    None if there are no such tokens.
    """
    if not ids.shape[1]:
        return None
    cache = DynamicCache()
    language_model.backbone(ids, past_key_values=cache, use_cache=True)
    return Cache(layers=[_KeptLayer(keys, values) for keys, values, _ in cache])


def last_logits(
    language_model: LanguageModel, ids: Int[Tensor, "prompts pos"], cache: Cache | None
) -> Float[Tensor, "prompts vocab"]:
    """The model's own logits behind the last token; a cache stands for the tokens before `ids`."""
    output = language_model.model(
        ids,
        past_key_values=cache,
        use_cache=cache is not None,
        # An index gives the unembedding a contiguous copy. The view that a number of tokens gives
        # it makes torch copy W_U for every prompt.
        logits_to_keep=torch.tensor([-1], device=language_model.device),
    )
    return output.logits[:, -1]


def run_recorded(
    language_model: LanguageModel, ids: Int[Tensor, "pairs pos"], prefix: Cache | None
) -> Recorded:
    """Runs the model behind kept tokens, and keeps what passes between its parts."""
    streams: list[Tensor] = []
    calls: list[Call] = []
    outputs: list[Any] = []

    def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        streams.append(args[0])
        calls.append(Call(args[1:], kwargs))
        if len(calls) == language_model.n_layers:
            streams.append(_stream(output))

    def keep(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        outputs.append(replace(output, last_hidden_state=None))

    handles = [
        block.register_forward_hook(record, with_kwargs=True) for block in language_model.blocks
    ]
    handles.append(language_model.backbone.register_forward_hook(keep))
    try:
        logits = last_logits(language_model, ids, prefix)
    finally:
        for handle in handles:
            handle.remove()
    return Recorded(torch.stack(streams), logits, tuple(calls), outputs[0])


def run_from(
    language_model: LanguageModel,
    stream: Float[Tensor, "pairs pos d_model"],
    recorded: Recorded,
    layer: int,
) -> Iterator[Float[Tensor, "pairs pos d_model"]]:
    """The given residual stream of a layer, that of every later one, and the final norm's."""
    yield stream
    for block, call in zip(language_model.blocks[layer:], recorded.calls[layer:], strict=True):
        stream = _stream(block(stream, *call.args, **call.kwargs))
        yield stream
    yield language_model.final_norm(stream)


def unembed(
    language_model: LanguageModel,
    normalized: Float[Tensor, "pairs pos d_model"],
    recorded: Recorded,
) -> Float[Tensor, "pairs vocab"]:
    """Logits behind the last token, with whatever the model does around its unembedding.

    Models scale them, cap them softly or do neither, each in its own forward pass. That is run on
    the given states in place of those of the backbone.
    """
    # One matrix product of all pairs: of states that lie apart, torch makes one for each.
    last = normalized[:, -1:].contiguous()
    with _backbone_gives(language_model, replace(recorded.output, last_hidden_state=last)):
        # The backbone that does not look at them is given embeddings of the right shape.
        return language_model.model(inputs_embeds=last, use_cache=False).logits[:, -1]


@contextmanager
def _backbone_gives(language_model: LanguageModel, output: Any) -> Iterator[None]:
    """Within the block the backbone computes nothing and returns this."""
    backbone = language_model.backbone
    backbone.forward = lambda *_, **__: output
    try:
        yield
    finally:
        # The method of its class shows again.
        del backbone.forward


def _stream(output: Any) -> Tensor:
    """The residual stream in what a block returns, with or without a tuple around it."""
    return output[0] if isinstance(output, tuple) else output
