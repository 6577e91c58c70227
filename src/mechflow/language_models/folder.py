"""Folders that hold a language model in the format of the Hugging Face hub.

Weights are read from safetensors only: a pickle can run code when it is read. No module of this
package imports code that comes with a model.
"""

import json
import os
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from mechflow.language_models.errors import ModelSourceError

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
ADAPTER = "adapter_config.json"
WEIGHTS = "model.safetensors"
SHARDS = "model-*.safetensors"
INDEX = "model.safetensors.index.json"

MODEL_FILES = (
    CONFIG,
    WEIGHTS,
    SHARDS,
    INDEX,
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
)
"""Patterns of the files that a model consists of; whatever else lies in its folder is not read."""

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_LFS_POINTER = b"version https://git-lfs"


def check_folder(folder: Path, weights: bool = True) -> list[str]:
    """Looks whether a folder holds a model that can be loaded from it alone.

    Args:
        folder: A folder as written by `save_pretrained`, or a copy of a repository of the hub.
        weights: Whether weights are needed; a random model needs the other files only.

    Returns:
        Names of the model's files, sorted.

    Raises:
        ModelSourceError: a file is missing or of a kind that is not read; the message says which.
    """
    if not folder.is_dir():
        raise ModelSourceError(f"There is no folder {folder} with a language model.")
    read_config(folder)
    if (folder / ADAPTER).is_file():
        raise ModelSourceError(
            f"{folder} holds an adapter ({ADAPTER}), which would be left out. Merge it into the "
            "model (merge_and_unload) and save_pretrained the result into a folder of its own."
        )
    if weights:
        _check_weights(folder)
    if not (folder / TOKENIZER).is_file():
        raise ModelSourceError(
            f"{folder} has no {TOKENIZER}. A fast tokenizer is needed, since operands are found by "
            "the characters that each token covers; load the model's tokenizer with transformers' "
            "AutoTokenizer and save_pretrained it into the folder."
        )
    return model_files(folder)


def local_folder(text: str) -> Path:
    """A folder as the configuration names it; ``~`` is the user's home."""
    return Path(os.path.expanduser(text))


def misplaced(local: Path, models: Path) -> Path | None:
    """What of a local model lies where models are put, and would therefore replace itself.

    Args:
        local: the folder of the model.
        models: the folder in which every model gets one of its own.

    Returns:
        The folder or the first of its files that leads there, by whatever spelling or link; None if
        nothing does.
    """
    candidates = (local, *(local / name for name in model_files(local)))
    return next((path for path in candidates if _lies_in(path, models)), None)


def _lies_in(path: Path, folder: Path) -> bool:
    real = path.resolve()
    if real.is_relative_to(folder.resolve()):
        return True
    # Where upper and lower case are the same, or a disk is mounted twice, only the system knows.
    return folder.exists() and any(
        parent.exists() and parent.samefile(folder) for parent in (real, *real.parents)
    )


def model_files(folder: Path) -> list[str]:
    """Names of the model's files in a folder, sorted; none if there is no such folder."""
    if not folder.is_dir():
        return []
    present = sorted(path.name for path in folder.iterdir() if path.is_file())
    return [name for name in present if any(fnmatch(name, pattern) for pattern in MODEL_FILES)]


def read_config(folder: Path) -> dict[str, Any]:
    """The model's own description, `config.json`.

    Raises:
        ModelSourceError: it is missing or not a JSON object.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ModelSourceError(
            f"{folder} has no {CONFIG}, so it is not a model in the format of the Hugging Face hub."
        )
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelSourceError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelSourceError(f"{path} does not hold a JSON object.")
    return config


def _check_weights(folder: Path) -> None:
    """Refuses a folder without complete safetensors, or with more than one set of them."""
    shards = sorted(path.name for path in folder.glob(SHARDS))
    single = [WEIGHTS] if (folder / WEIGHTS).is_file() else []
    if not single and not shards:
        raise ModelSourceError(_no_weights(folder))
    listed = sorted(_indexed(folder))
    if missing := sorted(set(listed) - {*single, *shards}):
        raise ModelSourceError(f"{folder} lacks {', '.join(missing)}, which {INDEX} lists.")
    if not (listed or single):
        raise ModelSourceError(
            f"{folder} has {', '.join(shards)} and no {INDEX} that says which tensors are where. "
            "Copy it from where the model comes from."
        )
    meant = listed or single
    if extra := sorted({*single, *shards} - set(meant)):
        raise ModelSourceError(
            f"{folder} holds weights twice: {', '.join(meant)}, and beside them "
            f"{', '.join(extra)}. Move away what does not belong to the model."
        )
    for name in (*single, *shards):
        _check_whole(folder / name)


def _no_weights(folder: Path) -> str:
    pickles = sorted(path.name for kind in _PICKLES for path in folder.glob(kind))
    if pickles:
        return (
            f"{folder} has its weights only as pickle ({', '.join(pickles)}), which can run code "
            "when it is read and is therefore refused. Load the model where you trust it and write "
            "it with save_pretrained, which gives safetensors."
        )
    return f"{folder} has no weights: there is neither {WEIGHTS} nor {SHARDS}."


def _check_whole(path: Path) -> None:
    """Refuses a pointer, and weights that were cut short; reads the header alone."""
    with path.open("rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise ModelSourceError(
                f"{path} is a pointer of Git LFS and not the weights. Run 'git lfs pull' in that "
                "repository."
            )
    # Which files a model has is asked while the workflow is parsed, and that imports little.
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError as error:
        raise ModelSourceError(
            f"{path} is not a whole safetensors file ({error}). Copy or download it again."
        ) from error


def _indexed(folder: Path) -> set[str]:
    """Files that the index names; none if there is no index."""
    path = folder / INDEX
    if not path.is_file():
        return set()
    try:
        return set(json.loads(path.read_text("utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelSourceError(f"{path} is not an index of safetensors files.") from error
