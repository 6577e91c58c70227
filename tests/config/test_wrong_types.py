"""Whatever field is given a value of the wrong type, the message names that field."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechflow.config.explain import expected, keys_below
from mechflow.config.loading import ConfigError, load_config
from mechflow.config.schema import config_schema
from mechflow.config.variants import overlay
from mechflow.studies.registry import studies

FIELDS = {
    key: inner
    for key, inner in keys_below(config_schema())
    if key not in {"studies", *(f"studies.{study}" for study in studies())}
}
WRONG = {
    "integer": st.one_of(st.text(), st.booleans(), st.floats(), st.lists(st.integers())),
    "number": st.one_of(st.text(), st.booleans(), st.lists(st.floats()), st.just(float("inf"))),
    "boolean": st.one_of(st.text(), st.integers(), st.floats(), st.lists(st.booleans())),
    "string": st.one_of(st.integers(), st.booleans(), st.floats(), st.lists(st.text())),
    "array": st.one_of(st.text(), st.integers(), st.dictionaries(st.text(), st.none())),
    "object": st.one_of(st.text(), st.integers(), st.booleans(), st.lists(st.none())),
}


def kind_of(schema: dict[str, Any]) -> str:
    choices = schema.get("anyOf", [schema])
    return str(next(c for c in choices if c.get("type") != "null").get("type", "object"))


def nested(key: str, value: object) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def refused_keys(file: Path, values: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        load_config([file], values)
    return {problem.key: str(problem) for problem in caught.value.problems}


def quoted(value: object) -> object:
    """Text that the command line would not take for another type."""
    return f"{value}_" if isinstance(value, str) else value


@pytest.fixture(scope="module")
def smallest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As little as a configuration can hold, since it is read hundreds of times."""
    file = tmp_path_factory.mktemp("config") / "smallest.yaml"
    file.write_text(
        "models: {smollm2: {package: smollm2-135m-instruct}}\n"
        "studies:\n"
        "  modular_addition:\n"
        "    run: [full]\n"
        "    variants: {full: {}, ternary: {model: {precision: ternary}}, binary: {}}\n"
        "  number_probes:\n"
        "    run: [operand]\n"
        "    variants: {operand: {}, ternary: {}}\n"
        "    figures: {untrained: null, sums: null, causal: null}\n"
        "  phase_changes:\n"
        "    run: [addition]\n"
        "    variants: {addition: {}, ternary: {}}\n"
    )
    load_config([file])
    return file


@given(data=st.data())
def test_wrong_type_is_refused_naming_the_field(smallest: Path, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(FIELDS)))
    value = quoted(data.draw(WRONG[kind_of(FIELDS[key])]))
    refused = refused_keys(smallest, nested(key, value))
    assert key in refused
    assert f"expected {expected(FIELDS[key])}" in refused[key]


@pytest.mark.parametrize("key", sorted(FIELDS))
@pytest.mark.parametrize("value", [True, "text", 0.5, [[1]], {"no_such_key": 1}])
def test_each_field_refuses_all_types_but_its_own(smallest: Path, key: str, value: object) -> None:
    kind = kind_of(FIELDS[key])
    fits = {
        "boolean": isinstance(value, bool),
        "number": isinstance(value, float),
        "object": isinstance(value, dict),
    }
    if fits.get(kind, False):
        value = {"p": None} if kind == "object" else [value]
    keys = refused_keys(smallest, nested(key, value))
    assert any(found == key or found.startswith((f"{key}.", f"{key}[")) for found in keys)


@pytest.mark.parametrize("key", sorted(k for k in FIELDS if ".defaults." in k))
def test_variants_are_as_strict_as_the_defaults(smallest: Path, key: str) -> None:
    wrong = {"integer": 0.5, "number": True, "boolean": 1, "string": 3, "array": 3, "object": 3}
    value = wrong[kind_of(FIELDS[key])]
    keys = refused_keys(smallest, nested(key.replace(".defaults.", ".variants.ternary."), value))
    assert list(keys) == [key.replace(".defaults.", ".variants.ternary.")]


@given(
    key=st.sampled_from(sorted(FIELDS)),
    letter=st.sampled_from("abcxyz_"),
    at=st.integers(0, 20),
)
def test_misspelt_key_is_refused_and_the_right_one_offered(
    smallest: Path, key: str, letter: str, at: int
) -> None:
    section, _, name = key.rpartition(".")
    wrong = name[:at] + letter + name[at:]
    siblings = {k.rpartition(".")[2] for k in FIELDS if k.rpartition(".")[0] == section}
    if wrong in siblings:
        return
    key = f"{section}.{wrong}".removeprefix(".")
    message = refused_keys(smallest, nested(key, 1))[key]
    assert "unknown key" in message
    assert "did you mean" in message or len(name) < 3
    assert name in message.partition("allowed: ")[2]


ANYTHING = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        *(st.just(10**400), st.sampled_from(["full", "1e-3", "{x}", "blocks.0.hook_z"])),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from([*sorted(FIELDS), "studies", *(f"studies.{study}" for study in studies())]),
        ANYTHING,
    )
)
def test_whatever_is_given_the_outcome_is_a_configuration_or_its_problems(
    smallest: Path, values: dict[str, Any]
) -> None:
    merged: dict[str, Any] = {}
    for key, value in values.items():
        merged = overlay(merged, nested(key, value))
    config, message = None, ""
    try:
        config = load_config([smallest], merged)
    except ConfigError as error:
        message = str(error)
    assert (config is None) == message.startswith("The configuration has ")
    assert "ydantic" not in message
