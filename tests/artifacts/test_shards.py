"""Shards are in order, resume exactly, and are refused unless they are the listed ones."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from mechflow.artifacts import (
    ArtifactDamagedError,
    ArtifactError,
    ArtifactForeignError,
    ArtifactMissingError,
    ArtifactWriteError,
    Owner,
    Provenance,
    Shards,
    ShardWriter,
    write_table,
)

SIZE = 4
STARTS = (0, 4, 8)
EXAMPLES = 10


def states(first: int, layers: int = 12) -> dict[str, torch.Tensor]:
    """What the examples from `first` hold; the value says example, layer and column."""
    examples = torch.arange(first, min(first + SIZE, EXAMPLES), dtype=torch.float32)
    return {
        f"layer.{layer}": (examples[:, None] + layer / 100 + torch.arange(3) / 1000).bfloat16()
        for layer in range(layers)
    }


def complete(writer: ShardWriter) -> list[int]:
    """Writes what is not done yet, as a stage does; returns where the written shards begin."""
    written = []
    for first in STARTS:
        if not writer.is_done(first, min(SIZE, EXAMPLES - first)):
            writer.write(first, states(first))
            written.append(first)
    return written


def file_of(folder: Path, first: int) -> Path:
    return folder / f"examples-{first:08d}.safetensors"


@pytest.fixture
def source(origin: Provenance) -> Provenance:
    """As a job describes the table that lists the shards."""
    return replace(origin, kind="states", stage="extract", block=None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "states"


@pytest.fixture
def index(folder: Path, source: Provenance) -> pd.DataFrame:
    """The table of a folder of shards that was written in one go."""
    writer = ShardWriter(folder, "states", source)
    writer.reserve(EXAMPLES, 1000)
    assert complete(writer) == list(STARTS)
    return writer.finish()


@pytest.fixture
def variant(source: Provenance) -> Owner:
    return source.owner


def test_shards_read_as_one_tensor_in_order(
    folder: Path, index: pd.DataFrame, variant: Owner
) -> None:
    shards = Shards(folder, "states", index, variant)
    assert shards.names == [f"layer.{layer}" for layer in range(12)]
    for name in shards.names:
        expected = torch.cat([states(first)[name] for first in STARTS])
        assert torch.equal(shards.load(name), expected)
    assert len(shards.load("layer.0")) == EXAMPLES


def test_the_index_lists_every_shard_in_order(
    folder: Path, index: pd.DataFrame, source: Provenance
) -> None:
    assert index["first"].tolist() == list(STARTS)
    assert index["examples"].tolist() == [4, 4, 2]
    assert index["file"].tolist() == [file_of(folder, first).name for first in STARTS]
    assert index["digest"].is_unique
    write_table(folder / "index.parquet", index, "states", source)


def test_the_order_is_that_of_the_examples_not_of_writing(
    folder: Path, source: Provenance, index: pd.DataFrame
) -> None:
    writer = ShardWriter(folder, "states", source)
    for first in reversed(STARTS):
        writer.write(first, states(first))
    pd.testing.assert_frame_equal(writer.finish(), index)


def test_an_interrupted_extraction_ends_in_the_same_bytes(
    folder: Path, index: pd.DataFrame, source: Provenance
) -> None:
    whole = {file.name: file.read_bytes() for file in folder.iterdir()}
    shutil.rmtree(folder)
    killed = ShardWriter(folder, "states", source)
    killed.reserve(EXAMPLES, 1000)
    killed.write(0, states(0))
    (folder / ".examples-00000004.safetensors.77.tmp").write_bytes(b"half a shard")
    resumed = ShardWriter(folder, "states", source)
    assert complete(resumed) == [4, 8]
    pd.testing.assert_frame_equal(resumed.finish(), index)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == whole


def test_nothing_is_computed_twice(folder: Path, index: pd.DataFrame, source: Provenance) -> None:
    again = ShardWriter(folder, "states", replace(source, git_commit="f00", git_dirty=True))
    assert complete(again) == []
    pd.testing.assert_frame_equal(again.finish(), index)


@pytest.mark.parametrize(
    "changed",
    [
        {"spec": {"values": {"extraction": {"dtype": "float32"}}}},
        {"code": "other"},
        {"inputs": {"prompts": "cd" * 32}},
        {"variant": "binary"},
        {"versions": {"torch": "0.1"}},
        {"device": "cuda"},
    ],
)
def test_shards_of_another_computation_are_made_again(
    folder: Path, index: pd.DataFrame, source: Provenance, changed: dict[str, object]
) -> None:
    other = ShardWriter(folder, "states", replace(source, **changed))
    assert complete(other) == list(STARTS)
    assert not set(other.finish()["digest"]) & set(index["digest"])


def test_a_damaged_shard_is_made_again(
    folder: Path,
    index: pd.DataFrame,
    source: Provenance,
    caplog: pytest.LogCaptureFixture,
) -> None:
    short, altered = file_of(folder, 0), file_of(folder, 8)
    short.write_bytes(short.read_bytes()[:-7])
    altered.write_bytes(altered.read_bytes()[:-1] + b"\x07")
    resumed = ShardWriter(folder, "states", source)
    assert complete(resumed) == [0, 8]
    pd.testing.assert_frame_equal(resumed.finish(), index)
    assert short.name in caplog.text
    assert altered.name in caplog.text


def test_a_shard_in_the_place_of_another_is_made_again(
    folder: Path, index: pd.DataFrame, source: Provenance
) -> None:
    shutil.copy(file_of(folder, 4), file_of(folder, 0))
    resumed = ShardWriter(folder, "states", source)
    assert complete(resumed) == [0]
    pd.testing.assert_frame_equal(resumed.finish(), index)


def test_shards_of_another_size_are_not_kept(
    folder: Path, index: pd.DataFrame, source: Provenance
) -> None:
    writer = ShardWriter(folder, "states", source)
    assert writer.is_done(0, SIZE)
    assert not writer.is_done(4, SIZE + 1)


def test_what_belongs_to_no_shard_is_removed(
    folder: Path, index: pd.DataFrame, source: Provenance
) -> None:
    shutil.copy(file_of(folder, 0), file_of(folder, 12))
    (folder / ".examples-00000012.safetensors.77.tmp").write_bytes(b"half")
    (folder / "notes.txt").write_text("mine")
    writer = ShardWriter(folder, "states", source)
    complete(writer)
    writer.finish()
    kept = {file_of(folder, first).name for first in STARTS} | {"notes.txt"}
    assert {file.name for file in folder.iterdir()} == kept


def test_values_that_are_not_finite_are_refused_without_a_word_about_replicates(
    folder: Path, source: Provenance
) -> None:
    folder.mkdir()
    writer = ShardWriter(folder, "states", source)
    with pytest.raises(ArtifactWriteError, match=r"'h' holds nan at index \[1, 0\]\."):
        writer.write(0, {"h": torch.tensor([[1.0], [float("nan")]])})
    assert list(folder.iterdir()) == []


# Reading


def remove(folder: Path) -> None:
    file_of(folder, 4).unlink()


def swap(folder: Path) -> None:
    shutil.copy(file_of(folder, 0), file_of(folder, 4))


def cut_short(folder: Path) -> None:
    path = file_of(folder, 4)
    path.write_bytes(path.read_bytes()[:40])


def alter(folder: Path) -> None:
    path = file_of(folder, 4)
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")


@pytest.mark.parametrize(
    ("harm", "error"),
    [
        (remove, ArtifactMissingError),
        (swap, ArtifactForeignError),
        (cut_short, ArtifactDamagedError),
        (alter, ArtifactDamagedError),
    ],
)
def test_a_shard_that_is_not_the_listed_one_is_refused(
    folder: Path, index: pd.DataFrame, variant: Owner, harm, error: type[ArtifactError]
) -> None:
    harm(folder)
    with pytest.raises(error) as caught:
        Shards(folder, "states", index, variant).load("layer.3")
    message = str(caught.value)
    assert caught.value.path == file_of(folder, 4)
    assert "Made by the rule 'extract'" in message
    assert f"delete {folder / 'index.parquet'} and run snakemake again" in message


def test_all_but_altered_values_are_noticed_before_anything_is_read(
    folder: Path, index: pd.DataFrame, variant: Owner
) -> None:
    swap(folder)
    with pytest.raises(ArtifactForeignError, match="not the file that its index lists"):
        Shards(folder, "states", index, variant)


def test_shards_of_another_variant_are_refused(folder: Path, index: pd.DataFrame) -> None:
    with pytest.raises(ArtifactForeignError, match="expected state_shard of other"):
        Shards(folder, "states", index, Owner("other")).load("layer.0")


def test_a_tensor_that_is_not_there_is_named(
    folder: Path, index: pd.DataFrame, variant: Owner
) -> None:
    with pytest.raises(ArtifactDamagedError, match=r"has no tensor 'layer\.12'"):
        Shards(folder, "states", index, variant).load("layer.12")


# Room on the disk


def disk(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=int(free)))


def test_what_will_be_written_is_said_before_starting(
    folder: Path,
    source: Provenance,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk(monkeypatch, 40e9)
    with caplog.at_level("INFO"):
        ShardWriter(folder, "states", source).reserve(20_000, 737_280_000)
    said = "20000 examples take 0.74 GB, and the disk has 40.00 GB free"
    assert capsys.readouterr().err == f"{folder}: {said}\n"
    assert said in caplog.text


def test_a_disk_that_is_too_small_is_refused(
    folder: Path, source: Provenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk(monkeypatch, 2e9)
    with pytest.raises(ArtifactWriteError) as caught:
        ShardWriter(folder, "states", source).reserve(500_000, 24_000_000_000)
    message = str(caught.value)
    assert "500000 examples take 24.00 GB, and the disk has 2.00 GB free" in message
    assert "Make room, read fewer prompts" in message


def test_some_room_is_left_free(
    folder: Path, source: Provenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = ShardWriter(folder, "states", source)
    disk(monkeypatch, 10e9)
    writer.reserve(1, 9_700_000_000)
    with pytest.raises(ArtifactWriteError):
        writer.reserve(1, 9_900_000_000)


def test_shards_that_are_there_need_no_room_again(
    folder: Path,
    index: pd.DataFrame,
    source: Provenance,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = sum(file.stat().st_size for file in folder.iterdir())
    disk(monkeypatch, 2**28)
    writer = ShardWriter(folder, "states", source)
    writer.reserve(EXAMPLES, there)
    assert "besides 0.0 MB of files from before" in capsys.readouterr().err
    with pytest.raises(ArtifactWriteError):
        writer.reserve(EXAMPLES, there + 1)
