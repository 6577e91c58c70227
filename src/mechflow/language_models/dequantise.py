"""From a GGUF file to a folder in the format of the hub, through transformers."""

import contextlib
import io
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from mechflow.language_models.errors import ModelSourceError
from mechflow.language_models.packaged import PackagedModel
from mechflow.language_models.quiet import quiet_transformers


def dequantise(gguf: Path, model: PackagedModel, folder: Path) -> None:
    """Saves the model of a GGUF file as float32 safetensors, with its tokenizer, into a folder.

    Raises:
        ModelSourceError: transformers cannot read the file.
    """
    # The bar of the conversion cannot be switched off; it goes to whatever sys.stderr is.
    with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
        try:
            loaded = AutoModelForCausalLM.from_pretrained(
                gguf.parent,
                gguf_file=gguf.name,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
            )
            tokenizer = AutoTokenizer.from_pretrained(
                gguf.parent, gguf_file=gguf.name, local_files_only=True, trust_remote_code=False
            )
        except (ImportError, KeyError, NotImplementedError, RuntimeError, ValueError) as error:
            raise ModelSourceError(
                f"{model.gguf} ({model.upstream}) cannot be dequantised with the installed "
                f"versions of transformers and gguf: {error}"
            ) from error
        for name, value in model.config.items():
            setattr(loaded.config, name, value)
        if model.digits_apart:
            separate = pre_tokenizers.Digits(individual_digits=True)
            backend = tokenizer.backend_tokenizer
            backend.pre_tokenizer = pre_tokenizers.Sequence([separate, backend.pre_tokenizer])
        loaded.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
