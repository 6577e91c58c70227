"""Puts a language model's files into its folder, and takes away only what it put there itself.

A hidden record in the folder says what was put there. Whatever else is found there is somebody
else's: nothing is placed then, and nothing removed.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from mechflow.artifacts import content_digest, settle, write_text
from mechflow.language_models.errors import ModelSourceError
from mechflow.language_models.folder import CONFIG, check_folder

RECORD = ".placed.json"
"""What was put into the folder, by name: the SHA-256 of a file, or where a link leads."""


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


def place(source: Path, index: Path) -> list[str]:
    """Moves a complete model from a staging folder to its final place, the description last.

    The model that was there before is removed first, so that no shard of it remains: exactly those
    files that the record holds, unchanged. After a failure no file of either is left; killed in
    between, the folder has no `config.json` and is therefore not taken for a model.

    Args:
        source: the staging folder, with files or links to files.
        index: the table that is to list the files; they go beside it.

    Returns:
        Names of the model's files, sorted.

    Raises:
        ModelSourceError: the source is not a complete model, or something lies in the folder that
            was not put there by this function or has changed since.
    """
    names = check_folder(source)
    folder = index.parent
    present = _present(folder, index)
    record = _read_record(folder)
    if strangers := [p.name for p in present if not _is_ours(p, record.get(p.name))]:
        raise ModelSourceError(
            f"{folder} holds what mechflow did not put there, or what has changed since: "
            f"{', '.join(strangers)}. Nothing was removed. Move it elsewhere if you need it, else "
            f"delete {folder}, and run snakemake again."
        )
    made_here = not folder.exists()
    folder.mkdir(exist_ok=True)
    for path in sorted(present, key=lambda path: path.name != CONFIG):
        path.unlink()
    try:
        # From here on what is placed is known to be ours, even if the process is killed.
        write_text(folder / RECORD, json.dumps({name: _mark(source / name) for name in names}))
        for name in sorted(names, key=lambda name: name == CONFIG):
            if not (source / name).is_symlink():
                settle(source / name)
            os.replace(source / name, folder / name)
    except BaseException:
        for name in (*names, RECORD):
            (folder / name).unlink(missing_ok=True)
        if made_here:
            folder.rmdir()
        raise
    return names


def _present(folder: Path, index: Path) -> list[Path]:
    """What lies in the folder for all to see, but for the index."""
    if not folder.exists():
        return []
    shown = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in shown if path.name != index.name)


def _is_ours(path: Path, mark: str | None) -> bool:
    return mark is not None and not path.is_dir() and _mark(path) == mark


def _mark(path: Path) -> str:
    """What tells later whether a file is still the one that was placed."""
    return f"link {os.readlink(path)}" if path.is_symlink() else content_digest(path)


def _read_record(folder: Path) -> Mapping[str, str]:
    """Names and marks of what was placed; nothing if the record is missing or damaged."""
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
