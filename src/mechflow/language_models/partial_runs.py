"""Running a language model from a layer on, behind tokens whose keys and values are kept.

A block is called with the very arguments that the model's own forward pass gave it (positions,
masks, the kept keys and values), so nothing of an architecture is written down a second time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
) -> tuple[Float[Tensor, "site pairs pos d_model"], Float[Tensor, "pairs vocab"], list[Call]]:
    """The residual stream at every layer, the logits at the end, and how each block was called.

    Raises:
        ValueError: if the logits of the model are not the unembedding of its final norm.
    """
    streams: list[Tensor] = []
    calls: list[Call] = []

    def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        streams.append(args[0])
        calls.append(Call(args[1:], kwargs))
        if len(calls) == language_model.n_layers:
            streams.append(_stream(output))

    handles = [
        block.register_forward_hook(record, with_kwargs=True) for block in language_model.blocks
    ]
    try:
        logits = last_logits(language_model, ids, prefix)
    finally:
        for handle in handles:
            handle.remove()
    unembedded = unembed(language_model, language_model.final_norm(streams[-1]))
    if not torch.allclose(unembedded, logits, rtol=1e-2, atol=1e-2):
        raise ValueError("the logits of this model are not the unembedding of its final norm")
    return torch.stack(streams), logits, calls


def run_from(
    language_model: LanguageModel,
    stream: Float[Tensor, "pairs pos d_model"],
    calls: Sequence[Call],
    layer: int,
) -> Iterator[Float[Tensor, "pairs pos d_model"]]:
    """The given residual stream of a layer, that of every later one, and the final norm's."""
    yield stream
    for block, call in zip(language_model.blocks[layer:], calls[layer:], strict=True):
        stream = _stream(block(stream, *call.args, **call.kwargs))
        yield stream
    yield language_model.final_norm(stream)


def unembed(
    language_model: LanguageModel, normalized: Float[Tensor, "pairs pos d_model"]
) -> Float[Tensor, "pairs vocab"]:
    """Logits at the last token."""
    return language_model.model.get_output_embeddings()(normalized[:, -1])


def _stream(output: Any) -> Tensor:
    """The residual stream in what a block returns, with or without a tuple around it."""
    return output[0] if isinstance(output, tuple) else output
