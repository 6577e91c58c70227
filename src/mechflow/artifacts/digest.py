"""The digest that an artefact carries of itself, which shows that it is unchanged.

It is the SHA-256 of all the file's bytes, kept inside the file's own header (safetensors) or footer
(Parquet). While it is computed its own 64 hexadecimal digits count as zeros, so that it covers
everything else: the data, the metadata it stands in, and the file's length.
"""

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from mechflow.artifacts.errors import (
    ArtifactDamagedError,
    ArtifactError,
    ArtifactMissingError,
    how_to_remake,
    reason,
)

PARQUET_MAGIC = b"PAR1"
_MARK = b"mechflow-sha256-"
_DIGITS = 64
_ZEROS = b"0" * _DIGITS
_CHUNK = 1 << 20

UNSEALED = (_MARK + _ZEROS).decode()
"""Placeholder that a writer puts into the file's metadata for `seal` to fill in."""


def content_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's contents, for files that carry no digest of their own."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(path: Path) -> str:
    """Computes the digest of a new artefact and writes it over the placeholder.

    Raises:
        ValueError: the file's metadata does not hold the placeholder exactly once.
    """
    with path.open("r+b") as file:
        field = _digest_field(file)
        if field is None:
            raise ValueError(f"{path} has no single placeholder for its digest")
        digest = _digest_around(file, field)
        file.seek(field)
        file.write(digest.encode())
    return digest


def verify(path: Path, kind: str | None = None) -> str:
    """Checks that an artefact is exactly what was written, and returns its digest.

    Args:
        path: The file.
        kind: Its kind, to name the rule that remakes it.

    Raises:
        ArtifactMissingError: there is no such file.
        ArtifactDamagedError: it is a folder, empty, cut short, altered, or no artefact at all.
    """
    with _open(path, kind) as file:
        field = _digest_field(file)
        if field is None:
            raise _no_digest(path, kind)
        stored = _digits_at(file, field)
        if stored != _digest_around(file, field):
            raise ArtifactDamagedError(
                path,
                "damaged: its contents differ from what was written (SHA-256 does not match).",
                how_to_remake(kind),
            )
    return stored


def stored_digest(path: str | os.PathLike[str], kind: str | None = None) -> str:
    """The digest an artefact carries, read from its metadata and *not* checked against it.

    Raises:
        ArtifactMissingError: there is no such file.
        ArtifactDamagedError: it carries no digest.
    """
    with _open(Path(path), kind) as file:
        field = _digest_field(file)
        if field is None:
            raise _no_digest(Path(path), kind)
        return _digits_at(file, field)


def is_parquet(path: Path, kind: str | None = None) -> bool:
    """Whether a file begins as Parquet files do.

    Raises:
        ArtifactMissingError: there is no such file.
        ArtifactDamagedError: it is a folder or empty.
    """
    with _open(path, kind) as file:
        return file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC


def _open(path: Path, kind: str | None) -> BinaryIO:
    """Opens a file for reading and refuses what cannot be an artefact."""
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactMissingError(
            path,
            f"missing: there is no such file{f' (expected {kind})' if kind else ''}.",
            how_to_remake(kind).replace("delete the file and run", "run"),
        ) from None
    except IsADirectoryError:
        raise ArtifactDamagedError(
            path, "damaged: it is a folder, not a file.", how_to_remake(kind)
        ) from None
    except OSError as error:
        raise ArtifactError(path, f"cannot be read: {reason(error)}.") from error
    if os.fstat(file.fileno()).st_size == 0:
        file.close()
        raise ArtifactDamagedError(path, "damaged: the file is empty.", how_to_remake(kind))
    return file


def _no_digest(path: Path, kind: str | None) -> ArtifactDamagedError:
    return ArtifactDamagedError(
        path,
        "damaged: it carries no readable digest; it was cut short or altered, or mechflow did not "
        "write it.",
        how_to_remake(kind),
    )


def _digest_field(file: BinaryIO) -> int | None:
    """Offset of the digits of the digest, None if the metadata do not hold exactly one."""
    size = file.seek(0, os.SEEK_END)
    if size < 16:
        return None
    file.seek(0)
    if file.read(4) == PARQUET_MAGIC:
        file.seek(size - 8)
        length = int.from_bytes(file.read(4), "little")
        start = size - 8 - length
        if file.read(4) != PARQUET_MAGIC:
            return None
    else:
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        start = 8
    if start < 4 or start + length > size:
        return None
    file.seek(start)
    metadata = file.read(length)
    at = metadata.find(_MARK)
    if metadata.count(_MARK) != 1 or at + len(_MARK) + _DIGITS > length:
        return None
    return start + at + len(_MARK)


def _digits_at(file: BinaryIO, field: int) -> str:
    file.seek(field)
    return file.read(_DIGITS).decode("ascii", errors="replace")


def _digest_around(file: BinaryIO, field: int) -> str:
    """SHA-256 of the whole file with the digits of the digest taken as zeros."""
    file.seek(0)
    digest = hashlib.sha256()
    left = field
    while left > 0 and (chunk := file.read(min(_CHUNK, left))):
        digest.update(chunk)
        left -= len(chunk)
    digest.update(_ZEROS)
    file.seek(field + _DIGITS)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
