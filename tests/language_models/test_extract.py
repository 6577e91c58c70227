"""Hidden states of packed prompts against those of transformers, one prompt at a time."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from mechflow.language_models import extract
from mechflow.language_models.errors import UnsupportedModelError
from mechflow.language_models.extract import (
    NonFiniteStateError,
    States,
    hidden_states,
    relative_errors,
    store_bytes,
    unshared_hidden_states,
)
from mechflow.language_models.load import LanguageModel, load_language_model
from mechflow.language_models.templates import render
from mechflow.language_models.tokens import Encoded, encode

NUMBERS = [(a, b) for a in (3, 40, 41, 500) for b in (0, 7, 70, 71, 712)]
EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
ARCHITECTURES: dict[str, tuple[type[PreTrainedConfig], type[PreTrainedModel], dict[str, object]]]
ARCHITECTURES = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "gemma3": (Gemma3TextConfig, Gemma3ForCausalLM, {"sliding_window": 12, "head_dim": 8}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 8}),
    "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": 12}),
    # Windows that no layer uses, though a prompt is longer than 2 tokens.
    "qwen2_moe": (Qwen2MoeConfig, Qwen2MoeForCausalLM, EXPERTS | {"sliding_window": 0}),
    "window_0": (LlamaConfig, LlamaForCausalLM, {"sliding_window": 0}),
    "window_off": (
        LlamaConfig,
        LlamaForCausalLM,
        {"sliding_window": 2, "use_sliding_window": False},
    ),
    "window_unused": (
        Gemma3TextConfig,
        Gemma3ForCausalLM,
        {"sliding_window": 2, "head_dim": 8, "layer_types": ["full_attention"] * 3},
    ),
}


@pytest.fixture(scope="module")
def digits(tiny_llama_folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_llama_folder)


def tiny(
    name: str, tokenizer: PreTrainedTokenizerBase, attention: str = "sdpa", n_layers: int = 3
) -> LanguageModel:
    config_class, model_class, special = ARCHITECTURES[name]
    config = config_class(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        pad_token_id=None,
        **special,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = model_class._from_config(config, attn_implementation=attention)
    return LanguageModel(model=model.eval().requires_grad_(False), tokenizer=tokenizer)


def encoded(
    tokenizer: PreTrainedTokenizerBase,
    positions: Sequence[str] = ("a", "b", "last"),
    template: str = "{a} + {b} =",
    numbers: Sequence[tuple[int, int]] = NUMBERS,
) -> Encoded:
    texts, spans = zip(*(render(template, a, b) for a, b in numbers), strict=True)
    return encode(tokenizer, texts, spans, positions)


@torch.no_grad()
def one_by_one(language_model: LanguageModel, prompts: Encoded) -> States:
    """States by transformers itself, and the stream before the final norm, which it leaves out."""
    before_norm: list[torch.Tensor] = []
    handle = language_model.final_norm.register_forward_pre_hook(
        lambda _, args: before_norm.append(args[0])
    )
    rows = []
    for ids, wanted in zip(prompts.ids, prompts.positions, strict=True):
        tokens = torch.tensor([ids])
        output = language_model.model(tokens, output_hidden_states=True, use_cache=False)
        *streams, normalized = output.hidden_states
        layers = (*streams, before_norm.pop(), normalized)
        rows.append(torch.stack([layer[0, wanted] for layer in layers]))
    handle.remove()
    return dict(zip(language_model.sites, torch.stack(rows, dim=1), strict=True))


def assert_close(states: States, reference: States, tolerance: float = 1e-5) -> None:
    for site, (_, largest) in relative_errors(reference, states).items():
        assert largest < tolerance, site


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_states_are_those_of_each_prompt_alone(
    name: str, attention: str, digits: PreTrainedTokenizerBase
) -> None:
    language_model = tiny(name, digits, attention)
    prompts = encoded(digits)
    states = hidden_states(language_model, prompts, packs_per_forward=2)
    assert tuple(states) == language_model.sites
    assert states["hook_embed"].shape == (len(NUMBERS), 3, 32)
    assert_close(states, one_by_one(language_model, prompts))


def test_gemma_reads_sliding_and_full_layers(digits: PreTrainedTokenizerBase) -> None:
    language_model = tiny("gemma3", digits, n_layers=7)
    assert set(language_model.model.config.layer_types) == {"sliding_attention", "full_attention"}
    prompts = encoded(digits)
    assert_close(hidden_states(language_model, prompts), one_by_one(language_model, prompts))


@pytest.mark.parametrize("folder", ["tiny_llama_folder", "tiny_llama_numbers_folder"])
@pytest.mark.parametrize("template", ["{b} + {a}", "12 + 7 = 19\n{a} + {b} = "])
@pytest.mark.parametrize("positions", [["last"], ["b"], ["b", "a"]])
def test_tokenizers_templates_and_positions(
    folder: str, template: str, positions: list[str], request: pytest.FixtureRequest
) -> None:
    language_model = load_language_model(request.getfixturevalue(folder), dtype=torch.float32)
    prompts = encoded(language_model.tokenizer, positions, template)
    reference = one_by_one(language_model, prompts)
    assert_close(hidden_states(language_model, prompts), reference)
    assert_close(unshared_hidden_states(language_model, prompts, batch=3), reference)


def test_small_packs_give_the_same_states(
    monkeypatch: pytest.MonkeyPatch, digits: PreTrainedTokenizerBase
) -> None:
    monkeypatch.setattr(extract, "NODES_PER_TOKEN", 1)
    language_model = tiny("llama", digits)
    prompts = encoded(digits)
    reference = one_by_one(language_model, prompts)
    for max_nodes, packs_per_forward in ((1, 1), (1, 7), (20, 2), (1000, 1)):
        states = hidden_states(
            language_model, prompts, max_nodes=max_nodes, packs_per_forward=packs_per_forward
        )
        assert_close(states, reference)


def test_the_last_layer_before_and_after_the_norm_differ(digits: PreTrainedTokenizerBase) -> None:
    language_model = tiny("llama", digits)
    states = hidden_states(language_model, encoded(digits, ["last"]))
    *_, before, after = states.values()
    assert torch.allclose(language_model.final_norm(before), after, atol=1e-6)
    assert not torch.allclose(before, after, atol=0.1)


def test_states_do_not_depend_on_the_order_of_prompts(digits: PreTrainedTokenizerBase) -> None:
    language_model = tiny("llama", digits)
    language_model.model.to(torch.bfloat16)
    states = hidden_states(language_model, encoded(digits), max_nodes=40)
    backwards = hidden_states(language_model, encoded(digits, numbers=NUMBERS[::-1]), max_nodes=40)
    for site, values in states.items():
        assert values.dtype == torch.bfloat16
        assert torch.equal(values, backwards[site].flip(0))


def test_equal_prompts_have_equal_states(digits: PreTrainedTokenizerBase) -> None:
    prompts = encoded(digits, numbers=[(3, 4), (5, 6), (3, 4)])
    states = hidden_states(tiny("llama", digits), prompts)
    assert all(torch.equal(values[0], values[2]) for values in states.values())
    assert not torch.equal(states["hook_embed"][0], states["hook_embed"][1])


def test_states_own_their_memory_and_no_hook_stays(digits: PreTrainedTokenizerBase) -> None:
    language_model = tiny("llama", digits)
    states = hidden_states(language_model, encoded(digits))
    for values in states.values():
        assert values.untyped_storage().nbytes() == values.nbytes
    pointers = [values.untyped_storage().data_ptr() for values in states.values()]
    assert len(set(pointers)) == len(pointers)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in language_model.model.modules())


def test_each_distinct_prefix_is_computed_once(
    monkeypatch: pytest.MonkeyPatch, digits: PreTrainedTokenizerBase
) -> None:
    language_model = tiny("llama", digits)
    computed: list[int] = []
    language_model.embed.register_forward_hook(
        lambda m, args, out: computed.append(args[0].numel())
    )
    prompts = encoded(digits, ["b"])
    hidden_states(language_model, prompts, max_nodes=1000)
    read = [ids[: end + 1] for ids, (end,) in zip(prompts.ids, prompts.positions, strict=True)]
    prefixes = {ids[: n + 1] for ids in read for n in range(len(ids))}
    assert computed == [len(prefixes)]


def test_overflow_names_layer_and_prompt(digits: PreTrainedTokenizerBase) -> None:
    language_model = tiny("llama", digits)
    language_model.model.to(torch.float16)
    language_model.blocks[1].mlp.down_proj.weight.mul_(3e4)
    with pytest.raises(NonFiniteStateError, match=r"blocks\.1\.hook_resid_post \(layer 2\)") as e:
        hidden_states(language_model, encoded(digits))
    assert (e.value.site, e.value.layer) == ("blocks.1.hook_resid_post", 2)
    assert "float16; bfloat16 and float32 hold larger numbers" in str(e.value)
    assert all(torch.isfinite(w).all() for w in language_model.model.parameters())


@pytest.mark.parametrize("read", [hidden_states, unshared_hidden_states])
def test_a_nan_is_found_in_the_prompt_that_has_it(
    read: object, digits: PreTrainedTokenizerBase
) -> None:
    language_model = tiny("llama", digits)
    prompts = encoded(digits, ["a", "b"], numbers=[(500, 1), (3, 44), (2, 9), (1, 9)])
    language_model.embed.weight[digits.convert_tokens_to_ids("9")] = float("nan")
    with pytest.raises(NonFiniteStateError, match=r"hook_embed \(layer 0\) of prompt 2, '2 \+ 9"):
        read(language_model, prompts)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["gemma3", "mistral"])
def test_prompts_longer_than_the_window_are_refused(
    name: str, digits: PreTrainedTokenizerBase
) -> None:
    template = "{a} + {b} " + "=" * 20
    language_model = tiny(name, digits)
    said = r"longer than the 12 .* \(sliding_window in config.json\): use a shorter template"
    with pytest.raises(UnsupportedModelError, match=said):
        hidden_states(language_model, encoded(digits, ["last"], template))
    prompts = encoded(digits, ["b"], template)
    assert_close(hidden_states(language_model, prompts), one_by_one(language_model, prompts))


def test_attention_without_masks_is_refused(digits: PreTrainedTokenizerBase) -> None:
    language_model = tiny("llama", digits)
    language_model.model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(UnsupportedModelError, match="'flash_attention_2' takes no mask"):
        hidden_states(language_model, encoded(digits))


def test_no_prompts_give_no_states(digits: PreTrainedTokenizerBase) -> None:
    states = hidden_states(tiny("llama", digits), encode(digits, [], [], ["last"]))
    assert {tuple(values.shape) for values in states.values()} == {(0, 1, 32)}


def test_relative_errors_are_of_each_state() -> None:
    reference = {"x": torch.tensor([[[3.0, 4.0]], [[0.0, 2.0]], [[0.0, 0.0]]])}
    states = {"x": torch.tensor([[[3.0, 4.5]], [[0.0, 3.0]], [[0.0, 0.0]]])}
    assert relative_errors(reference, states)["x"] == pytest.approx((0.1, 0.5))
    flat = {site: values[:, 0] for site, values in states.items()}
    assert relative_errors(flat, flat)["x"] == (0.0, 0.0)
    for other in ({}, {"y": states["x"]}):
        with pytest.raises(ValueError, match="different sites"):
            relative_errors(reference, other)
    with pytest.raises(ValueError, match="no state"):
        relative_errors({"x": flat["x"][:0]}, {"x": flat["x"][:0]})


def test_rounding_grows_with_coarser_types(digits: PreTrainedTokenizerBase) -> None:
    prompts = encoded(digits)
    exact = hidden_states(tiny("llama", digits), prompts)
    medians = []
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        language_model = tiny("llama", digits)
        language_model.model.to(dtype)
        errors = relative_errors(exact, hidden_states(language_model, prompts))
        medians.append(errors["ln_final.hook_normalized"].median)
    assert all(finer < coarser for finer, coarser in pairwise(medians))
    assert medians[-1] < 0.05


def test_stored_bytes_are_those_of_the_states(digits: PreTrainedTokenizerBase) -> None:
    language_model = tiny("llama", digits)
    states = hidden_states(language_model, encoded(digits))
    n_sites = len(language_model.sites)
    assert store_bytes(len(NUMBERS), n_sites, 3, 32, torch.float32) == sum(
        values.nbytes for values in states.values()
    )
    assert store_bytes(10, 4, 1, 8, torch.bfloat16) == 640
