"""What one job reads, writes and is told; the only place where stages meet paths."""

import importlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import TypeAdapter

from mechflow.artifacts import (
    SHARDED,
    Batch,
    Owner,
    Provenance,
    ResumeFile,
    ShardWriter,
    collect,
    write_bytes,
    write_table,
    write_tensors,
    write_text,
)
from mechflow.blocks import parse_block
from mechflow.inputs import Inputs
from mechflow.seeds import Seeds
from mechflow.studies import registry

if TYPE_CHECKING:
    import snakemake.iocontainers
    import torch


class JobError(Exception):
    """A problem that the user can solve; its message says how, so no traceback is shown."""


class Task(Inputs):
    """One run of one stage: its inputs, its share of the configuration, its outputs.

    Outputs go by the names they have in the rule, as inputs do; they are collected and appear when
    the job succeeds.

    Attributes:
        spec: The configuration values that the stage uses, as the rule states them.
        wildcards: The rule's wildcards.
        rule: The rule's name.
    """

    def __init__(self, snakemake: "snakemake.iocontainers.Snakemake", batch: Batch) -> None:
        self._snakemake = snakemake
        self._batch = batch
        self.spec: dict[str, Any] = json.loads(snakemake.params.spec)
        self.wildcards: dict[str, str] = dict(snakemake.wildcards.items())
        self.rule: str = snakemake.rule
        owner = Owner(
            self.spec.get("study"), self.wildcards.get("variant"), self.wildcards.get("block")
        )
        super().__init__(snakemake.input, owner, snakemake.threads)

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
    def output_names(self) -> list[str]:
        """Names of the rule's outputs."""
        return list(self._snakemake.output.keys())

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
            inputs=self._digests,
        )

    @property
    def resume(self) -> ResumeFile:
        """The state of this job that survives a kill; to be asked for after reading the inputs."""
        folder = Path(next(iter(self._snakemake.output))).parent
        return ResumeFile(folder / f".{self.rule}.resume.safetensors", self.provenance("resume"))

    @property
    def shards(self) -> ShardWriter:
        """Writes the shards of this job's output; to be asked for after reading the inputs."""
        (name,) = (name for name in self.output_names if name in SHARDED)
        return ShardWriter(self._output(name).parent, name, self.provenance(name))

    def _output(self, name: str) -> Path:
        return Path(getattr(self._snakemake.output, name))
