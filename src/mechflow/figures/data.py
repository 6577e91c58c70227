"""What figures, tables and claims are made from: a study's artefacts, all variants and blocks."""

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from mechflow.config.language_models import LanguageModelSource
from mechflow.config.study import Style
from mechflow.seeds import Seeds
from mechflow.studies import registry

if TYPE_CHECKING:
    import torch

    from mechflow.task import Task


@runtime_checkable
class Reader(Protocol):
    """Reads the artefacts of a job (``mechflow.task.Task``)."""

    def read_tables(self, name: str) -> pd.DataFrame:
        """Rows of all variants and blocks, with both as first columns."""

    def read_tensors_of_all(
        self, name: str
    ) -> Mapping[tuple[str, str], Mapping[str, "torch.Tensor"]]:
        """Tensors by variant and block, in order of blocks."""


class FigureData:
    """Artefacts and configuration of a study's variants, read when they are asked for.

    Attributes:
        variants: names of the variants that ran, in the order of the configuration.
    """

    def __init__(
        self,
        reader: Reader,
        variants: Mapping[str, Mapping[str, Any]],
        seed: int,
        study: str,
        sources: Mapping[str, LanguageModelSource] | None = None,
    ) -> None:
        """Names the data; nothing is read yet.

        Args:
            reader: where artefacts come from.
            variants: for each variant, its sections and values by dotted key.
            seed: the root seed.
            study: the study's name.
            sources: for each variant that uses a language model, where that comes from.
        """
        self.variants = tuple(variants)
        self._reader = reader
        self._values = variants
        self._seed = seed
        self._study = study
        self._sources = dict(sources or {})
        self._tables: dict[str, pd.DataFrame] = {}
        self._tensors: dict[str, Mapping[tuple[str, str], Mapping[str, torch.Tensor]]] = {}

    @classmethod
    def of(cls, task: "Task") -> "FigureData":
        """The data of a job whose spec lists all variants of a study."""
        variants = {
            variant["name"]: {
                key: task.typed(key, value) for key, value in variant["values"].items()
            }
            for variant in task.spec["variants"]
        }
        sources = {
            variant["name"]: LanguageModelSource.model_validate(variant["source"])
            for variant in task.spec["variants"]
            if variant["source"] is not None
        }
        return cls(task, variants, task.spec["seed"], task.spec["study"], sources)

    def table(self, artefact: str) -> pd.DataFrame:
        """A table with the columns ``variant`` and ``block`` before its own."""
        if artefact not in self._tables:
            self._tables[artefact] = self._reader.read_tables(artefact)
        return self._tables[artefact].copy()

    def tensors(self, artefact: str, variant: str) -> dict[str, "torch.Tensor"]:
        """Tensors of one variant, the replicates of all blocks joined: [R, ...].

        Those of checkpoints are [C, R, ...] beside ``step`` [C].

        Raises:
            ValueError: blocks of checkpoints were kept at different steps.
        """
        if artefact not in self._tensors:
            self._tensors[artefact] = self._reader.read_tensors_of_all(artefact)
        blocks = [t for (name, _), t in self._tensors[artefact].items() if name == variant]
        return _join(blocks, f"{artefact} of {variant}")

    def config(self, variant: str) -> SimpleNamespace:
        """The configuration of a variant: ``data.config("full").dataset.p``.

        It has the sections that the artefacts depend on, and no others, so that a figure cannot
        use a value whose change would not redraw it.
        """
        sections = SimpleNamespace()
        for key, value in sorted(self._values[variant].items()):
            _set(sections, key.split("."), value)
        return sections

    def model_source(self, variant: str) -> LanguageModelSource:
        """Where the language model of a variant comes from.

        Raises:
            KeyError: the variant uses none.
        """
        return self._sources[variant]

    def generator(self, purpose: str) -> np.random.Generator:
        """Random numbers for bootstrap intervals and permutation tests, the same every time."""
        return Seeds(self._seed, self._study, "").numpy(None, purpose)


def figures_section(spec: Mapping[str, Any]) -> Any:
    """The study's own ``figures`` section out of a figure's spec; None if it declares none."""
    fields = registry.study(spec["study"]).config.model_fields
    if "figures" not in fields:
        return None
    declared: Any = fields["figures"].annotation
    return TypeAdapter(declared).validate_json(json.dumps(spec["figures"]))


def style(spec: Mapping[str, Any]) -> Style:
    """The style out of a figure's spec."""
    return Style.model_validate_json(json.dumps(spec["style"]))


def _set(sections: Any, path: list[str], value: Any) -> None:
    """Puts a value at a path, unless a whole section above it is there already."""
    for part in path[:-1]:
        if not hasattr(sections, part):
            setattr(sections, part, SimpleNamespace())
        sections = getattr(sections, part)
        if not isinstance(sections, SimpleNamespace):
            return
    setattr(sections, path[-1], value)


def _join(blocks: list[Mapping[str, "torch.Tensor"]], what: str) -> dict[str, "torch.Tensor"]:
    """Blocks of replicates as one, in their order."""
    import torch  # Most figures are drawn from tables alone, and torch is slow to import.

    if not blocks:
        raise KeyError(f"there is no {what}")
    first, *others = blocks
    if "step" not in first:
        return {name: torch.cat([block[name] for block in blocks]) for name in first}
    if any(not torch.equal(first["step"], block["step"]) for block in others):
        raise ValueError(f"blocks of {what} were kept at different steps: read them one by one")
    joined = {
        name: torch.cat([block[name] for block in blocks], dim=1)
        for name in first
        if name != "step"
    }
    return {"step": first["step"], **joined}
