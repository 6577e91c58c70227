"""Whether the stored weights of a language model are the ones that its configuration describes.

transformers draws missing tensors at random, leaves out those that it has no place for, and casts
integers to numbers; it says so in a warning at most. Here each of these is an error.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import PreTrainedConfig
from transformers.quantizers.auto import AutoHfQuantizer

from mechflow.language_models.errors import ModelSourceError
from mechflow.language_models.folder import SHARDS, WEIGHTS

_NUMBERS = ("F64", "F32", "F16", "BF16")
_SHOWN = 5


def refuse_unfit_weights(folder: Path, architecture: str, report: Mapping[str, Any]) -> None:
    """Refuses weights that are not exactly those of the architecture.

    Args:
        folder: where they were read.
        architecture: name of the model's class.
        report: what transformers says of loading them; tensors that an architecture ignores on
            purpose are not in it.

    Raises:
        ModelSourceError: tensors are missing, unexpected or of another shape; it names them.
    """
    shapes = (
        f"{name} {list(stored)} instead of {list(wanted)}"
        for name, stored, wanted in report["mismatched_keys"]
    )
    problems = [
        text
        for text in (
            _listed(report["missing_keys"], "missing"),
            _listed(report["unexpected_keys"], "unexpected"),
            _listed(shapes, "of another shape"),
            _listed(report["error_msgs"], "not readable"),
        )
        if text
    ]
    if problems:
        raise ModelSourceError(
            f"The weights in {folder} are not those of the {architecture} that config.json "
            f"describes: {'; '.join(problems)}. Correct config.json, or save the model again with "
            "save_pretrained."
        )


def refuse_hidden_quantisation(folder: Path, config: PreTrainedConfig) -> None:
    """Refuses weights in less than 16 bits of which the configuration says nothing.

    What it says of a method that transformers does not know is nothing too: such weights would be
    read as they are.

    Args:
        folder: where the weights are.
        config: the configuration in it.

    Raises:
        ModelSourceError: there are such weights; it names them.
        ValueError: the configuration states a quantisation without its method.
    """
    stated = getattr(config, "quantization_config", None)
    if stated and AutoHfQuantizer.supports_quant_method(stated):
        return
    small = []
    for path in sorted([*folder.glob(WEIGHTS), *folder.glob(SHARDS)]):
        with safe_open(path, framework="np") as file:
            for name in sorted(file.keys()):
                dtype = file.get_slice(name).get_dtype()
                # Whole numbers under other names can be masks and positions.
                if dtype not in _NUMBERS and (name.endswith(".weight") or dtype.startswith("F")):
                    small.append(f"{name} ({dtype})")
    if small:
        raise ModelSourceError(
            f"{_listed(small, 'quantised')} in {folder}, and config.json states no "
            "quantisation that transformers knows, so what the numbers stand for is not known. "
            "Load the model with the library that quantised it, dequantise it, and write it with "
            "save_pretrained."
        )


def _listed(names: Iterable[str], what: str) -> str:
    """How many tensors are so, and the first of them; nothing if none is."""
    found = sorted(names)
    if not found:
        return ""
    more = ", ..." if len(found) > _SHOWN else ""
    number = "1 tensor is" if len(found) == 1 else f"{len(found)} tensors are"
    return f"{number} {what}: {', '.join(found[:_SHOWN])}{more}"
