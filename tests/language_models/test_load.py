"""Loading from a folder alone, random weights from a seed, where the residual stream is read."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    PreTrainedConfig,
    Qwen3Config,
    Qwen3NextConfig,
)

from mechflow.language_models.errors import ModelSourceError
from mechflow.language_models.load import LanguageModel, load_language_model
from mechflow.language_models.quiet import quiet_transformers

SHAPE: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
HEAD = {**SHAPE, "head_dim": 8}
LLAMA_LIKE = [
    LlamaConfig(**SHAPE),
    MistralConfig(**SHAPE),
    Qwen3Config(**HEAD),
    GemmaConfig(**HEAD),
    Gemma2Config(**HEAD),
    Gemma3TextConfig(**HEAD),
    Olmo2Config(**SHAPE),
    Phi3Config(**SHAPE),
]
PROMPTS = [
    "12 + 345 =",
    "7 8 90 1234 56789",
    "  x3.14e10\n+ 2",
    " Paris, 2024!",
    "Q: 007 − ١٢٣ =\n\nA:",
]
IDS = torch.tensor([[3, 40, 5, 60, 7]])


@pytest.fixture
def copy(tiny_llama_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama_folder, tmp_path / "model"))


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """No socket can be made; gives the attempts."""
    attempts: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        attempts.append(arguments)
        raise OSError("the network is out of bounds here")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return attempts


def with_config(folder: Path, **changes: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def with_tensors(folder: Path, **changes: Tensor | None) -> Path:
    """Adds tensors to the weights, or takes some away."""
    tensors = {**load_file(folder / "model.safetensors"), **changes}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    return folder


def folder_of(config: PreTrainedConfig, tiny_llama_folder: Path, target: Path) -> Path:
    """Another architecture's description with the tokenizer of the tiny Llama, without weights."""
    shutil.copytree(tiny_llama_folder, target, ignore=shutil.ignore_patterns("*.safetensors"))
    config.save_pretrained(target)
    return target


def states(model: LanguageModel, ids: Tensor) -> dict[str, Tensor]:
    """The residual stream at every site, read by hooks."""
    found: dict[str, Tensor] = {}
    handles = []
    for site in model.sites:
        module, side = model.hook_point(site)
        if side == "input":

            def before(_: nn.Module, inputs: tuple[Tensor, ...], site: str = site) -> None:
                found[site] = inputs[0]

            handles.append(module.register_forward_pre_hook(before))
        else:

            def after(_: nn.Module, __: object, output: Tensor, site: str = site) -> None:
                found[site] = output

            handles.append(module.register_forward_hook(after))
    with torch.no_grad():
        model.backbone(ids, use_cache=False)
    for handle in handles:
        handle.remove()
    return found


def test_the_pretrained_weights_are_those_of_the_file(tiny_llama_folder: Path) -> None:
    loaded = load_language_model(tiny_llama_folder, dtype=torch.float32)
    stored = load_file(tiny_llama_folder / "model.safetensors")
    parameters = dict(loaded.model.named_parameters())
    assert parameters.keys() == stored.keys()
    assert all(torch.equal(parameters[name], tensor) for name, tensor in stored.items())
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in parameters.values())


def test_its_properties(tiny_llama_folder: Path) -> None:
    loaded = load_language_model(tiny_llama_folder, dtype=torch.bfloat16)
    assert (loaded.n_layers, loaded.d_model) == (3, 32)
    assert (loaded.dtype, loaded.device) == (torch.bfloat16, torch.device("cpu"))
    assert loaded.embed.weight.shape == (259, 32)
    assert len(loaded.blocks) == 3
    assert loaded.final_norm.weight.shape == (32,)
    assert not hasattr(loaded.backbone, "lm_head")
    assert loaded.model.config._attn_implementation == "sdpa"
    assert loaded.sites == (
        "hook_embed",
        "blocks.0.hook_resid_post",
        "blocks.1.hook_resid_post",
        "blocks.2.hook_resid_post",
        "ln_final.hook_normalized",
    )


def test_a_tokenizer_that_gives_offsets_comes_with_it(tiny_llama_numbers_folder: Path) -> None:
    loaded = load_language_model(tiny_llama_numbers_folder, dtype=torch.float32)
    encoded = loaded.tokenizer("12 + 345 =", return_offsets_mapping=True)
    assert loaded.tokenizer.convert_ids_to_tokens(encoded.input_ids) == [
        "<bos>",
        "12",
        "Ġ+",
        "Ġ",
        "345",
        "Ġ=",
    ]
    assert encoded.offset_mapping[4] == (5, 8)


