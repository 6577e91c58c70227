"""A configuration with its variants resolved: their values, and the files of their artefacts."""

from typing import Any

from pydantic import BaseModel

from mechflow.config.base import Section
from mechflow.config.language_models import LanguageModelUse
from mechflow.config.root import Config
from mechflow.config.variants import resolve_variant
from mechflow.layout import ARTEFACTS, artefact_path, blocks, model_path


class ResolvedStudies:
    """Every study of a configuration, variant by variant."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._variants: dict[tuple[str, str], Section] = {}

    def blocks(self, study: str) -> list[str]:
        """Blocks of replicates of each variant of a study."""
        block = self._config.studies[study]
        return blocks(block.replicates, block.block_size)

    def variant(self, study: str, name: str) -> Section:
        """One variant: the study's defaults with what the variant changes."""
        key = (study, name)
        if key not in self._variants:
            self._variants[key] = resolve_variant(self._config.studies[study], name)
        return self._variants[key]

    def values(self, study: str, variant: str, uses: tuple[str, ...]) -> dict[str, Any]:
        """Values at dotted keys of a variant, as JSON has them."""
        resolved = self.variant(study, variant)
        return {key: dump(_get(resolved, key)) for key in uses}

    def model_source(self, study: str, variant: str) -> dict[str, Any] | None:
        """Where the variant's language model comes from; None if it uses none."""
        use = getattr(self.variant(study, variant), "model", None)
        if not isinstance(use, LanguageModelUse):
            return None
        source: dict[str, Any] = dump(self._config.models[use.name])
        return source

    def path(self, artefact: str, study: str, variant: str, block: str | None) -> str:
        """The file of an artefact; of a language model, that of the model which the variant uses.

        Args:
            artefact: its name.
            study: the study.
            variant: the variant.
            block: the block of replicates, for artefacts that each block has.
        """
        if ARTEFACTS[artefact].scope == "model":
            return model_path(_get(self.variant(study, variant), "model.name"))
        return artefact_path(artefact, study, variant, block)

    def paths(self, artefact: str, study: str) -> list[str]:
        """The files of an artefact of all variants that run, and all of their blocks."""
        each = self.blocks(study) if ARTEFACTS[artefact].scope == "block" else [None]
        variants = self._config.studies[study].run
        return [
            self.path(artefact, study, variant, block) for variant in variants for block in each
        ]


def dump(value: Any) -> Any:
    """A section as JSON has it; other values as they are."""
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _get(section: BaseModel, key: str) -> Any:
    """The value at a dotted key, such as ``dataset.p``."""
    value: Any = section
    for part in key.split("."):
        value = getattr(value, part)
    return value
