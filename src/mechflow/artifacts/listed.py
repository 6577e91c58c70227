"""Folders of files in a format that is not ours, described by a table that lists each of them."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from mechflow.artifacts.digest import content_digest
from mechflow.artifacts.errors import (
    ArtifactDamagedError,
    ArtifactMissingError,
    how_to_remake,
)


def list_files(folder: Path, names: Iterable[str]) -> pd.DataFrame:
    """Name, size and digest of each file, as columns file, bytes and sha256."""
    files = [folder / name for name in sorted(names)]
    return pd.DataFrame(
        {
            "file": [file.name for file in files],
            "bytes": [file.stat().st_size for file in files],
            "sha256": [content_digest(file) for file in files],
        }
    )


def check_listed_files(index: Path, listed: pd.DataFrame, kind: str = "model") -> None:
    """Checks that the files beside an index are those that it lists.

    Raises:
        ArtifactMissingError: a file is gone.
        ArtifactDamagedError: a file differs from what was listed.
    """
    remedy = f"Restore it. {how_to_remake(kind).replace('the file', str(index))}"
    for row in listed.itertuples():
        path = index.parent / str(row.file)
        if not path.exists():
            raise ArtifactMissingError(path, "missing, though its index lists it.", remedy)
        if path.stat().st_size != row.bytes or content_digest(path) != row.sha256:
            raise ArtifactDamagedError(path, "differs from what its index lists.", remedy)