@pytest.mark.parametrize(
    "named",
    [
        "LlamaTokenizer",
        "LlamaTokenizerFast",
        "Qwen2Tokenizer",
        "GPT2Tokenizer",
        "GemmaTokenizer",
        "CohereTokenizer",
        "OfTomorrow",
        None,
    ],
)
@pytest.mark.parametrize("numbers", ["tiny_llama_folder", "tiny_llama_numbers_folder"])
def test_the_tokens_are_those_of_the_file_whatever_class_is_named(
    request: pytest.FixtureRequest, tmp_path: Path, numbers: str, named: str | None
) -> None:
    """Bug: transformers rebuilt the rules of splitting from the class, so 345 was three tokens."""
    folder = Path(shutil.copytree(request.getfixturevalue(numbers), tmp_path / "model"))
    path = folder / "tokenizer_config.json"
    stated = {**json.loads(path.read_text()), "tokenizer_class": named, "add_bos_token": True}
    path.write_text(json.dumps(stated))
    tokenizer = load_language_model(folder, dtype=torch.float32).tokenizer
    reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in (*map(str, range(1000)), *PROMPTS):
        expected, found = reference.encode(text), tokenizer(text, return_offsets_mapping=True)
        assert found.input_ids == expected.ids, text
        assert found.offset_mapping == expected.offsets, text
    digits = ["345"] if numbers == "tiny_llama_numbers_folder" else ["3", "4", "5"]
    assert tokenizer.tokenize("345") == digits


