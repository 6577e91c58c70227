"""Stored weights are exactly those that the configuration describes, or they are refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from mechflow.language_models.errors import ModelSourceError
from mechflow.language_models.load import load_language_model
from mechflow.language_models.weights import refuse_hidden_quantisation, refuse_unfit_weights
from tests.language_models.test_load import with_config, with_tensors

UP = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def copy(tiny_llama_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama_folder, tmp_path / "model"))


def refusal(folder: Path) -> str:
    with pytest.raises(ModelSourceError) as caught:
        load_language_model(folder, dtype=torch.float32)
    return str(caught.value)


def test_a_missing_tensor_is_not_drawn_at_random(copy: Path) -> None:
    said = refusal(with_tensors(copy, **{UP: None}))
    assert f"1 tensor is missing: {UP}." in said
    assert "the LlamaForCausalLM that config.json describes" in said
    assert str(copy) in said


def test_a_tensor_of_another_shape_is_named_with_both(copy: Path) -> None:
    said = refusal(with_tensors(copy, **{UP: torch.ones(48, 32)}))
    assert f"1 tensor is of another shape: {UP} [48, 32] instead of [64, 32]." in said


@pytest.mark.parametrize(
    ("surplus", "named"),
    [
        ({"model.layers.0.self_attn.q_proj.bias": torch.ones(32)}, "1 tensor is unexpected: "),
        ({f"model.layers.3.{kind}.weight": torch.ones(2) for kind in "ab"}, "2 tensors are unex"),
        ({"model.norm.bias": torch.ones(32)}, "1 tensor is unexpected: model.norm.bias"),
    ],
    ids=["biases", "more layers", "norm"],
)
def test_tensors_that_the_configuration_does_not_know_are_refused(
    copy: Path, surplus: dict[str, torch.Tensor], named: str
) -> None:
    """Bug: a model was loaded without its biases and last layers, and nothing was said."""
    said = refusal(with_tensors(copy, **surplus))
    assert named in said
    assert all(name in said for name in surplus)


def test_fewer_layers_than_are_stored_are_refused(copy: Path) -> None:
    with_config(copy, num_hidden_layers=2)
    assert "9 tensors are unexpected: model.layers.2." in refusal(copy)


def test_everything_that_does_not_fit_is_told_at_once(copy: Path) -> None:
    changes = {UP: None, "model.norm.bias": torch.ones(32), "model.norm.weight": torch.ones(5)}
    said = refusal(with_tensors(copy, **changes))
    for words in ("is missing", "is unexpected", "[5] instead of [32]", "save_pretrained"):
        assert words in said


def test_of_many_tensors_the_first_are_named(copy: Path) -> None:
    said = refusal(with_tensors(copy, **{f"extra.{i}": torch.ones(1) for i in range(9)}))
    assert "9 tensors are unexpected: extra.0, extra.1, extra.2, extra.3, extra.4, ...." in said


def test_a_tensor_that_cannot_be_read_is_refused(copy: Path) -> None:
    nothing: dict[str, list[Any]] = {
        key: [] for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
    }
    refuse_unfit_weights(copy, "Llama", nothing)
    with pytest.raises(ModelSourceError, match=r"1 tensor is not readable: size of W\. Correct"):
        refuse_unfit_weights(copy, "Llama", {**nothing, "error_msgs": ["size of W"]})


def test_an_untied_unembedding_must_be_there(copy: Path) -> None:
    with_config(copy, tie_word_embeddings=False)
    assert "1 tensor is missing: lm_head.weight." in refusal(copy)


def test_what_an_architecture_ignores_on_purpose_is_allowed(copy: Path) -> None:
    """Old checkpoints hold the rotary frequencies, and tied unembeddings a second time."""
    embed = load_file(copy / "model.safetensors")["model.embed_tokens.weight"]
    own = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(4) for i in range(3)}
    with_tensors(copy, **own, **{"lm_head.weight": embed.clone()})
    loaded = load_language_model(copy, dtype=torch.float32)
    assert torch.equal(loaded.model.state_dict()["model.embed_tokens.weight"], embed)
    assert loaded.model.get_output_embeddings().weight is loaded.embed.weight


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_a_quantisation_that_is_not_stated_is_refused(copy: Path, dtype: torch.dtype) -> None:
    """Bug: integers were read as numbers, without their scales."""
    said = refusal(with_tensors(copy, **{UP: torch.ones(64, 32).to(dtype)}))
    assert f"1 tensor is quantised: {UP} (" in said
    assert "config.json states no quantisation that transformers knows" in said


@pytest.mark.parametrize("stated", [None, {}, {"quant_method": "of_tomorrow"}])
def test_a_quantisation_that_is_stated_in_vain_is_refused(copy: Path, stated: object) -> None:
    """Bug: transformers reads such weights as they are, and warns at most."""
    with_config(copy, quantization_config=stated)
    said = refusal(with_tensors(copy, **{UP: torch.ones(64, 32, dtype=torch.int8)}))
    assert f"1 tensor is quantised: {UP} (I8)" in said


def test_a_quantisation_without_a_method_is_refused(copy: Path) -> None:
    with_config(copy, quantization_config={"bits": 8})
    assert "has no `quant_method`" in refusal(copy)


def test_a_quantisation_that_transformers_knows_is_left_to_it(copy: Path) -> None:
    with_tensors(copy, **{UP: torch.ones(64, 32, dtype=torch.int8)})
    with pytest.raises(ModelSourceError, match="1 tensor is quantised"):
        refuse_hidden_quantisation(copy, AutoConfig.from_pretrained(copy))
    with_config(copy, quantization_config={"quant_method": "gptq"})
    refuse_hidden_quantisation(copy, AutoConfig.from_pretrained(copy))


def test_packed_weights_of_other_names_are_unexpected(copy: Path) -> None:
    packed = UP.replace(".weight", ".qweight")
    said = refusal(with_tensors(copy, **{UP: None, packed: torch.ones(8, 32, dtype=torch.int32)}))
    assert f"1 tensor is missing: {UP}; 1 tensor is unexpected: {packed}" in said


def test_experts_of_eight_bits_are_found_whatever_their_name(copy: Path) -> None:
    name = "model.layers.0.mlp.experts.gate_up_proj"
    said = refusal(with_tensors(copy, **{name: torch.ones(2, 2).to(torch.float8_e5m2)}))
    assert f"1 tensor is quantised: {name} (F8_E5M2)" in said


def test_a_quantised_shard_is_found_too(copy: Path) -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    tensors = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    last = {UP: tensors.pop(UP).to(torch.int8)}
    for name, part in zip(shards, (tensors, last), strict=True):
        save_file(part, copy / name, {"format": "pt"})
    weight_map = {**dict.fromkeys(tensors, shards[0]), UP: shards[1]}
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert f"1 tensor is quantised: {UP} (I8)" in refusal(copy)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_of_other_widths_are_no_quantisation(copy: Path, dtype: torch.dtype) -> None:
    changes: dict[str, Any] = {UP: torch.ones(64, 32, dtype=dtype)}
    loaded = load_language_model(with_tensors(copy, **changes), dtype=torch.float32)
    assert torch.equal(dict(loaded.model.named_parameters())[UP], torch.ones(64, 32))


def test_random_weights_do_not_look_at_stored_ones(copy: Path) -> None:
    with_tensors(copy, **{UP: None})
    loaded = load_language_model(copy, dtype=torch.float32, weights="random", seed=0)
    assert json.loads((copy / "config.json").read_text())["num_hidden_layers"] == loaded.n_layers
