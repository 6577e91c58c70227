"""What one job reads, writes and is told; the only place where stages meet paths."""

import importlib
import json
import sys
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import TypeAdapter

from mechflow.artifacts import (
    Batch,
    Owner,
    Provenance,
    ResumeFile,
    collect,
    content_digest,
    read_table,
    read_tensors,
    stored_digest,
    write_bytes,
    write_table,
    write_tensors,
    write_text,
)
from mechflow.blocks import parse_block
from mechflow.seeds import Seeds
from mechflow.studies import registry

if TYPE_CHECKING:
    import snakemake.iocontainers
    import torch


class JobError(Exception):
    """A problem that the user can solve; its message says how, so no traceback is shown."""


class Task:
    """One run of one stage: its inputs, its share of the configuration, its outputs.

    Inputs and outputs go by the names they have in the rule. A name is also the kind of artefact,
    unless `kind` says otherwise. Outputs are collected and appear when the job succeeds.

    Attributes:
        spec: The configuration values that the stage uses, as the rule states them.
        wildcards: The rule's wildcards.
        rule: The rule's name.
        threads: How many threads the job may use.
        owner: The study, variant and block that the job computes.
    """

    def __init__(self, snakemake: "snakemake.iocontainers.Snakemake", batch: Batch) -> None:
        self._snakemake = snakemake
        self._batch = batch
        self._inputs: dict[str, str] = {}
        self.spec: dict[str, Any] = json.loads(snakemake.params.spec)
        self.wildcards: dict[str, str] = dict(snakemake.wildcards.items())
        self.rule: str = snakemake.rule
        self.threads: int = snakemake.threads
        self.owner = Owner(
            self.spec.get("study"), self.wildcards.get("variant"), self.wildcards.get("block")
        )

    @cached_property
    def device(self) -> str:
        """Where to compute: ``cpu`` unless the rule's `device` parameter says otherwise.

        Raises:
            JobError: the device is not known, or CUDA is asked for and not there.
        """
        wanted = self._snakemake.params.get("device", "cpu")
        if wanted == "cpu":
            return "cpu"
        if wanted not in ("auto", "cuda"):
            raise JobError(f"device: '{wanted}' is not known; allowed are auto, cpu and cuda")
        import torch

        if torch.cuda.is_available():
            return "cuda"
        if wanted == "cuda":
            raise JobError("device: 'cuda' was asked for, but torch finds no CUDA device")
        return "cpu"

    @cached_property
    def seeds(self) -> Seeds:
        """The random streams of this variant.

        Raises:
            KeyError: the stage does not declare that it draws random numbers.
        """
        if "seed" not in self.spec:
            raise KeyError(f"the spec of rule '{self.rule}' holds no seed: declare it as seeded")
        return Seeds(self.spec["seed"], self.spec["study"], self.spec.get("variant", ""))

    @cached_property
    def replicates(self) -> range:
        """The replicates of this job's block."""
        return parse_block(self.wildcards["block"])

    @cached_property
    def sections(self) -> dict[str, Any]:
        """The configuration values that the stage uses, typed as the variant declares them.

        A dotted key such as ``dataset.p`` gives an argument named by its last part.
        """
        return {
            key.rpartition(".")[2]: self.typed(key, value)
            for key, value in self.spec["values"].items()
        }

    @property
    def stage(self) -> ModuleType:
        """The study's module for this stage, ``mechflow.studies.<study>.<stage>``."""
        return self.module(self.spec["stage"])

    def module(self, name: str) -> ModuleType:
        """A module of the study, such as ``figures.spectra``; bounds torch's threads."""
        module = importlib.import_module(f"mechflow.studies.{self.spec['study']}.{name}")
        self._bound_threads()
        return module

    def typed(self, key: str, value: Any) -> Any:
        """A value of the spec as the type that the variant declares at that dotted key."""
        declared: Any = registry.study(self.spec["study"]).variant_config
        for part in key.split("."):
            declared = declared.model_fields[part].annotation
        # JSON, not Python values: the spec lists what the declaration may call a tuple.
        return TypeAdapter(declared).validate_json(json.dumps(value))

    @property
    def input_names(self) -> list[str]:
        """Names of the rule's inputs."""
        return list(self._snakemake.input.keys())

    @property
    def output_names(self) -> list[str]:
        """Names of the rule's outputs."""
        return list(self._snakemake.output.keys())

    def inputs(self, name: str) -> list[Path]:
        """The files of one named input, in the rule's order."""
        value = getattr(self._snakemake.input, name)
        return [Path(value)] if isinstance(value, str) else [Path(item) for item in value]

    def read_table(self, name: str, kind: str | None = None) -> pd.DataFrame:
        """Reads an input table that belongs to this job's study, variant and block."""
        return self._table(self._single_input(name), kind or name, self.owner, name)

    def read_tables(self, name: str, kind: str | None = None) -> pd.DataFrame:
        """Reads the tables of many variants and blocks as one, with both as first columns.

        Rows keep the order of the rule's input. Each file must be of the variant and block whose
        folder it lies in.
        """
        kind = kind or name
        frames = []
        for path in self.inputs(name):
            owner = self._owner_by_folder(path)
            frame = self._table(path, kind, owner, f"{name}/{owner.variant}/{owner.block}")
            frame.insert(0, "variant", owner.variant)
            frame.insert(1, "block", owner.block)
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
        return self._tensors(self._single_input(name), kind or name, self.owner, name, names)

    def read_tensors_of_all(
        self, name: str, kind: str | None = None, names: Iterable[str] | None = None
    ) -> dict[tuple[str, str], dict[str, "torch.Tensor"]]:
        """Maps the tensors of many variants and blocks, by (variant, block) in the input's order.

        Each file must be of the variant and block whose folder it lies in.
        """
        wanted = None if names is None else list(names)
        found: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
        for path in self.inputs(name):
            owner = self._owner_by_folder(path)
            key = (str(owner.variant), str(owner.block))
            found[key] = self._tensors(path, kind or name, owner, "/".join((name, *key)), wanted)
        return found

    def read_file(self, name: str) -> bytes:
        """Reads an input that is no artefact, such as a picture or a configuration file."""
        path = self._single_input(name)
        self._inputs[name] = content_digest(path)
        return path.read_bytes()

    def write_table(self, name: str, frame: pd.DataFrame, kind: str | None = None) -> None:
        """Writes an output table with its provenance."""
        kind = kind or name
        write_table(self._output(name), frame, kind, self.provenance(kind), self._batch)

    def write_tensors(
        self,
        name: str,
        tensors: Mapping[str, "torch.Tensor"],
        kind: str | None = None,
        allow_nonfinite: bool = False,
    ) -> None:
        """Writes output tensors with their provenance; refuses NaN unless told otherwise."""
        kind = kind or name
        write_tensors(
            self._output(name),
            tensors,
            kind,
            self.provenance(kind),
            allow_nonfinite=allow_nonfinite,
            batch=self._batch,
        )

    def write_bytes(self, name: str, data: bytes) -> None:
        """Writes an output that carries no provenance, such as a figure."""
        write_bytes(self._output(name), data, self._batch)

    def write_text(self, name: str, text: str) -> None:
        """Writes an output of text."""
        write_text(self._output(name), text, self._batch)

    def provenance(self, kind: str) -> Provenance:
        """Where a result of this job comes from, given what has been read so far."""
        return collect(
            kind=kind,
            owner=self.owner,
            stage=self.spec["stage"],
            spec=self.spec,
            code=self._snakemake.params.code,
            seed=self.spec.get("seed"),
            device=self.device,
            threads=self.threads,
            inputs=self._inputs,
        )

    @property
    def resume(self) -> ResumeFile:
        """The state of this job that survives a kill; to be asked for after reading the inputs."""
        folder = Path(next(iter(self._snakemake.output))).parent
        return ResumeFile(folder / f".{self.rule}.resume.safetensors", self.provenance("resume"))

    def _table(self, path: Path, kind: str, owner: Owner, label: str) -> pd.DataFrame:
        frame = read_table(path, kind, owner)
        self._inputs[label] = stored_digest(path, kind)
        return frame

    def _tensors(
        self, path: Path, kind: str, owner: Owner, label: str, names: Iterable[str] | None
    ) -> dict[str, "torch.Tensor"]:
        tensors = read_tensors(path, kind, owner, names)
        self._inputs[label] = stored_digest(path, kind)
        self._bound_threads()
        return tensors

    def _single_input(self, name: str) -> Path:
        (path,) = self.inputs(name)
        return path

    def _output(self, name: str) -> Path:
        return Path(getattr(self._snakemake.output, name))

    def _owner_by_folder(self, path: Path) -> Owner:
        return Owner(self.owner.study, path.parent.parent.name, path.parent.name)

    def _bound_threads(self) -> None:
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self.threads)
