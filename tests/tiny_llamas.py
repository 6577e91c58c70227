"""Tiny random language models in hub format: a folder with config, safetensors and tokenizer."""

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mechflow.language_models.quiet import quiet_transformers

SPACE = "Ġ"
"""How a byte-level vocabulary writes a space."""


def save_digit_llama(folder: Path) -> Path:
    """Random Llama (3 layers, width 32, tied) that writes one digit a token, as SmolLM2 does.

    "12 + 345 =" is 1|2| +| |3|4|5| =, and nothing is put in front of a prompt.
    """
    tokenizer = Tokenizer(BPE(*_vocabulary([], [(SPACE, "+"), (SPACE, "=")])))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return _save(tokenizer, folder)


def save_number_llama(folder: Path) -> Path:
    """Random Llama that writes every number 0..999 as one token after a BOS, as Llama 3 does.

    "12 + 345 =" is <bos>|12| +| |345| =.
    """
    numbers = [str(number) for number in range(10, 1000)]
    vocabulary, merges = _vocabulary(numbers, [(SPACE, "+"), (SPACE, "=")])
    tokenizer = Tokenizer(BPE(vocabulary, merges, ignore_merges=True))
    words = Regex(r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+| ?\p{L}+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<bos>"])
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<bos> $A", special_tokens=[("<bos>", tokenizer.token_to_id("<bos>"))]
            ),
        ]
    )
    return _save(tokenizer, folder, bos_token="<bos>")


def _vocabulary(
    words: list[str], merges: list[tuple[str, str]]
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *("".join(pair) for pair in merges), *words]
    return {token: index for index, token in enumerate(tokens)}, merges


def _save(tokenizer: Tokenizer, folder: Path, **special_tokens: str) -> Path:
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", **special_tokens
    )
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        # Large enough that the states of different prompts differ clearly.
        initializer_range=0.3,
        tie_word_embeddings=True,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
        fast.save_pretrained(folder)
    return folder
