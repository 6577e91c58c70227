"""Says in plain words what a configuration file holds, what is wrong with it and what is allowed.

What is allowed comes from the JSON schema, so that a message cannot disagree with the declaration.
"""

import difflib
import json
import math
from collections.abc import Iterator
from typing import Any, TypeAlias

from pydantic import ValidationError

from mechflow.config.schema import config_schema
from mechflow.config.sources import KeyPath, plain_scalar

Schema: TypeAlias = dict[str, Any]
Finding: TypeAlias = tuple[KeyPath, str, str]
"""Path, the value as shown, what is wrong with it."""

_LONGEST_VALUE = 60
_KEY = "[key]"  # stands for a name in the paths of pydantic's errors


def findings(error: ValidationError, prefix: KeyPath = ()) -> Iterator[Finding]:
    """What a validation found, with paths from the root of the configuration.

    Args:
        error: What pydantic raised.
        prefix: Path of the section that was validated.
    """
    for detail in error.errors(include_url=False):
        path: KeyPath = (*prefix, *detail["loc"])
        kind, value = detail["type"], detail["input"]
        if kind == "conflict":
            context = detail["ctx"]
            parts = str(context.get("key", "")).split(".")
            path += tuple(int(part) if part.isdigit() else part for part in parts if part)
            yield path, shown(context.get("value", value)), detail["msg"]
        elif kind == "extra_forbidden":
            yield path, shown(value), _unknown_key(str(path[-1]), path[:-1], value)
        elif path[-1:] == (_KEY,):
            yield path[:-1], "", f"the name must be {expected(_at((*path[:-2], _KEY)))}"
        elif kind == "missing":
            tail = path[-1:] if path and isinstance(path[-1], str) else ()
            text = "missing" if tail else "too few items"
            path = path if tail else path[:-1]
            yield path, "", f"{text}; expected {expected(_at(path))}"
        else:
            schema = _at(path)
            yield path, shown(value), f"expected {expected(schema)}{_hint(value, schema)}"


def shown(value: Any, longest: int | None = _LONGEST_VALUE) -> str:
    """A value as it would be written in YAML, shortened if it is long; text is in quotes."""
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    text = json.dumps(value, ensure_ascii=False, default=str)
    too_long = longest is not None and len(text) > longest
    return f"{text[:longest]}..." if too_long else text


def expected(schema: Schema) -> str:
    """What a schema allows, in words."""
    schema = _resolved(schema)
    if "anyOf" in schema:
        return " or ".join(expected(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _range(schema)
    if kind == "array":
        return _expected_list(schema)
    if kind == "object" and "properties" in schema:
        return "a mapping with keys out of " + ", ".join(schema["properties"])
    if kind == "object":
        least = schema.get("minProperties", 0)
        return "a mapping of names to values" + (f", at least {least}" if least else "")
    if "$comment" in schema:
        return str(schema["$comment"])
    if kind == "string" and "pattern" in schema:
        example = f" such as {schema['examples'][0]}" if "examples" in schema else ""
        return f"text{example} (pattern {schema['pattern']})"
    return {"boolean": "true or false", "null": "null", "string": "text"}.get(str(kind), "a value")


def _expected_list(schema: Schema) -> str:
    if "prefixItems" in schema:
        items = schema["prefixItems"]
        return f"a list of {len(items)} items, each {expected(items[0])}"
    least = schema.get("minItems", 0)
    amount = f" of at least {least} item{'s' if least > 1 else ''}" if least else ""
    return f"a list{amount}, each {expected(schema['items'])}"


def _range(schema: Schema) -> str:
    words = {
        "exclusiveMinimum": "greater than",
        "minimum": "at least",
        "exclusiveMaximum": "less than",
        "maximum": "at most",
    }
    bounds = [f"{text} {schema[word]:g}" for word, text in words.items() if word in schema]
    joined = " and ".join(bounds)
    return f" of {joined}" if joined.startswith("at") else f" {joined}" if joined else ""


def _hint(value: Any, schema: Schema) -> str:
    """How to mend the commonest mistakes."""
    kinds = [_resolved(choice).get("type") for choice in schema.get("anyOf", [schema])]
    if value is None:
        return "; a key with nothing after it is null" + (", write {}" * ("object" in kinds))
    if isinstance(value, str) and "array" in kinds:
        return f"; write [{value}]"
    if isinstance(value, bool) or not {"integer", "number", "boolean"} & set(kinds):
        return ""
    if isinstance(value, str):
        number = plain_scalar(value.strip().replace("_", ""))
        numeric = isinstance(number, int | float) and not isinstance(number, bool)
        wanted = "number" if "boolean" not in kinds else "truth value"
        return f"; this is text, write {shown(number)}" if numeric else f"; text is not a {wanted}"
    if isinstance(value, float) and not math.isfinite(value):
        return "; it must be finite"
    if "integer" in kinds and isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    return ""


def _unknown_key(key: str, parent: KeyPath, value: Any) -> str:
    """The message for a key that does not exist: how it nests, or the closest and all that do."""
    names = key.split(".")
    if len(names) > 1 and _at((*parent, *names)):
        nested = ": {".join(names)
        return f"a dot does not nest keys; write {nested}: {shown(value)}{'}' * (len(names) - 1)}"
    schema = section(_at(parent))
    allowed = list(schema.get("properties", {}))
    below = {path.rpartition(".")[2]: path for path, _ in keys_below(schema)}
    close = difflib.get_close_matches(key, allowed, n=1)
    close += [below[name] for name in difflib.get_close_matches(key, below, n=1)]
    guess = f"did you mean '{close[0]}'? " if close else ""
    return f"unknown key; {guess}allowed: {', '.join(allowed)}"


def keys_below(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """All keys of a section and of the sections in it, dotted, each with its schema."""
    for name, inner in schema.get("properties", {}).items():
        yield name, inner
        yield from ((f"{name}.{key}", found) for key, found in keys_below(section(inner)))


def _resolved(schema: Schema) -> Schema:
    """The schema itself, or the definition that it refers to."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    definition: Schema = config_schema()["$defs"][reference.removeprefix("#/$defs/")]
    return definition


def section(schema: Schema) -> Schema:
    """What a schema refers to, without its null alternative."""
    choices = [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]
    return _resolved(choices[0])


def _at(path: KeyPath) -> Schema:
    """The schema of the value at a path; empty where the schema says nothing."""
    schema = config_schema()
    for part in path:
        schema = section(schema)
        if isinstance(part, int):
            places = schema.get("prefixItems", [])
            schema = places[part] if part < len(places) else schema.get("items", {})
        elif part in schema.get("properties", {}):
            schema = schema["properties"][part]
        elif part == _KEY and "patternProperties" in schema:
            pattern = next(iter(schema["patternProperties"]))
            examples = schema.get("propertyNames", {})
            schema = {"type": "string", "pattern": pattern, **examples}
        else:
            schema = next(iter(schema.get("patternProperties", {"": {}}).values()))
    return schema
