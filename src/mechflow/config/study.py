"""The block of configuration that every study has: variants, replicates, defaults."""

from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from mechflow.config.base import Section
from mechflow.config.sections import NonNegativeInt, PositiveInt

VariantName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", examples=["random_labels"])]
Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$", examples=["#0072b2"])]


class StudyBlock(Section):
    """One study in the configuration; a study's own block adds typed ``defaults``."""

    replicates: PositiveInt = 5
    """Training seeds of each variant."""
    block_size: PositiveInt = 5
    """Replicates trained together in one process; more replicates add blocks."""
    run: Annotated[tuple[VariantName, ...], Field(min_length=1)]
    """Variants to run, by name."""
    variants: Annotated[dict[VariantName, dict[str, Any]], Field(min_length=1)]
    """For each variant, what differs from the defaults."""
    defaults: Section = Section()
    """Values that all variants share; each study narrows the type to that of its variants."""

    @model_validator(mode="after")
    def _run_names_variants(self) -> "StudyBlock":
        for index, name in enumerate(self.run):
            if name not in self.variants:
                raise PydanticCustomError(
                    "conflict",
                    "unknown variant; known variants: {known}",
                    {"key": f"run.{index}", "value": name, "known": ", ".join(self.variants)},
                )
        return self


class ShownReplicate(Section):
    """Which of the trained models stands for all where a figure draws a single one."""

    replicate: NonNegativeInt = 0
    """Replicate whose weights are shown where a single model is drawn."""


class TrainedStudyBlock(StudyBlock):
    """A study that trains models of its own, whose figures show one of them."""

    figures: ShownReplicate = ShownReplicate()
    """What figures show; each study may narrow the type."""

    @model_validator(mode="after")
    def _shown_replicate_is_trained(self) -> "TrainedStudyBlock":
        if self.figures.replicate >= self.replicates:
            raise PydanticCustomError(
                "conflict",
                "less than replicates ({replicates}), since replicates count from 0",
                {
                    "key": "figures.replicate",
                    "value": self.figures.replicate,
                    "replicates": self.replicates,
                },
            )
        return self


class Style(Section):
    """Appearance of all figures; changing it redraws them and reruns nothing else."""

    column_width_mm: Annotated[float, Field(gt=20, lt=400, strict=True)] = 85.0
    """Width of one journal column."""
    font_size_pt: Annotated[float, Field(gt=3, lt=30, strict=True)] = 7.0
    """Base font size."""
    dpi: Annotated[int, Field(ge=50, le=1200, strict=True)] = 300
    """Resolution of the PNG files."""
    colours: dict[VariantName, Colour] = Field(default_factory=dict)
    """Colour for a variant by name, instead of the built-in colour-blind safe one."""
