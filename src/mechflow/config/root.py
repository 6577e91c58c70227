"""The whole configuration: the root seed, the style of figures and one block for each study."""

from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from mechflow.config.base import Section
from mechflow.config.language_models import LanguageModelSource, ModelName
from mechflow.config.sections import NonNegativeInt
from mechflow.config.study import StudyBlock, Style
from mechflow.studies.registry import studies


class RegisteredStudies:
    """Annotation that gives the block of every registered study that study's own type."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Optional keys, one for each study of the registry; no others."""
        blocks = {
            name: core_schema.typed_dict_field(
                handler.generate_schema(declared.config), required=False
            )
            for name, declared in studies().items()
        }
        return core_schema.typed_dict_schema(blocks, extra_behavior="forbid")


class Config(Section):
    """Everything that can be configured."""

    seed: NonNegativeInt = 0
    """Root of all random numbers; another seed is an independent repetition of everything."""
    style: Style = Style()
    """Appearance of all figures."""
    models: dict[ModelName, LanguageModelSource] = Field(default_factory=dict)
    """Language models that variants may name; only those that are used are fetched."""
    studies: Annotated[dict[str, StudyBlock], RegisteredStudies]
    """The studies to run, by name."""

    @field_validator("studies")
    @classmethod
    def _some_study(cls, blocks: dict[str, StudyBlock]) -> dict[str, StudyBlock]:
        if not blocks:
            known = ", ".join(studies())
            raise PydanticCustomError(
                "conflict", "at least one study is needed; known: {known}", {"known": known}
            )
        return blocks

    @model_validator(mode="after")
    def _colours_name_variants(self) -> "Config":
        known = {name for block in self.studies.values() for name in block.variants}
        for name, colour in self.style.colours.items():
            if name not in known:
                raise PydanticCustomError(
                    "conflict",
                    "'{name}' is no variant of any study; known variants: {known}",
                    {
                        "key": f"style.colours.{name}",
                        "value": colour,
                        "name": name,
                        "known": ", ".join(sorted(known)),
                    },
                )
        return self
