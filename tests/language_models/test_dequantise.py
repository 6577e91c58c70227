"""A GGUF file made here of a tiny Llama comes back as the model and tokenizer it was made of."""

import dataclasses
import json
from pathlib import Path

import gguf
import pytest
import torch
from gguf.quants import quantize
from tokenizers import pre_tokenizers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from mechflow.language_models import dequantise as module
from mechflow.language_models.dequantise import dequantise
from mechflow.language_models.errors import ModelSourceError
from mechflow.language_models.packaged import PackagedModel

MODEL = PackagedModel(
    wheels=(),
    gguf="tiny.gguf",
    sha256="",
    upstream="someone/tiny",
    licence="MIT",
    note="dequantised",
    digits_apart=True,
    config={"initializer_range": 0.25},
)
NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """Rows of a query or key map as GGUF orders them: pairs that rotate together are neighbours."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, weight.shape[1])
    return halves.transpose(1, 2).reshape(weight.shape)


def write_gguf(path: Path, folder: Path) -> None:
    """Writes a tiny Llama as GGUF, its matrices in 8 bits."""
    model = LlamaForCausalLM.from_pretrained(folder)
    config, tensors = model.config, model.state_dict()
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokens = dict(tokenizer["model"]["vocab"])
    tokens.update({added["content"]: added["id"] for added in tokenizer["added_tokens"]})
    special = {added["id"] for added in tokenizer["added_tokens"]}

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(sorted(tokens, key=tokens.__getitem__))
    writer.add_token_types([3 if index in special else 1 for index in range(len(tokens))])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_add_bos_token(False)

    stored = {
        "token_embd.weight": tensors["model.embed_tokens.weight"],
        "output_norm.weight": tensors["model.norm.weight"],
    }
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for layer in range(config.num_hidden_layers):
        for here, there in NAMES.items():
            weight = tensors[f"model.layers.{layer}.{here}.weight"]
            stored[f"blk.{layer}.{there}.weight"] = (
                interleaved(weight, heads[there]) if there in heads else weight
            )
    for name, weight in stored.items():
        if weight.ndim == 1:
            writer.add_tensor(name, weight.numpy())
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, quantize(weight.numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def made(tiny_llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    write_gguf(folder / "tiny.gguf", tiny_llama_folder)
    (folder / "made").mkdir()
    dequantise(folder / "tiny.gguf", MODEL, folder / "made")
    return folder / "made"


def test_the_weights_are_the_quantised_ones_in_float32(made: Path, tiny_llama_folder: Path) -> None:
    expected = AutoModelForCausalLM.from_pretrained(tiny_llama_folder).state_dict()
    found = AutoModelForCausalLM.from_pretrained(made).state_dict()
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        assert weight.dtype == torch.float32
        # A step of Q8_0 is the largest of 32 neighbours over 127. Rounding to it loses half a step,
        # and rounding the step to half precision up to 127 times 2⁻¹¹ of one.
        step = expected[name].abs().max().item() / 127
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=(0.5 + 127 / 2**11) * step)


def test_the_embedding_stays_tied(made: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(made)
    assert model.config.tie_word_embeddings
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_what_a_gguf_leaves_out_of_the_config_is_added(made: Path) -> None:
    assert json.loads((made / "config.json").read_text())["initializer_range"] == 0.25


def test_the_tokenizer_is_the_one_of_the_model(made: Path, tiny_llama_folder: Path) -> None:
    expected = AutoTokenizer.from_pretrained(tiny_llama_folder)
    found = AutoTokenizer.from_pretrained(made)
    for text in ("12 + 345 =", "x  7\n\n  3 = 10", "a12b 3"):
        assert found(text).input_ids == expected(text).input_ids
        assert found.decode(found(text).input_ids) == text


def test_digits_stay_with_their_space_unless_they_are_put_apart(
    tiny_llama_folder: Path, tmp_path: Path
) -> None:
    write_gguf(tmp_path / "tiny.gguf", tiny_llama_folder)
    for apart in (False, True):
        folder = tmp_path / str(apart)
        dequantise(tmp_path / "tiny.gguf", dataclasses.replace(MODEL, digits_apart=apart), folder)
        backend = AutoTokenizer.from_pretrained(folder).backend_tokenizer
        words = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str("1 23")]
        assert words == (["1", "Ġ", "2", "3"] if apart else ["1", "Ġ23"])
    assert isinstance(backend.pre_tokenizer, pre_tokenizers.Sequence)


def test_nothing_is_printed(
    tiny_llama_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_gguf(tmp_path / "tiny.gguf", tiny_llama_folder)
    capfd.readouterr()
    dequantise(tmp_path / "tiny.gguf", MODEL, tmp_path / "made")
    assert capfd.readouterr() == ("", "")


def test_an_architecture_that_transformers_cannot_convert_is_an_error_in_words(
    tmp_path: Path,
) -> None:
    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", "an-architecture-of-tomorrow")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelSourceError, match=r"tiny\.gguf \(someone/tiny\) cannot be dequant"):
        dequantise(tmp_path / "tiny.gguf", MODEL, tmp_path / "made")


def test_an_absent_gguf_package_is_an_error_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ImportError("Please install torch and gguf>=0.10.0")

    monkeypatch.setattr(module.AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(ModelSourceError, match=r"install torch and gguf"):
        dequantise(tmp_path / "tiny.gguf", MODEL, tmp_path / "made")
