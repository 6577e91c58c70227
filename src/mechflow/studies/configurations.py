"""In which values of their configuration variants differ from one another or from a publication.

Values are named by dotted key, such as ``model.d_model``.
"""

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any

from mechflow.figures.data import FigureData


def differing_keys(data: FigureData, first: str, second: str, sections: Iterable[str]) -> set[str]:
    """Dotted keys of some sections in which two variants differ."""
    one, other = ({**_flat(data, variant, sections)} for variant in (first, second))
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def departures(data: FigureData, variant: str, published: Mapping[str, Any]) -> list[str]:
    """Where a variant departs from a published configuration, as ``dataset.p 53, not 113``."""
    config = data.config(variant)
    ours = {key: attrgetter(key)(config) for key in published}
    return [
        f"{key} {ours[key]}, not {value}" for key, value in published.items() if ours[key] != value
    ]


def _flat(data: FigureData, variant: str, sections: Iterable[str]) -> dict[str, Any]:
    config = data.config(variant)
    return {
        f"{section}.{key}": value
        for section in sections
        for key, value in getattr(config, section).model_dump().items()
    }
