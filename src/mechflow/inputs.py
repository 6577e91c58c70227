"""What one job reads: whose each input must be, and the digest of what was read."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mechflow.artifacts import (
    ArtifactForeignError,
    Owner,
    Shards,
    check_listed_files,
    content_digest,
    read_provenance,
    read_table,
    read_tensors,
    stored_digest,
)
from mechflow.artifacts.errors import how_to_remake
from mechflow.layout import ARTEFACTS

if TYPE_CHECKING:
    import snakemake.iocontainers
    import torch


class Inputs:
    """Reads the inputs of a job by the names that they have in the rule.

    A name is also the kind of artefact, unless `kind` says otherwise. Nothing is read that belongs
    to another study, variant, block or model.

    Attributes:
        owner: The study, variant and block that the job computes.
        threads: How many threads the job may use.
    """

    def __init__(
        self, files: "snakemake.iocontainers.InputFiles", owner: Owner, threads: int
    ) -> None:
        self._files = files
        self._digests: dict[str, str] = {}
        self.owner = owner
        self.threads = threads

    @property
    def input_names(self) -> list[str]:
        """Names of the rule's inputs."""
        return list(self._files.keys())

    def inputs(self, name: str) -> list[Path]:
        """The files of one named input, in the rule's order."""
        value = getattr(self._files, name)
        return [Path(value)] if isinstance(value, str) else [Path(item) for item in value]

    def read_table(self, name: str, kind: str | None = None) -> pd.DataFrame:
        """Reads an input table that belongs to this job's study, variant and block."""
        kind = kind or name
        return self._table(self._single_input(name), kind, self._owner_of(kind), name)

    def read_tables(self, name: str, kind: str | None = None) -> pd.DataFrame:
        """Reads the tables of many variants and blocks as one, with both as first columns.

        Rows keep the order of the rule's input. Each file must be of the variant and block whose
        folder it lies in; the block is empty where a variant has one table for all replicates.
        """
        kind = kind or name
        frames = []
        for path in self.inputs(name):
            owner = self._owner_by_folder(path, kind)
            frame = self._table(path, kind, owner, _label(name, owner))
            frame.insert(0, "variant", owner.variant)
            frame.insert(1, "block", owner.block or "")
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def read_tables_of_studies(self, name: str) -> pd.DataFrame:
        """Reads one table of each study as one, with `study` as first column.

        Each file must be of the study whose folder it lies in.
        """
        frames = []
        for path in self.inputs(name):
            frame = self.read_table_of_study(name, path, name)
            frame.insert(0, "study", path.parent.name)
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def read_table_of_study(self, name: str, path: Path, kind: str) -> pd.DataFrame:
        """Reads one file of a named input; it must be of the study whose folder it lies in."""
        study = path.parent.name
        return self._table(path, kind, Owner(study, None, None), f"{name}/{study}/{path.stem}")

    def read_tensors(
        self, name: str, kind: str | None = None, names: Iterable[str] | None = None
    ) -> dict[str, "torch.Tensor"]:
        """Maps input tensors that belong to this job's study, variant and block."""
        kind = kind or name
        return self._tensors(self._single_input(name), kind, self._owner_of(kind), name, names)

    def read_tensors_of_all(
        self, name: str, kind: str | None = None, names: Iterable[str] | None = None
    ) -> dict[tuple[str, str], dict[str, "torch.Tensor"]]:
        """Maps the tensors of many variants and blocks, by (variant, block) in the input's order.

        Each file must be of the variant and block whose folder it lies in.
        """
        wanted = None if names is None else list(names)
        found: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
        for path in self.inputs(name):
            owner = self._owner_by_folder(path, kind or name)
            key = (str(owner.variant), owner.block or "")
            found[key] = self._tensors(path, kind or name, owner, _label(name, owner), wanted)
        return found

    def read_shards(self, name: str) -> Shards:
        """Opens tensors over many examples, of which the input is the index."""
        path = self._single_input(name)
        return Shards(path.parent, name, self.read_table(name), self._owner_of(name))

    def read_model(self, name: str) -> Path:
        """The folder of a language model, of which the input lists the files.

        Raises:
            ArtifactError: a file is missing or is not the one that is listed, or all of them are
                those of another model.
        """
        path = self._single_input(name)
        check_listed_files(path, self.read_table(name))
        model = read_provenance(path, name).spec["model"]
        if model != path.parent.name:
            raise ArtifactForeignError(
                path,
                f"not the expected file: it lists the model '{model}'.",
                how_to_remake(name),
            )
        return path.parent

    def read_file(self, name: str) -> bytes:
        """Reads an input that is no artefact, such as a picture or a configuration file."""
        path = self._single_input(name)
        self._digests[name] = content_digest(path)
        return path.read_bytes()

    def _table(self, path: Path, kind: str, owner: Owner, label: str) -> pd.DataFrame:
        frame = read_table(path, kind, owner)
        self._digests[label] = stored_digest(path, kind)
        return frame

    def _tensors(
        self, path: Path, kind: str, owner: Owner, label: str, names: Iterable[str] | None
    ) -> dict[str, "torch.Tensor"]:
        tensors = read_tensors(path, kind, owner, names)
        self._digests[label] = stored_digest(path, kind)
        self._bound_threads()
        return tensors

    def _single_input(self, name: str) -> Path:
        (path,) = self.inputs(name)
        return path

    def _owner_of(self, kind: str) -> Owner:
        """Whose an input of this job must be: many replicates may share it."""
        match _scope(kind):
            case "model":
                return Owner(None)
            case "variant":
                return self.owner._replace(block=None)
            case _:
                return self.owner

    def _owner_by_folder(self, path: Path, kind: str) -> Owner:
        """Whose a file must be, among those of many variants and blocks."""
        if _scope(kind) == "variant":
            return Owner(self.owner.study, path.parent.name)
        return Owner(self.owner.study, path.parent.parent.name, path.parent.name)

    def _bound_threads(self) -> None:
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self.threads)


def _scope(kind: str) -> str:
    return ARTEFACTS[kind].scope if kind in ARTEFACTS else "block"


def _label(name: str, owner: Owner) -> str:
    """Name under which a file of many is recorded as read."""
    return "/".join(part for part in (name, owner.variant, owner.block) if part)
