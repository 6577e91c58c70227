"""The base class of every configuration section.

Modules of declarations (this package's sections and each study's ``config.py``) hold fields and
validators only. Every value they resolve travels to the stages inside the ``spec`` parameter, so
the staleness digest may skip them: nothing a stage computes can depend on their code.

A validator that finds two values at odds raises ``PydanticCustomError("conflict", message,
context)``; the context's ``key`` names the offending field, dotted and relative to the section, and
its ``value`` is what that field holds.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """An immutable block of configuration that refuses unknown keys."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    @field_validator("*", mode="after")
    @classmethod
    def _names_are_distinct(cls, value: Any) -> Any:
        names = [item for item in value if isinstance(item, str)] if type(value) is tuple else []
        for name in names:
            if names.count(name) > 1:
                raise PydanticCustomError("conflict", "'{name}' is listed twice", {"name": name})
        return value
