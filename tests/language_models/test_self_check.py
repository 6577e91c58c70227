"""Architectures that the package computes as they compute themselves, and some that it does not."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    Cohere2Config,
    Gemma3nTextConfig,
    Gemma3TextConfig,
    Gemma4TextConfig,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2MoeConfig,
)

from mechflow.language_models import self_check
from mechflow.language_models.errors import UnsupportedModelError
from mechflow.language_models.load import LanguageModel
from mechflow.language_models.partial_runs import Recorded, run_from
from mechflow.language_models.self_check import (
    PATCH_TOLERANCE,
    STATE_TOLERANCE,
    check_packing,
    check_replay,
)
from mechflow.language_models.templates import render
from mechflow.language_models.tokens import Encoded, encode
from tests.language_models.conftest import TinyModel
from tests.language_models.test_patching import SCALED

EXPERTS = {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_experts": 4}
LOCAL = {"layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 16}
RIGHT: dict[str, tuple[type[PreTrainedConfig], dict[str, Any]]] = {
    "llama": (LlamaConfig, {}),
    "gemma3": (Gemma3TextConfig, LOCAL),
    "cohere2": (Cohere2Config, {"logit_scale": 0.3} | LOCAL),
    "qwen2_moe": (Qwen2MoeConfig, EXPERTS | {"num_experts_per_tok": 2, "sliding_window": 0}),
    **SCALED,
}
# Inputs of its own to each layer, and keys that are kept for the last two.
INPUTS = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 300}
INPUTS |= {"layer_types": ["full_attention"] * 4, "num_kv_shared_layers": 2}
STREAMS = INPUTS | {"laurel_rank": 4, "altup_num_inputs": 2, "activation_sparsity_pattern": None}


def sums(language_model: LanguageModel, numbers: list[tuple[int, int]]) -> Encoded:
    texts, spans = zip(*(render("{a} + {b} = ", a, b) for a, b in numbers), strict=True)
    return encode(language_model.tokenizer, texts, spans, ["b", "last"])


def packing(language_model: LanguageModel) -> float:
    numbers = [(12, 34), (12, 35), (12, 3), (7, 3), (7, 35)]
    return check_packing(language_model, sums(language_model, numbers))


def replay(language_model: LanguageModel) -> float:
    base = sums(language_model, [(12, 34), (45, 67)])
    source = sums(language_model, [(12, 56), (45, 10)])
    return check_replay(language_model, base.ids, source.ids, base.operand_tokens["b"][0])


@pytest.mark.parametrize("name", RIGHT)
def test_models_with_one_stream_and_causal_attention_pass(name: str, tiny_model: TinyModel) -> None:
    config_class, special = RIGHT[name]
    language_model = tiny_model(config_class, **special)
    assert packing(language_model) < STATE_TOLERANCE / 10
    assert replay(language_model) < PATCH_TOLERANCE / 10


@pytest.mark.parametrize(
    ("config_class", "special", "said"),
    [
        (LlamaConfig, {"is_causal": False}, r"\(config.json says is_causal: false\)"),
        (Gemma3TextConfig, {"use_bidirectional_attention": True}, "both directions"),
    ],
)
def test_attention_in_both_directions_is_refused(
    config_class: type[PreTrainedConfig], special: dict[str, Any], said: str, tiny_model: TinyModel
) -> None:
    with pytest.raises(UnsupportedModelError, match=f"ForCausalLM cannot be read: .* {said}"):
        packing(tiny_model(config_class, **special))


def test_several_residual_streams_are_refused(tiny_model: TinyModel) -> None:
    said = r"Gemma3nForCausalLM has 2 residual streams side by side at hook_embed, \[2, "
    with pytest.raises(UnsupportedModelError, match=said):
        packing(tiny_model(Gemma3nTextConfig, **STREAMS))


def test_inputs_of_the_layers_own_can_be_read_but_not_patched(tiny_model: TinyModel) -> None:
    language_model = tiny_model(Gemma4TextConfig, **INPUTS)
    assert packing(language_model) < STATE_TOLERANCE / 10
    said = r"Gemma4ForCausalLM cannot be patched: at layer 0 exchanging .* interventions.pairs to 0"
    with pytest.raises(UnsupportedModelError, match=said):
        replay(language_model)


def test_keys_that_a_patch_leaves_to_later_runs_are_refused(tiny_model: TinyModel) -> None:
    """A no-op after a patch is one only where it runs the layers that keep the keys."""
    language_model = tiny_model(Gemma4TextConfig, **INPUTS)
    for block in language_model.blocks:
        block.per_layer_projection.weight.zero_()
    assert packing(language_model) < STATE_TOLERANCE / 10
    with pytest.raises(UnsupportedModelError, match="at layer 3 putting in what is there anyway"):
        replay(language_model)
    language_model = tiny_model(Gemma4TextConfig, **INPUTS | {"num_kv_shared_layers": 0})
    for block in language_model.blocks:
        block.per_layer_projection.weight.zero_()
    assert replay(language_model) < PATCH_TOLERANCE / 10


@pytest.mark.parametrize("reader", [1, 2, 3])
def test_what_a_block_leaves_in_its_arguments_is_refused(
    reader: int, tiny_model: TinyModel
) -> None:
    """The first block writes what a later one adds to the stream."""
    language_model = tiny_model(LlamaConfig)

    def give(_: object, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, kwargs | {"memory": {}}

    def write(_: object, __: object, kwargs: dict[str, Any], output: Tensor) -> None:
        kwargs["memory"]["seen"] = output

    def add(_: object, __: object, kwargs: dict[str, Any], output: Tensor) -> Tensor:
        return output + kwargs["memory"]["seen"]

    blocks = language_model.blocks
    language_model.backbone.register_forward_pre_hook(give, with_kwargs=True)
    blocks[0].register_forward_hook(write, with_kwargs=True)
    blocks[reader].register_forward_hook(add, with_kwargs=True)
    assert packing(language_model) < STATE_TOLERANCE / 10
    with pytest.raises(UnsupportedModelError, match=f"at layer {reader} putting in what is there"):
        replay(language_model)


def test_a_block_that_changes_its_arguments_is_refused(tiny_model: TinyModel) -> None:
    language_model = tiny_model(LlamaConfig)

    def turn(_: object, __: object, kwargs: dict[str, Any]) -> None:
        kwargs["position_embeddings"][0].mul_(0.9)

    assert replay(language_model) < PATCH_TOLERANCE / 10
    language_model.blocks[1].register_forward_pre_hook(turn, with_kwargs=True)
    with pytest.raises(UnsupportedModelError, match="at layer 0 putting in what is there anyway"):
        replay(language_model)


def test_a_call_of_another_layer_is_found(
    tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shifted(
        language_model: LanguageModel, stream: Tensor, recorded: Recorded, layer: int
    ) -> Iterator[Tensor]:
        calls = (*recorded.calls[1:], recorded.calls[0])
        return run_from(language_model, stream, dataclasses.replace(recorded, calls=calls), layer)

    monkeypatch.setattr(self_check, "run_from", shifted)
    with pytest.raises(UnsupportedModelError, match="at layer 0 putting in what is there anyway"):
        replay(tiny_model(Gemma3TextConfig, **LOCAL))


def test_the_error_is_that_of_the_worst_pair_and_run(
    tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The logits of the second pair are moved by a part of its distance, in the exchange alone."""
    language_model = tiny_model(LlamaConfig)
    parts = iter([0.0, 0.004])
    base, source = (
        language_model.model(torch.tensor(sums(language_model, [(45, b)]).ids)).logits[0, -1]
        for b in (67, 10)
    )
    own = self_check.unembed

    def moved(*args: Any) -> Tensor:
        logits = own(*args)
        logits[1] += next(parts) * (source - base)
        return logits

    monkeypatch.setattr(self_check, "unembed", moved)
    assert replay(language_model) == pytest.approx(0.004, rel=1e-2)
    assert next(parts, None) is None


def test_what_rounds_more_is_not_checked(tiny_model: TinyModel) -> None:
    language_model = tiny_model(LlamaConfig)
    language_model.model.to(torch.float16)
    for check in (packing, replay):
        with pytest.raises(ValueError, match=r"in float32, not in torch\.float16"):
            check(language_model)
