"""Folders of files in a format that is not ours, described by a table that lists each of them."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from mechflow.artifacts.digest import content_digest
from mechflow.artifacts.errors import (
    ArtifactDamagedError,
    ArtifactForeignError,
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
    """Checks that the files beside an index are those that it lists, and no others.

    What reads such a folder takes what lies in it, whether it is listed or not. Hidden files do not
    count.

    Raises:
        ArtifactMissingError: a file is gone.
        ArtifactDamagedError: a file differs from what was listed.
        ArtifactForeignError: there is a file or folder that is not listed.
    """
    remake = how_to_remake(kind)
    for name in sorted({path.name for path in index.parent.iterdir()} - set(listed["file"])):
        if name != index.name and not name.startswith("."):
            raise ArtifactForeignError(
                index.parent / name,
                "lies beside an index that does not list it, and would be read all the same.",
                "Move it away and run snakemake again.",
            )
    remedy = f"Restore it, or delete it. {remake.replace('the file', str(index))}"
    for row in listed.itertuples():
        path = index.parent / str(row.file)
        if not path.exists():
            raise ArtifactMissingError(path, "missing, though its index lists it.", remedy)
        if path.stat().st_size != row.bytes or content_digest(path) != row.sha256:
            raise ArtifactDamagedError(path, "differs from what its index lists.", remedy)
