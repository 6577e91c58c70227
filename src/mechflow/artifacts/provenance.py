"""Where a result comes from: what made it, from what, with which code, seed and libraries.

The provenance holds no time, host or absolute path, so that equal results are equal files.
"""

import dataclasses
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from mechflow.artifacts.digest import UNSEALED, is_parquet
from mechflow.artifacts.errors import (
    ArtifactDamagedError,
    ArtifactForeignError,
    ArtifactVersionError,
    how_to_remake,
)

SCHEMA_VERSION = 1
"""Version of the layout of tables, tensors and provenance; older files are refused, not guessed."""

METADATA_KEY = "mechflow"

_LIBRARIES = (
    "matplotlib",
    "mechflow",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "safetensors",
    "scikit-learn",
    "scipy",
    "snakemake",
    "tokenizers",
    "torch",
    "transformer-lens",
    "transformers",
)


class Owner(NamedTuple):
    """The job a result belongs to; None where the result spans all variants or blocks."""

    study: str | None
    variant: str | None = None
    block: str | None = None

    def __str__(self) -> str:
        """The owner as it appears in paths, such as ``modular_addition/full/r000-004``."""
        return "/".join(part for part in self if part is not None) or "all studies"


@dataclass(frozen=True)
class Provenance:
    """Everything a result says about its origin."""

    kind: str
    """What the file holds, such as ``weights``."""
    study: str | None
    variant: str | None
    block: str | None
    stage: str
    spec: dict[str, Any]
    """The configuration values that the stage used, and nothing else."""
    code: str
    """Digest of the code that the stage executes."""
    seed: int | None
    """Root seed; None if nothing was drawn at random."""
    versions: dict[str, str]
    """Python and the libraries, by name."""
    device: str
    threads: int
    git_commit: str | None = None
    git_dirty: bool | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file read, by name."""
    schema_version: int = SCHEMA_VERSION

    @property
    def owner(self) -> Owner:
        """The study, variant and block that the result belongs to."""
        return Owner(self.study, self.variant, self.block)

    def matches(self, other: "Provenance") -> bool:
        """Whether both describe the same computation; the state of the repository may differ."""
        there = dataclasses.replace(other, git_commit=self.git_commit, git_dirty=self.git_dirty)
        return self == there


def collect(
    *,
    kind: str,
    owner: Owner,
    stage: str,
    spec: Mapping[str, Any],
    code: str,
    seed: int | None,
    device: str = "cpu",
    threads: int = 1,
    inputs: Mapping[str, str] | None = None,
) -> Provenance:
    """Adds library versions and the state of the repository to what the caller knows."""
    commit, dirty = repository_state()
    return Provenance(
        kind=kind,
        study=owner.study,
        variant=owner.variant,
        block=owner.block,
        stage=stage,
        spec=dict(spec),
        code=code,
        seed=seed,
        versions=library_versions(),
        device=device,
        threads=threads,
        git_commit=commit,
        git_dirty=dirty,
        inputs=dict(inputs or {}),
    )


def library_versions() -> dict[str, str]:
    """Versions of Python and of the installed libraries; imports none of them."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


@cache
def repository_state(folder: Path = Path(__file__).parent) -> tuple[str | None, bool | None]:
    """The commit checked out around `folder` and whether tracked files differ from it.

    Both are None without git, without a repository, or if git does not answer in ten seconds; the
    commit alone is None before the first one.
    """
    command = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        answer = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None, None
    if answer.returncode != 0:
        return None, None
    lines = answer.stdout.splitlines()
    heads = [line.removeprefix("# branch.oid ") for line in lines if "branch.oid" in line]
    commit = heads[0] if heads and heads[0] != "(initial)" else None
    return commit, any(not line.startswith("#") for line in lines)


def pack(provenance: Provenance, columns: Mapping[str, str] | None = None) -> str:
    """The text stored in a file's metadata: provenance, column descriptions, digest placeholder."""
    record = dataclasses.asdict(provenance)
    return _canonical(
        {
            "columns": dict(columns or {}),
            "digest": UNSEALED,
            "provenance": record,
            "provenance_sha256": _record_digest(record),
        }
    )


def read_provenance(path: str | os.PathLike[str], kind: str | None = None) -> Provenance:
    """Reads where a table or tensor file comes from, without reading its data.

    The provenance itself is checked against a digest of its own; the data are not.

    Args:
        path: The file.
        kind: The kind it should have, to name the rule that remakes a damaged one.

    Raises:
        ArtifactMissingError: there is no such file.
        ArtifactDamagedError: its metadata cannot be read or were altered.
        ArtifactForeignError: mechflow did not write it.
        ArtifactVersionError: it was written in another version of the layout.
    """
    path = Path(path)
    text = _read_metadata(path, kind)
    try:
        envelope = json.loads(text)
        record = envelope["provenance"]
        intact = _record_digest(record) == envelope["provenance_sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, kind) from error
    if not intact:
        raise _unreadable(path, kind)
    version = record.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ArtifactVersionError(
            path,
            f"written in layout version {version}; this mechflow reads version {SCHEMA_VERSION}.",
            how_to_remake(kind or record.get("kind")),
        )
    return Provenance(**record)


def check_owner(path: Path, found: Provenance, kind: str, owner: Owner | None) -> None:
    """Refuses an intact file that holds something else than the caller asked for.

    Raises:
        ArtifactForeignError: another kind, or another study's, variant's or block's.
    """
    if found.kind == kind and owner in (None, found.owner):
        return
    wanted = f"{kind} of {owner}" if owner else kind
    raise ArtifactForeignError(
        path,
        f"not the expected file: it holds {found.kind} of {found.owner}, expected {wanted}.",
        how_to_remake(kind),
    )


def _read_metadata(path: Path, kind: str | None) -> str:
    """The text that `pack` made, from either format."""
    try:
        if is_parquet(path, kind):
            import pyarrow.parquet as pq

            pairs = pq.read_metadata(path).metadata or {}
            text = str(pairs.get(METADATA_KEY.encode(), b""), "utf-8")
        else:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if length > path.stat().st_size:
                    raise ValueError("the header is longer than the file")
                header = json.loads(file.read(length))
            text = str(header.get("__metadata__", {}).get(METADATA_KEY, ""))
    except (ValueError, OSError, AttributeError) as error:
        # pyarrow's errors are ValueError or OSError.
        raise _unreadable(path, kind) from error
    if not text:
        raise ArtifactForeignError(
            path, "not written by mechflow: it has no provenance.", how_to_remake(kind)
        )
    return text


def _unreadable(path: Path, kind: str | None) -> ArtifactDamagedError:
    return ArtifactDamagedError(
        path, "damaged: its metadata cannot be read or were altered.", how_to_remake(kind)
    )


def _record_digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(record).encode()).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
