"""Generated files are up to date, and the schema says what the loader does."""

import difflib
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from mechflow.config.explain import expected, keys_below, shown
from mechflow.config.loading import ConfigError, load_config
from mechflow.config.reference import END, START, render_reference, with_reference
from mechflow.config.schema import config_schema, render_schema


def diff(kept: str, made: str, command: str) -> str:
    lines = difflib.unified_diff(
        kept.splitlines(), made.splitlines(), "kept", f"made by {command}", lineterm=""
    )
    return "\n".join(lines)


def test_schema_file_is_up_to_date(default: Path) -> None:
    kept = default.with_name("schema.json").read_text(encoding="utf-8")
    command = "python -m mechflow.config.schema"
    assert kept == render_schema(), diff(kept, render_schema(), command)


def test_readme_tables_are_up_to_date(default: Path) -> None:
    kept = default.with_name("README.md").read_text(encoding="utf-8")
    made = with_reference(kept)
    assert START in kept
    assert END in kept
    assert kept == made, diff(kept, made, "python -m mechflow.config.reference")


def test_reference_explains_every_key() -> None:
    rows = [row.split(" | ") for row in render_reference().splitlines() if row.startswith("| `")]
    keys = {row[0].strip("| `") for row in rows}
    assert {"seed", "style.dpi", "replicates", "variants", "defaults.dataset.p"} <= keys
    nullable = {"defaults.training.stop", "defaults.finite"}
    sections = {key.rpartition(".")[0] for key in keys} - nullable
    assert keys.isdisjoint(sections)
    assert all(row[1] and row[3].strip(" |") for row in rows)


def test_nothing_is_required_of_an_overlay() -> None:
    schema = config_schema()
    assert not [name for name, part in schema["$defs"].items() if "required" in part]
    assert "required" not in schema


def test_variants_are_typed_like_the_defaults() -> None:
    block = config_schema()["$defs"]["ModularAddition"]["properties"]
    (override,) = block["variants"]["patternProperties"].values()
    assert override["$ref"] == block["defaults"]["$ref"]
    assert block["variants"]["additionalProperties"] is False


def test_every_key_has_a_description() -> None:
    root = config_schema()
    for definition in (root, *root["$defs"].values()):
        for key, inner in definition.get("properties", {}).items():
            assert inner.get("description"), key


@pytest.mark.parametrize("name", ["config", "paper", "smoke"])
def test_files_name_the_schema_in_their_first_line(name: str, default: Path) -> None:
    first = default.with_name(f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=schema.json"


@pytest.mark.parametrize("name", ["config", "paper", "smoke"])
def test_editors_find_no_fault_with_the_shipped_files(name: str, default: Path) -> None:
    Draft202012Validator.check_schema(config_schema())
    content = yaml.safe_load(default.with_name(f"{name}.yaml").read_text(encoding="utf-8"))
    assert not list(Draft202012Validator(config_schema()).iter_errors(content))


def test_editors_see_mistakes_inside_variants() -> None:
    variant = {"model": {"precision": "half", "depth": 3}}
    content = {"studies": {"modular_addition": {"variants": {"mine": variant}}}}
    errors = Draft202012Validator(config_schema()).iter_errors(content)
    assert sorted(error.validator for error in errors) == ["additionalProperties", "enum"]


def test_message_shown_in_the_readme_is_real(default: Path, tmp_path: Path) -> None:
    text = default.with_name("README.md").read_text(encoding="utf-8")
    match = re.search(r"config/mine.yaml:8: (.*)", text)
    assert match
    mine = tmp_path / "mine.yaml"
    mine.write_text("studies: {modular_addition: {defaults: {dataset: {train_fracton: 0.4}}}}")
    with pytest.raises(ConfigError) as caught:
        load_config([default, mine])
    assert str(caught.value).endswith(f"mine.yaml:1: {match[1]}")


def test_example_variant_of_the_readme_is_valid(default: Path, tmp_path: Path) -> None:
    text = default.with_name("README.md").read_text(encoding="utf-8")
    match = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert match
    mine = tmp_path / "mine.yaml"
    mine.write_text(match[1])
    assert load_config([default, mine]).studies["modular_addition"].run == ("full", "gelu")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1}, "a whole number of at least 1"),
        ({"type": "number", "exclusiveMinimum": 0}, "a number greater than 0"),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "true or false or null"),
        ({"const": "one"}, "one"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2},
         "a list of at least 2 items, each text"),
        ({}, "a value"),
    ],
)  # fmt: skip
def test_what_is_allowed_reads_as_words(schema: dict[str, object], words: str) -> None:
    assert expected(schema) == words


def test_shown_values_are_yaml_and_short() -> None:
    assert [shown(v) for v in (None, True, "a", 1.0, [1], float("-inf"), float("nan"))] == [
        *("null", "true", '"a"', "1.0", "[1]", "-.inf", ".nan")
    ]
    assert len(shown("x" * 1000)) < 70


def test_keys_below_descends_into_optional_sections() -> None:
    keys = dict(keys_below(config_schema()["$defs"]["Training"]))
    assert "stop.sustained" in keys
