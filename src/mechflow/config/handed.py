"""The configuration that a ``module`` statement hands over: values, and where they were written.

A workflow that uses this one as a module hands over a plain dict. Its values count, whatever its
Snakefile made of them; the files that it was read from only say where each value stands.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mechflow.config.problems import ConfigError, Problem
from mechflow.config.sources import (
    COMMAND_LINE,
    KeyPath,
    Located,
    Scalar,
    located_values,
    plain_scalar,
)

MODULE = "config of the module"
"""Source of the values that were written in no file."""


@dataclass(frozen=True)
class Written:
    """What the files of the workflow that hands over merge to, with the command line over them."""

    values: Any
    """As Snakemake reads it."""
    places: Located | None
    """The same as read here; None where it is not known."""

    def below(self, key: str | int) -> "Written":
        """What was written at a key or index."""
        values = places = None
        if isinstance(self.values, Mapping):
            values = self.values.get(key)
        elif isinstance(self.values, list) and isinstance(key, int) and key < len(self.values):
            values = self.values[key]
        within = self.places.value if self.places else None
        if isinstance(within, dict):
            places = within.get(str(key))
        elif isinstance(within, list) and isinstance(key, int) and key < len(within):
            places = within[key]
        return Written(values, places)


def locate_handed(handed: object, whole: object, written: Written, rank: int) -> Located:
    """Values that were handed over, each at the place where it was written, if it was.

    Args:
        handed: What stands after ``config:``, all of the other workflow's configuration, a section
            of it, or anything that its Snakefile made up.
        whole: The other workflow's configuration as its Snakefile has left it.
        written: What that workflow's files merge to.
        rank: Position of the module statement among the sources.

    Raises:
        ConfigError: it is no mapping.
    """
    if not isinstance(handed, Mapping):
        text = f"expected a mapping, such as `config: config`, not {type(handed).__name__}"
        raise ConfigError([Problem(rank, MODULE, 0, "", text)])
    for key in _section(handed, whole):
        written = written.below(key)
    return _place(handed, written, rank)


def _section(handed: Mapping[str, Any], whole: object) -> KeyPath:
    """The path of the outermost section that equals what was handed over; else the root's."""
    waiting: deque[tuple[KeyPath, object]] = deque([((), whole)])
    while waiting and handed:
        path, section = waiting.popleft()
        if isinstance(section, Mapping):
            if section == handed:
                return path
            waiting.extend(((*path, key), inner) for key, inner in section.items())
    return ()


def _place(value: Any, written: Written, rank: int) -> Located:
    known = written.places
    if isinstance(value, Mapping):
        inner = {str(key): _place(item, written.below(key), rank) for key, item in value.items()}
        from_there = value == written.values or any(item.rank < rank for item in inner.values())
        if known and from_there and isinstance(known.value, dict):
            return Located(inner, known.rank, known.source, known.line)
        return Located(inner, rank, MODULE, 0)
    if known is None or value != written.values or isinstance(known.value, dict):
        return located_values(value, rank, MODULE, _text)
    if known.source == COMMAND_LINE:
        return known
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = [_place(item, written.below(index), rank) for index, item in enumerate(value)]
        return Located(items, known.rank, known.source, known.line)
    scalar = _text(value) if isinstance(value, str) else value
    return Located(scalar, known.rank, known.source, known.line)


def _text(text: str) -> Scalar:
    """Text, or the number that Snakemake's reader took for text, as it does with ``1e-3``."""
    number = plain_scalar(text)
    return number if isinstance(number, float) else text
