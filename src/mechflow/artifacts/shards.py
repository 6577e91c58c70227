"""Tensors over many examples in files of a bounded size, so that a killed job loses one at most.

Every shard is a tensor file of its own and appears complete or not at all. The table that lists
them, with the digest of each, is the artefact that other stages read.
"""

import logging
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mechflow.artifacts.digest import stored_digest
from mechflow.artifacts.errors import (
    ArtifactDamagedError,
    ArtifactError,
    ArtifactForeignError,
    ArtifactWriteError,
    how_to_remake,
)
from mechflow.artifacts.provenance import Owner, Provenance, read_provenance
from mechflow.artifacts.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    import torch

SHARDED = {"states": "state_shard"}
"""For each table that lists shards, the kind of the tensor files."""

_RESERVE = 1 << 28
"""Bytes to leave free on the disk."""
_log = logging.getLogger(__name__)


class ShardWriter:
    """Writes the shards of one artefact, and keeps those that the same computation left behind."""

    def __init__(self, folder: Path, kind: str, provenance: Provenance) -> None:
        """Names the folder and the computation; nothing is written yet.

        Args:
            folder: Where the shards lie.
            kind: The kind of the table that lists them, out of `SHARDED`.
            provenance: What every shard says about its origin.
        """
        self.folder = folder
        self._kind = SHARDED[kind]
        self._provenance = provenance
        self._rows: list[dict[str, object]] = []

    def reserve(self, examples: int, size: int) -> None:
        """Says how much will be written, and refuses if the disk has no room for it.

        Args:
            examples: How many examples are to come.
            size: Bytes of all of them; shards that are there already count as written.

        Raises:
            ArtifactWriteError: the disk is too small.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        present = sum(file.stat().st_size for file in self.folder.glob("*.safetensors"))
        free = shutil.disk_usage(self.folder).free
        text = f"{examples} examples take {_bytes(size)}, and the disk has {_bytes(free)} free"
        if present:
            text += f", besides {_bytes(present)} of files from before"
        if size - present + _RESERVE > free:
            raise ArtifactWriteError(
                self.folder,
                f"not begun: {text}.",
                "Make room, read fewer prompts, or put results/ on a larger disk.",
            )
        _log.info("%s: %s", self.folder, text)
        print(f"{self.folder}: {text}", file=sys.stderr)

    def is_done(self, first: int, examples: int) -> bool:
        """Whether the shard that begins at an example is there, intact and of this computation."""
        path = self._path(first)
        if not path.exists():
            return False
        try:
            read_tensors(path, self._kind, self._provenance.owner, [])
            same = read_provenance(path, self._kind).matches(self._origin(first, examples))
        except ArtifactError as error:
            _log.warning("computed again: %s", error)
            return False
        if same:
            _log.info("kept %s", path.name)
            self._list(path, first, examples)
        return same

    def write(self, first: int, tensors: "Mapping[str, torch.Tensor]") -> None:
        """Writes one shard; its tensors have a leading axis of examples [n, ...].

        Raises:
            ArtifactWriteError: a value is not finite, or the system refused.
        """
        path, examples = self._path(first), len(next(iter(tensors.values())))
        write_tensors(path, tensors, self._kind, self._origin(first, examples))
        self._list(path, first, examples)

    def finish(self) -> pd.DataFrame:
        """The table that lists the shards; removes files that do not belong to them."""
        listed = {str(row["file"]) for row in self._rows}
        for file in sorted(self.folder.glob("*.safetensors")):
            if file.name not in listed:
                file.unlink()
        for leftover in sorted(self.folder.glob(".*.tmp")):
            leftover.unlink(missing_ok=True)
        return pd.DataFrame(self._rows).sort_values("first", ignore_index=True)

    def _origin(self, first: int, examples: int) -> Provenance:
        """What a shard says about itself; without its place, another one could stand for it."""
        spec = {**self._provenance.spec, "shard": {"first": first, "examples": examples}}
        return replace(self._provenance, kind=self._kind, spec=spec)

    def _path(self, first: int) -> Path:
        return self.folder / f"examples-{first:08d}.safetensors"

    def _list(self, path: Path, first: int, examples: int) -> None:
        digest = stored_digest(path, self._kind)
        row = {"file": path.name, "first": first, "examples": examples, "digest": digest}
        self._rows.append(row)


class Shards:
    """The shards of an artefact, read one tensor at a time over all examples."""

    def __init__(self, folder: Path, kind: str, index: pd.DataFrame, owner: Owner) -> None:
        """Checks that every shard is the one that the table lists; reads no tensor yet.

        Raises:
            ArtifactMissingError: a shard is gone.
            ArtifactDamagedError: it cannot be read.
            ArtifactForeignError: it is another one.
        """
        self._kind = SHARDED[kind]
        self._owner = owner
        self._files = [folder / name for name in index["file"]]
        self._verified: set[Path] = set()
        for file, digest in zip(self._files, index["digest"], strict=True):
            with self._told_to_delete_the_index():
                if stored_digest(file, self._kind) != digest:
                    raise ArtifactForeignError(file, "not the file that its index lists.")

    @property
    def names(self) -> list[str]:
        """Names of the tensors, the same in every shard; numbers in them sort as numbers."""
        from safetensors import safe_open

        if not self._files:
            return []
        with safe_open(self._files[0], framework="pt") as file:
            return sorted(file.keys(), key=_natural)

    def load(self, name: str) -> "torch.Tensor":
        """One tensor over all examples, in order [n, ...]; a copy in memory.

        Raises:
            ArtifactDamagedError: a shard is not what was written.
        """
        import torch

        return torch.cat([self._read(file, name) for file in self._files])

    def _read(self, file: Path, name: str) -> "torch.Tensor":
        from safetensors import SafetensorError, safe_open

        with self._told_to_delete_the_index():
            if file not in self._verified:  # hashing a shard for each of its layers would take long
                read_tensors(file, self._kind, self._owner, [])
                self._verified.add(file)
            try:
                with safe_open(file, framework="pt") as opened:
                    tensor: torch.Tensor = opened.get_tensor(name)
                    return tensor
            except SafetensorError as error:
                raise ArtifactDamagedError(file, f"has no tensor '{name}'.") from error

    @contextmanager
    def _told_to_delete_the_index(self) -> Iterator[None]:
        """Without that, Snakemake would see no file missing and make nothing again."""
        try:
            yield
        except ArtifactError as error:
            index = str(error.path.parent / "index.parquet")
            remedy = how_to_remake(self._kind).replace("the file", index)
            raise type(error)(error.path, error.problem, remedy) from error


def _bytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]
