"""Sections about language models: where one comes from, and how a variant uses it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from mechflow.config.base import Section

ModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", examples=["llama"])]
Repository = Annotated[
    str, Field(pattern=r"^[\w.-]+/[\w.-]+$", examples=["meta-llama/Llama-3.2-1B"])
]
Revision = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{40}$",
        json_schema_extra={"$comment": "the 40 hexadecimal digits of a commit"},
    ),
]


class LanguageModelSource(Section):
    """Where a language model comes from: a packaged model, the Hugging Face hub, or a folder."""

    package: Literal["smollm2-135m-instruct", "gemma3-270m"] | None = None
    """A model whose quantised weights are published as Python packages; they are dequantised."""
    hub: Repository | None = None
    """A repository of the hub; needs its revision. The token is read from HF_TOKEN, never from
    here."""
    revision: Revision | None = None
    """The commit of the repository, all 40 digits, so that the model cannot change."""
    folder: Annotated[str, Field(min_length=1)] | None = None
    """A local folder in the hub's format: config.json, tokenizer.json and safetensors."""

    @model_validator(mode="after")
    def _exactly_one_source(self) -> "LanguageModelSource":
        given = [key for key in ("package", "hub", "folder") if getattr(self, key) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "conflict",
                "a model needs exactly one of package, hub and folder; given: {given}",
                {"given": ", ".join(given) or "none"},
            )
        if (self.hub is None) != (self.revision is None):
            missing, present = ("revision", "hub") if self.hub else ("hub", "revision")
            raise PydanticCustomError(
                "conflict",
                "{present} needs {missing} beside it: a hub model is pinned to one commit",
                {"key": present, "value": getattr(self, present), "present": present}
                | {"missing": missing},
            )
        return self


class LanguageModelUse(Section):
    """Which language model a variant looks into."""

    name: ModelName = "smollm2"
    """One of the models described under `models`."""
    weights: Literal["pretrained", "random"] = "pretrained"
    """random keeps the architecture and the tokenizer, and draws new weights: the control that
    shows what a probe reads without any training of the model."""
