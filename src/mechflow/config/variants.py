"""Resolves variants: the defaults of a study with what a variant changes laid over them."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from mechflow.config.base import Section
from mechflow.config.study import StudyBlock


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A new mapping with ``over`` laid over ``base``: mappings merge, all else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        nested = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = overlay(below, value) if nested else value  # type: ignore[arg-type]
    return merged


def resolve_variant(block: StudyBlock, name: str) -> Section:
    """The complete configuration of one variant, of the type of the study's defaults.

    Raises:
        KeyError: the block has no variant of that name.
        pydantic.ValidationError: what the variant changes does not fit.
    """
    if name not in block.variants:
        raise KeyError(f"unknown variant '{name}'; known variants: {', '.join(block.variants)}")
    values = overlay(block.defaults.model_dump(), block.variants[name])
    return type(block.defaults).model_validate(values)


def resolved_variants(block: StudyBlock) -> dict[str, Section]:
    """The variants to run, resolved, in the order of ``run``."""
    return {name: resolve_variant(block, name) for name in block.run}


def twins(block: StudyBlock) -> list[tuple[str, str]]:
    """Pairs of variants to run that differ in nothing but their names."""
    resolved = resolved_variants(block)
    return [(a, b) for a, b in combinations(resolved, 2) if resolved[a] == resolved[b]]