@pytest.mark.parametrize("config", LLAMA_LIKE, ids=lambda config: config.model_type)
def test_the_sites_are_the_residual_stream_of_every_supported_architecture(
    config: PreTrainedConfig, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    folder = folder_of(config, tiny_llama_folder, tmp_path / "model")
    loaded = load_language_model(folder, dtype=torch.float32, weights="random", seed=0)
    found = states(loaded, IDS)
    with torch.no_grad():
        expected = loaded.backbone(IDS, output_hidden_states=True).hidden_states
    # transformers has the stream after the final norm where the one before it would be.
    layers = [site for site in loaded.sites if site != "blocks.2.hook_resid_post"]
    assert len(layers) == len(expected)
    for site, state in zip(layers, expected, strict=True):
        assert torch.equal(found[site], state), site
    before_norm = found["blocks.2.hook_resid_post"]
    assert torch.equal(loaded.final_norm(before_norm), found["ln_final.hook_normalized"])
    assert not torch.equal(before_norm, found["ln_final.hook_normalized"])


def test_gemma_enters_its_first_block_with_a_scaled_embedding(
    tiny_llama_folder: Path, tmp_path: Path
) -> None:
    folder = folder_of(GemmaConfig(**HEAD), tiny_llama_folder, tmp_path / "model")
    loaded = load_language_model(folder, dtype=torch.float32, weights="random", seed=0)
    table = loaded.embed.weight[IDS]
    torch.testing.assert_close(states(loaded, IDS)["hook_embed"], table * 32**0.5)


def test_the_embedding_is_read_where_it_enters_the_first_block(tiny_llama_folder: Path) -> None:
    loaded = load_language_model(tiny_llama_folder, dtype=torch.float32)
    assert loaded.hook_point("hook_embed") == (loaded.blocks[0], "input")


def test_a_site_that_the_model_does_not_have(tiny_llama_folder: Path) -> None:
    loaded = load_language_model(tiny_llama_folder, dtype=torch.float32)
    with pytest.raises(ValueError, match=r"no site 'blocks\.3\.hook_resid_post'"):
        loaded.hook_point("blocks.3.hook_resid_post")


@pytest.mark.parametrize(
    ("config", "name", "reason"),
    [
        (GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=259), "GPT2LMHeadModel", "norm"),
        (
            GPTNeoXConfig(**{key: SHAPE[key] for key in list(SHAPE)[:5]}),
            "GPTNeoXForCausalLM",
            "embed_tokens",
        ),
        (
            Qwen3NextConfig(**HEAD, num_experts=2, num_experts_per_tok=1),
            "Qwen3NextForCausalLM",
            "linear_attention",
        ),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_another_architecture_is_refused_by_its_name(
    config: PreTrainedConfig, name: str, reason: str, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    folder = folder_of(config, tiny_llama_folder, tmp_path / "model")
    with pytest.raises(ModelSourceError, match=f"{name} is not supported.*{reason}"):
        load_language_model(folder, dtype=torch.float32, weights="random", seed=0)


def test_random_weights_depend_on_the_seed_alone(tiny_llama_folder: Path, copy: Path) -> None:
    def draw(folder: Path, seed: int) -> dict[str, Tensor]:
        loaded = load_language_model(folder, dtype=torch.float32, weights="random", seed=seed)
        return loaded.model.state_dict()

    (copy / "model.safetensors").unlink()
    first = draw(tiny_llama_folder, 1)
    torch.rand(7)
    again, other = draw(copy, 1), draw(copy, 2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_random_weights_are_drawn_by_the_architecture(copy: Path) -> None:
    with_config(copy, initializer_range=0.5)
    loaded = load_language_model(copy, dtype=torch.float32, weights="random", seed=0)
    assert loaded.embed.weight.std().item() == pytest.approx(0.5, rel=0.05)
    assert torch.equal(loaded.final_norm.weight, torch.ones(32))


def test_random_weights_are_tied_as_the_original(copy: Path) -> None:
    for tied in (True, False):
        with_config(copy, tie_word_embeddings=tied)
        model = load_language_model(copy, dtype=torch.bfloat16, weights="random", seed=0).model
        unembed, embed = model.get_output_embeddings().weight, model.get_input_embeddings().weight
        assert (unembed is embed) is tied


def test_random_weights_in_bfloat16_are_the_rounded_float32_ones(tiny_llama_folder: Path) -> None:
    exact, rounded = (
        load_language_model(tiny_llama_folder, dtype=dtype, weights="random", seed=5).model
        for dtype in (torch.float32, torch.bfloat16)
    )
    for a, b in zip(exact.parameters(), rounded.parameters(), strict=True):
        assert torch.equal(a.bfloat16(), b)
    assert rounded.dtype == rounded.config.dtype == torch.bfloat16


def test_a_random_model_keeps_the_precision_of_its_buffers(tiny_llama_folder: Path) -> None:
    pretrained = load_language_model(tiny_llama_folder, dtype=torch.bfloat16).model
    random = load_language_model(
        tiny_llama_folder, dtype=torch.bfloat16, weights="random", seed=0
    ).model
    expected = dict(pretrained.named_buffers())
    found = dict(random.named_buffers())
    assert found.keys() == expected.keys() != set()
    for name, buffer in expected.items():
        assert buffer.dtype == torch.float32
        assert torch.equal(found[name], buffer)


@pytest.mark.parametrize("weights", ["pretrained", "random"])
def test_the_global_generator_is_left_as_it_was(tiny_llama_folder: Path, weights: Any) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20_000)  # a state that no other test leaves behind
        before = torch.get_rng_state()
        load_language_model(tiny_llama_folder, dtype=torch.float32, weights=weights, seed=0)
        assert torch.equal(torch.get_rng_state(), before)


def test_random_weights_without_a_seed(tiny_llama_folder: Path) -> None:
    with pytest.raises(ValueError, match="need a seed"):
        load_language_model(tiny_llama_folder, dtype=torch.float32, weights="random")


@pytest.mark.parametrize("weights", ["pretrained", "random"])
def test_no_attempt_is_made_to_reach_the_network(
    tiny_llama_folder: Path, blocked: list[object], weights: Any
) -> None:
    load_language_model(tiny_llama_folder, dtype=torch.float32, weights=weights, seed=0)
    assert blocked == []


def test_nothing_is_printed_and_the_settings_come_back(
    copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    before = (logging.get_verbosity(), logging.is_progress_bar_enabled())
    with_tensors(copy, surplus=torch.ones(2))
    with pytest.raises(ModelSourceError):
        load_language_model(copy, dtype=torch.float32)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_the_settings_come_back_after_an_error_and_stay_as_the_user_had_them() -> None:
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with pytest.raises(ZeroDivisionError), quiet_transformers():
            raise ZeroDivisionError
        assert not logging.is_progress_bar_enabled()
    finally:
        if enabled:
            logging.enable_progress_bar()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.safetensors", r"model\.safetensors is not a whole safetensors file \(\w"),
        ("tokenizer.json", r"cannot be loaded: \w"),
    ],
)
def test_a_damaged_file_is_an_error_in_words(copy: Path, name: str, said: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelSourceError, match=f"{copy}.*{said}"):
        load_language_model(copy, dtype=torch.float32)


def test_pickled_weights_are_never_read(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    torch.save({}, copy / "pytorch_model.bin")
    with pytest.raises(ModelSourceError, match="pickle"):
        load_language_model(copy, dtype=torch.float32)


CODE = "raise SystemExit('code of the model was run')\n"


def test_code_beside_a_known_architecture_is_not_run(copy: Path) -> None:
    (copy / "modeling_tiny.py").write_text(CODE)
    with_config(copy, auto_map={"AutoModelForCausalLM": "modeling_tiny.Tiny"})
    loaded = load_language_model(copy, dtype=torch.float32)
    assert type(loaded.model).__name__ == "LlamaForCausalLM"


def test_an_architecture_that_only_exists_as_code_is_refused(copy: Path) -> None:
    (copy / "configuration_tiny.py").write_text(CODE)
    (copy / "modeling_tiny.py").write_text(CODE)
    with_config(
        copy,
        model_type="tiny-of-its-own",
        auto_map={
            "AutoConfig": "configuration_tiny.TinyConfig",
            "AutoModelForCausalLM": "modeling_tiny.Tiny",
        },
    )
    with pytest.raises(ModelSourceError, match="code of its own, which is never run") as info:
        load_language_model(copy, dtype=torch.float32)
    assert "trust_remote_code" not in str(info.value)


def test_an_unknown_architecture(copy: Path) -> None:
    with_config(copy, model_type="of-tomorrow")
    with pytest.raises(ModelSourceError, match="of-tomorrow"):
        load_language_model(copy, dtype=torch.float32)


def test_scores_that_gemma_2_squashes_are_not_left_to_fused_attention(
    tiny_llama_folder: Path, tmp_path: Path
) -> None:
    folder = folder_of(Gemma2Config(**HEAD), tiny_llama_folder, tmp_path / "model")
    with torch.random.fork_rng(devices=[]):
        AutoModelForCausalLM.from_config(Gemma2Config(**HEAD)).save_pretrained(folder)
    loaded = load_language_model(folder, dtype=torch.float32)
    assert loaded.model.config._attn_implementation == "eager"
