"""Reads configuration files so that every value remembers the file and line it came from.

Plain scalars follow the core schema of YAML 1.2: ``1e-3`` is a number, ``yes`` is text and only
``true`` and ``false`` are booleans.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from mechflow.config.problems import ConfigError, Problem

COMMAND_LINE = "--config"
"""Source of the values given on the command line."""

Scalar: TypeAlias = str | int | float | bool | None
KeyPath: TypeAlias = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NAMED: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **{sign + inf: float(f"{sign}inf") for sign in ("", "+", "-") for inf in (".inf", ".Inf")},
}
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))


@dataclass(frozen=True)
class Located:
    """A value of a configuration and where it stands."""

    value: "Scalar | dict[str, Located] | list[Located]"
    rank: int
    source: str
    line: int

    def plain(self) -> Any:
        """The value without its places."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def nearest(self, path: KeyPath) -> "Located":
        """The value at a path, or else the innermost one around it that was written down."""
        if not path:
            return self
        inner: Located | None = None
        if isinstance(self.value, dict):
            inner = self.value.get(str(path[0]))
        elif isinstance(self.value, list) and isinstance(path[0], int):
            inner = self.value[path[0]] if path[0] < len(self.value) else None
        return inner.nearest(path[1:]) if inner else self

    def problem(self, path: KeyPath, value: str, text: str) -> Problem:
        """A problem with the value at a path, at the place of what is nearest to it."""
        place = self.nearest(path)
        return Problem(place.rank, place.source, place.line, dotted(path), text, value)


def dotted(path: KeyPath) -> str:
    """A path as users write it: ``probe.sites[1]``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def plain_scalar(text: str) -> Scalar:
    """The value of a scalar written without quotes."""
    if text in _NAMED:
        return _NAMED[text]
    try:
        if _INTEGER.fullmatch(text):
            return int(text)
    except ValueError:  # Python refuses thousands of digits
        return text
    return float(text) if _FLOAT.fullmatch(text) else text


def merge(base: Located, over: Located) -> Located:
    """Lay one configuration over another: mappings merge, everything else is replaced."""
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    merged = dict(base.value)
    for key, item in over.value.items():
        merged[key] = merge(merged[key], item) if key in merged else item
    return Located(merged, over.rank, over.source, over.line)


def read_yaml(path: Path, rank: int = 0) -> Located:
    """Read one configuration file.

    Raises:
        ConfigError: it cannot be read or is not one mapping with distinct text keys.
    """
    source = _shown(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        _refuse_control_characters(text, rank, source)
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except OSError as error:
        reason = error.strerror.lower() if error.strerror else str(error)
        raise ConfigError([Problem(rank, source, 0, "", f"cannot be read: {reason}")]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        text = "the file is not UTF-8; save it as UTF-8"
        raise ConfigError([Problem(rank, source, line, "", text)]) from None
    except RecursionError:
        raise ConfigError([Problem(rank, source, 0, "", "nested too deeply")]) from None
    except yaml.YAMLError as error:
        raise ConfigError([_syntax_problem(error, rank, source)]) from None
    if node is None:
        raise ConfigError([Problem(rank, source, 0, "", "the file is empty; expected a mapping")])
    reader = _Reader(rank, source)
    located = reader.locate(node, ())
    if not isinstance(located.value, dict) and not reader.problems:
        reader.refuse(node, (), "the file must hold a mapping of keys to values")
    if reader.problems:
        raise ConfigError(reader.problems)
    return located


def read_overrides(values: Mapping[str, Any], rank: int = 0) -> Located:
    """Values from Snakemake's ``--config``, which leaves nested numbers as text."""
    return located_values(values, rank, COMMAND_LINE, plain_scalar)


def located_values(value: Any, rank: int, source: str, text: Callable[[str], Scalar]) -> Located:
    """Values that were read elsewhere, all at one place; `text` says what a text stands for."""
    inner: Any
    if isinstance(value, Mapping):
        items = value.items()
        inner = {str(key): located_values(item, rank, source, text) for key, item in items}
    elif isinstance(value, Sequence) and not isinstance(value, str):
        inner = [located_values(item, rank, source, text) for item in value]
    else:
        inner = text(value) if isinstance(value, str) else value
    return Located(inner, rank, source, 0)


class _Reader:
    """Turns the nodes of one YAML file into located values and collects what is wrong."""

    def __init__(self, rank: int, source: str) -> None:
        self.rank = rank
        self.source = source
        self.problems: list[Problem] = []
        self._open: list[yaml.Node] = []

    def refuse(self, node: yaml.Node, path: KeyPath, text: str) -> None:
        line = node.start_mark.line + 1
        self.problems.append(Problem(self.rank, self.source, line, dotted(path), text))

    def locate(self, node: yaml.Node, path: KeyPath) -> Located:
        value: Scalar | dict[str, Located] | list[Located] = None
        if node in self._open:
            self.refuse(node, path, "an anchor must not contain itself")
        elif node.tag not in _PLAIN_TAGS:
            self.refuse(node, path, f"tags such as {node.tag} are not supported")
        elif isinstance(node, yaml.ScalarNode):
            value = node.value if node.style else plain_scalar(node.value)
        else:
            self._open.append(node)
            if isinstance(node, yaml.MappingNode):
                value = self._mapping(node, path)
            else:
                items = enumerate(node.value)
                value = [self.locate(item, (*path, index)) for index, item in items]
            self._open.pop()
        return Located(value, self.rank, self.source, node.start_mark.line + 1)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Located]:
        first_lines: dict[str, int] = {}
        mapping = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            line = key_node.start_mark.line + 1
            first = first_lines.setdefault(key, line)
            if key in mapping:
                text = f"given twice, in lines {first} and {line}; keep one of them"
                self.refuse(key_node, (*path, key), text)
            located = self.locate(value_node, (*path, key))
            if isinstance(located.value, dict | list):
                located = Located(located.value, self.rank, self.source, line)
            mapping[key] = located
        return mapping

    def _key(self, node: yaml.Node, path: KeyPath) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self.refuse(node, path, "a key must be text, not a list or mapping")
        elif node.value == "<<":
            self.refuse(node, (*path, "<<"), "merge keys are not supported; use 'defaults'")
        elif not node.style and not isinstance(plain_scalar(node.value), str):
            self.refuse(node, path, f"the key {node.value or 'null'} is not text")
        else:
            return str(node.value)
        return None


def _shown(path: Path) -> str:
    """The path as short as it can be from the working directory."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else path)


def _refuse_control_characters(text: str, rank: int, source: str) -> None:
    match = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if match:
        line = text.count("\n", 0, match.start()) + 1
        reason = f"not valid YAML: the character U+{ord(match[0]):04X} is not allowed"
        raise ConfigError([Problem(rank, source, line, "", reason)])


def _syntax_problem(error: yaml.YAMLError, rank: int, source: str) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        line, reason = error.problem_mark.line + 1, error.problem or "syntax error"
        if "'\\t'" in reason:
            reason = "a tab character; indent with spaces"
        elif error.context and error.context_mark is not None:
            reason += f", {error.context} that starts in line {error.context_mark.line + 1}"
    else:
        line, reason = 0, str(error)
    return Problem(rank, source, line, "", f"not valid YAML: {reason}")
