"""Which variants can be compared: what differs between two, and what was published."""

from collections.abc import Mapping
from typing import Any

from mechflow.figures.data import FigureData
from mechflow.studies import configurations

QUANTISATION = frozenset({"model.precision", "model.weight_scale"})
"""What may differ between variants of one matched architecture."""

LEAK = frozenset({"dataset.split"})
"""What may differ between a variant with mirrored pairs and the one without them."""

SPLIT: Mapping[str, Any] = {
    "dataset.p": 113,
    "dataset.train_fraction": 0.3,
    "dataset.split": "ordered",
    "dataset.split_seed": 598,
}
"""The published split, by dotted key."""

_PUBLISHED = {
    **{key: value for key, value in SPLIT.items() if key != "dataset.split_seed"},
    "dataset.task": "add",
    "model.n_layers": 1,
    "model.n_heads": 4,
    "model.d_model": 128,
    "model.d_mlp": 512,
    "training.steps": 25_000,
    "training.lr": 1e-3,
    "training.weight_decay": 1.0,
    "training.stop": None,
}
NOTEBOOK: Mapping[str, Any] = {
    **_PUBLISHED,
    "model.precision": "binary",
    "model.weight_scale": False,
    "model.normalization": "RMS",
    "model.positions": "none",
    "model.causal": False,
    "model.attention_scale": "sqrt_d_model",
    "model.initialization": "torch",
}
"""Configuration of the notebook's binarised network, by dotted key."""

DEMONSTRATION: Mapping[str, Any] = {
    **_PUBLISHED,
    "model.precision": "full",
    "model.normalization": "none",
    "model.positions": "learned",
    "model.causal": True,
    "model.attention_scale": "sqrt_d_head",
    "model.initialization": "transformer_lens",
}
"""Configuration of the TransformerLens demonstration, by dotted key."""


def matched_to(data: FigureData, reference: str) -> list[str]:
    """Variants that differ from the reference in nothing but the precision of their weights."""
    if reference not in data.variants:
        return []
    return [
        name
        for name in data.variants
        if name != reference and differing_keys(data, name, reference) <= QUANTISATION
    ]


def differing_keys(data: FigureData, first: str, second: str) -> set[str]:
    """Dotted keys of data, model and training in which two variants differ."""
    return configurations.differing_keys(data, first, second, ("dataset", "model", "training"))
