"""Files that are not what they should be, and what YAML's scalars mean."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snakemake.utils import update_config

from mechflow.config.loading import ConfigError, load_config
from mechflow.config.problems import Problem
from mechflow.config.sources import merge, plain_scalar, read_overrides, read_yaml

Refuse = Callable[..., tuple[Problem, ...]]

UNREADABLE: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 0, "the file is empty"),
    "comments_only": (b"# nothing\n", 0, "the file is empty"),
    "scalar": (b"seed\n", 1, "must hold a mapping"),
    "list": (b"- seed: 1\n", 1, "must hold a mapping"),
    "open_bracket": (b"seed: 1\nstyle: [1, 2\n", 3, "not valid YAML"),
    "bad_indentation": (b"style:\n    dpi: 300\n  font_size_pt: 7\n", 3, "not valid YAML"),
    "tab": (b"style:\n\tdpi: 300\n", 2, "a tab character; indent with spaces"),
    "no_colon": (b"seed: 1\nstyle\ndpi: 3\n", 3, "not valid YAML"),
    "two_documents": (b"seed: 1\n---\nseed: 2\n", 2, "expected a single document"),
    "latin_1": (b"seed: 1\n# caf\xe9\n", 2, "the file is not UTF-8; save it as UTF-8"),
    "control_character": (b"seed: 1\nstyle: \x07\n", 2, "U+0007"),
    "key_twice": (b"seed: 1\nstyle: {}\nseed: 2\n", 3, "seed: given twice, in lines 1 and 3"),
    "inner_key_twice": (b"style:\n  dpi: 90\n  dpi: 90\n", 3, "style.dpi: given twice"),
    "two_variants_of_one_name": (
        b"studies:\n  modular_addition:\n    variants:\n      full: {}\n      full: {}\n",
        5,
        "studies.modular_addition.variants.full: given twice, in lines 4 and 5",
    ),
    "number_as_key": (b"style:\n  1: 2\n", 2, "style: the key 1 is not text"),
    "null_as_key": (b"~: 2\n", 1, "the key ~ is not text"),
    "list_as_key": (b"[1, 2]: 3\n", 1, "a key must be text"),
    "merge_key": (b"style: &a {dpi: 90}\nx:\n  <<: *a\n", 3, "merge keys are not supported"),
    "tag": (b"seed: !!python/object:os.system 3\n", 1, "tags such as"),
    "anchor_in_itself": (b"style: &a\n  dpi: *a\n", 1, "an anchor must not contain itself"),
    "unknown_alias": (b"seed: *nothing\n", 1, "undefined alias"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_file_is_refused_with_one_line(name: str, refuse: Refuse) -> None:
    content, line, said = UNREADABLE[name]
    (problem,) = refuse(content)
    assert said in str(problem)
    assert (Path(problem.source).name, problem.line) == ("mine.yaml", line)
    assert "\n" not in str(problem)


def test_missing_file_and_folder_are_named(default: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config([default, tmp_path / "none.yaml", tmp_path])
    missing, folder = map(str, caught.value.problems)
    assert "none.yaml: cannot be read: no such file or directory" in missing
    assert "cannot be read: is a directory" in folder


def test_all_broken_files_are_told_at_once(tmp_path: Path) -> None:
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for file in files:
        file.write_text("seed: [")
    with pytest.raises(ConfigError) as caught:
        load_config(files)
    assert [Path(problem.source).name for problem in caught.value.problems] == ["a.yaml", "b.yaml"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1e-3", 1e-3), ("1E5", 1e5), ("3.0e-3", 3e-3), (".5", 0.5), ("5.", 5.0), ("-2", -2)),
        *(("+7", 7), ("010", 10), ("true", True), ("False", False), ("null", None), ("", None)),
        *(("yes", "yes"), ("on", "on"), ("1_000", "1_000"), ("0x1f", "0x1f"), ("1:30", "1:30")),
        *(("2026-01-01", "2026-01-01"), ("1e", "1e"), (".", "."), ("-.inf", float("-inf"))),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_plain_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    result = plain_scalar(text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize("text", ["'1e-3'", '"true"', "|\n  5", ">\n  null"])
def test_quoted_and_block_scalars_stay_text(text: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"seed: {text}\n")
    assert isinstance(read_yaml(file).plain()["seed"], str)


def test_aliases_repeat_a_value(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("a: &x {b: 1}\nc: *x\n")
    assert read_yaml(file).plain() == {"a": {"b": 1}, "c": {"b": 1}}


def test_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(b"\xef\xbb\xbfseed: 3\r\n")
    assert read_yaml(file).plain() == {"seed": 3}


def test_nested_values_of_the_command_line_become_numbers() -> None:
    values = {"seed": 3, "studies": {"x": {"p": "53", "lr": "1e-3", "sites": ["a", "1"]}}}
    assert read_overrides(values).plain() == {
        "seed": 3,
        "studies": {"x": {"p": 53, "lr": 1e-3, "sites": ["a", 1]}},
    }


SCALARS = st.one_of(
    st.integers(-5, 5), st.booleans(), st.none(), st.sampled_from(["x", "1", "true", "1e-3"])
)
KEYS = st.sampled_from(["a", "b", "c"])


def trees() -> st.SearchStrategy[dict[str, Any]]:
    values = st.recursive(
        st.one_of(SCALARS, st.lists(SCALARS, max_size=3)),
        lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=3),
        max_leaves=6,
    )
    return st.dictionaries(KEYS, values, min_size=1, max_size=3)


@given(trees(), trees())
def test_files_merge_as_snakemake_merges_them(
    tmp_path_factory: pytest.TempPathFactory, first: dict[str, Any], second: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    located = []
    for rank, tree in enumerate((first, second)):
        file = folder / f"{rank}.yaml"
        file.write_text(json.dumps(tree))
        located.append(read_yaml(file, rank))
        assert located[rank].plain() == tree
    merged = merge(*located)
    update_config(first, second)
    assert merged.plain() == first
    assert list(merged.plain()) == list(first)


@given(
    st.one_of(
        st.binary(max_size=40),
        st.text("ab: \n-[]{}&*!'\"#|>%@\t1.", max_size=40).map(str.encode),
    )
)
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(content)
    problems: tuple[Problem, ...] = ()
    value: object = None
    try:
        value = read_yaml(file).plain()
    except ConfigError as error:
        problems = error.problems
    assert isinstance(value, dict) != bool(problems)
    assert all(problem.line <= content.count(b"\n") + 2 for problem in problems)


def test_nesting_without_end_is_refused(refuse: Refuse) -> None:
    (problem,) = refuse("[" * 5000)
    assert "nested too deeply" in str(problem)
