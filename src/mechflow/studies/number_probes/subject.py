"""The language model of a variant and its prompts as tokens, as several stages need them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from transformers import PreTrainedTokenizerBase

from mechflow.language_models.load import LanguageModel, load_language_model
from mechflow.language_models.templates import render
from mechflow.language_models.tokens import Encoded, encode
from mechflow.seeds import Seeds

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def language_model(
    folder: Path,
    weights: Literal["pretrained", "random"],
    dtype: str,
    seeds: Seeds,
    device: str,
) -> LanguageModel:
    """The variant's language model; random weights are the same in all of its stages."""
    seed = seeds.integer(None, "random weights") if weights == "random" else None
    return load_language_model(
        folder, dtype=DTYPES[dtype], weights=weights, seed=seed, device=device
    )


def encoded(
    tokenizer: PreTrainedTokenizerBase,
    prompts: pd.DataFrame,
    template: str,
    positions: Sequence[str],
) -> Encoded:
    """The prompts as tokens, with the places of their operands."""
    pairs = zip(prompts["a"].tolist(), prompts["b"].tolist(), strict=True)
    spans = [render(template, a, b)[1] for a, b in pairs]
    return encode(tokenizer, prompts["text"].tolist(), spans, positions)
