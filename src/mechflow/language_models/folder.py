"""Folders that hold a language model in the format of the Hugging Face hub.

Weights are read from safetensors only: a pickle can run code when it is read. No module of this
package imports code that comes with a model.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from mechflow.language_models.errors import ModelSourceError

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
WEIGHTS = "model*.safetensors"
INDEX = "model.safetensors.index.json"

MODEL_FILES = (
    CONFIG,
    WEIGHTS,
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
    if weights:
        _check_weights(folder)
    if not (folder / TOKENIZER).is_file():
        raise ModelSourceError(
            f"{folder} has no {TOKENIZER}. A fast tokenizer is needed, since operands are found by "
            "the characters that each token covers; load the model's tokenizer with transformers' "
            "AutoTokenizer and save_pretrained it into the folder."
        )
    return model_files(folder)


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


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A hidden folder beside `folder`, on the same disk, that is gone when the block is left.

    It is for a model that is being made and for all that is needed on the way.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    hidden = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir()
    try:
        yield hidden
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def place(source: Path, folder: Path) -> list[str]:
    """Moves a complete model from a staging folder to its final place, the description last.

    A model that was there before is removed first, so that no shard of it remains. After a failure
    no file of either is left; killed in between, the folder has no `config.json` and is therefore
    not taken for a model.

    Returns:
        Names of the model's files, sorted.

    Raises:
        ModelSourceError: the source is not a complete model.
    """
    names = check_folder(source)
    made_here = not folder.exists()
    folder.mkdir(exist_ok=True)
    for name in sorted(model_files(folder), key=lambda name: name != CONFIG):
        (folder / name).unlink()
    try:
        for name in sorted(names, key=lambda name: name == CONFIG):
            _flush_to_disk(source / name)
            os.replace(source / name, folder / name)
    except BaseException:
        for name in names:
            (folder / name).unlink(missing_ok=True)
        if made_here:
            folder.rmdir()
        raise
    return names


def _check_weights(folder: Path) -> None:
    """Refuses a folder without complete safetensors."""
    found = sorted(path.name for path in folder.glob(WEIGHTS))
    if not found:
        pickles = sorted(path.name for kind in _PICKLES for path in folder.glob(kind))
        if pickles:
            raise ModelSourceError(
                f"{folder} has its weights only as pickle ({', '.join(pickles)}), which can run "
                "code when it is read and is therefore refused. Load the model where you trust it "
                "and write it with save_pretrained, which gives safetensors."
            )
        raise ModelSourceError(f"{folder} has no weights: no file matches {WEIGHTS}.")
    missing = sorted(_indexed_shards(folder) - set(found))
    if missing:
        raise ModelSourceError(f"{folder} lacks {', '.join(missing)}, which {INDEX} lists.")
    for name in found:
        with (folder / name).open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise ModelSourceError(
                    f"{folder / name} is a pointer of Git LFS and not the weights. Run 'git lfs "
                    "pull' in that repository."
                )
        _check_whole(folder / name)


def _check_whole(path: Path) -> None:
    """Refuses weights that were cut short; looks at the header and the size alone."""
    # Which files a model has is asked while the workflow is parsed, and that imports little.
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError as error:
        raise ModelSourceError(
            f"{path} is not a whole safetensors file ({error}). Copy or download it again."
        ) from error


def _indexed_shards(folder: Path) -> set[str]:
    path = folder / INDEX
    # Beside an unsharded file transformers does not read an index.
    if not path.is_file() or (folder / "model.safetensors").is_file():
        return set()
    try:
        return set(json.loads(path.read_text("utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelSourceError(f"{path} is not an index of safetensors files.") from error


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
