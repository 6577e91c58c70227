"""Files of other formats are the listed ones, byte by byte."""

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from mechflow.artifacts import (
    ArtifactDamagedError,
    ArtifactError,
    ArtifactForeignError,
    ArtifactMissingError,
    check_listed_files,
    list_files,
)

FILES = {"model.safetensors": b"weights", "config.json": b"{}", "tokenizer.json": b"[]"}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "files.parquet").write_text("the list")
    (tmp_path / ".placed.json").write_text("hidden")
    return tmp_path / "files.parquet"


@pytest.fixture
def listed(index: Path) -> pd.DataFrame:
    return list_files(index.parent, FILES)


def test_files_are_listed_by_name_with_size_and_digest(listed: pd.DataFrame) -> None:
    expected = [
        (name, len(FILES[name]), hashlib.sha256(FILES[name]).hexdigest()) for name in sorted(FILES)
    ]
    assert list(listed.itertuples(index=False, name=None)) == expected
    assert list(listed.columns) == ["file", "bytes", "sha256"]


def test_the_list_does_not_depend_on_the_order_of_names(index: Path, listed: pd.DataFrame) -> None:
    backwards = list_files(index.parent, reversed(list(FILES)))
    pd.testing.assert_frame_equal(backwards, listed)


def test_listed_files_pass_and_hidden_ones_do_not_matter(index: Path, listed: pd.DataFrame) -> None:
    check_listed_files(index, listed)
    (index.parent / ".placed.json").write_text("changed")
    check_listed_files(index, listed)


@pytest.mark.parametrize(
    "name", ["chat_template.jinja", "added_tokens.json", "generation_config.json", "more"]
)
def test_what_is_not_listed_is_refused(index: Path, listed: pd.DataFrame, name: str) -> None:
    """Bug: what reads the folder took it all the same."""
    if name == "more":
        (index.parent / name).mkdir()
    else:
        (index.parent / name).write_text("{}")
    with pytest.raises(ArtifactForeignError, match=r"that does not list it, .*\nMove it") as caught:
        check_listed_files(index, listed)
    assert caught.value.path == index.parent / name


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("data", "error"),
    [(None, ArtifactMissingError), (b"", ArtifactDamagedError), (b"weightz", ArtifactDamagedError)],
)
def test_a_file_that_is_not_the_listed_one_is_refused(
    index: Path, listed: pd.DataFrame, name: str, data: bytes | None, error: type[ArtifactError]
) -> None:
    path = index.parent / name
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(error) as caught:
        check_listed_files(index, listed)
    assert caught.value.path == path
    assert f"Made by the rule 'fetch': delete {index} and run snakemake again" in str(caught.value)


def test_one_changed_bit_of_equal_size_is_noticed(index: Path, listed: pd.DataFrame) -> None:
    (index.parent / "model.safetensors").write_bytes(b"weightr")
    with pytest.raises(ArtifactDamagedError, match="differs from what its index lists"):
        check_listed_files(index, listed)
