"""Tiny language models, one of each way to write numbers, and of any architecture."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from mechflow.language_models.load import LanguageModel
from mechflow.language_models.quiet import quiet_transformers

TinyModel = Callable[..., LanguageModel]


@pytest.fixture(scope="session")
def tiny_model(tiny_llama_folder: Path) -> TinyModel:
    """Makes a random model that writes one digit a token, of a class of configurations."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama_folder)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    rest = {"vocab_size": 300, "pad_token_id": 0, "initializer_range": 0.3}

    def make(config_class: type[PreTrainedConfig], **special: object) -> LanguageModel:
        config = config_class(**(sizes | heads | rest | special))
        # As models are loaded: the fused attention cannot cap its scores.
        attention = "eager" if getattr(config, "attn_logit_softcapping", None) else "sdpa"
        with torch.random.fork_rng(devices=[]), quiet_transformers():
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
        return LanguageModel(model=model.eval().requires_grad_(False), tokenizer=tokenizer)

    return make


@pytest.fixture(params=["$A </s>", "<s> $A </s>"])
def appending(request: pytest.FixtureRequest, tiny_llama_folder: Path) -> PreTrainedTokenizerBase:
    """Writes one digit a token, and an end of text after every prompt."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama_folder)
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
    special = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<s>", "</s>")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=request.param, special_tokens=special
    )
    return tokenizer
