"""Files appear complete or not at all, whatever the system refuses."""

import errno
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mechflow.artifacts import (
    ArtifactWriteError,
    Batch,
    Provenance,
    write_bytes,
    write_table,
    write_tensors,
    write_text,
)


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_writes_what_it_is_given_and_makes_folders(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "table.md", "α\n")
    write_bytes(tmp_path / "figure.png", b"\x89PNG")
    assert (tmp_path / "a" / "b" / "table.md").read_bytes() == b"\xce\xb1\n"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "figure.png", "table.md"]


@pytest.mark.parametrize(
    ("code", "reason", "advice"),
    [
        (errno.ENOSPC, "no space left on device", "Free some space"),
        (errno.EDQUOT, "quota exceeded", "Free some space"),
        (errno.EACCES, "permission denied", "writable"),
        (errno.EROFS, "read-only file system", "writable"),
        (errno.EIO, "input/output error", "Check the disk"),
    ],
)
def test_a_refusal_is_explained_and_leaves_the_old_file(
    tmp_path: Path, code: int, reason: str, advice: str
) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"old")

    def refuse(hidden: Path) -> None:
        hidden.write_bytes(b"half")
        raise OSError(code, os.strerror(code))

    with pytest.raises(ArtifactWriteError) as caught, Batch() as batch:
        batch.add(path, refuse)
    message = str(caught.value)
    assert str(path) in message
    assert reason in message
    assert "MiB are free" in message
    assert advice in message
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_while_writing_tensors(tmp_path: Path, origin: Provenance) -> None:
    path = tmp_path / "weights.safetensors"
    with files_limited_to(50_000), pytest.raises(ArtifactWriteError, match="file too large"):
        write_tensors(path, {"W": torch.zeros(100_000)}, "weights", origin)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_while_writing_a_table(tmp_path: Path, origin: Provenance) -> None:
    noise = pd.DataFrame({"x": np.random.default_rng(0).normal(size=100_000)})
    with files_limited_to(50_000), pytest.raises(ArtifactWriteError, match="file too large"):
        write_table(tmp_path / "x.parquet", noise, "figure_data", origin)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("not a folder")
    with pytest.raises(ArtifactWriteError, match="Move away"):
        write_bytes(tmp_path / "results" / "x.png", b"data")
    with pytest.raises(ArtifactWriteError, match="Move away"):
        write_bytes(tmp_path / "results" / "full" / "x.png", b"data")
    assert (tmp_path / "results").read_text() == "not a folder"


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    with pytest.raises(ArtifactWriteError, match="is a directory"):
        write_bytes(tmp_path / "x.png", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_an_unwritable_folder() -> None:
    with pytest.raises(ArtifactWriteError, match="cannot be written"):
        write_bytes("/proc/mechflow/x.png", b"data")


def test_a_batch_appears_only_at_its_end(tmp_path: Path) -> None:
    with Batch() as batch:
        write_bytes(tmp_path / "a", b"1", batch)
        write_bytes(tmp_path / "b", b"2", batch)
        assert all(path.name.startswith(".") for path in tmp_path.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_batch_whose_block_fails_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Batch() as batch:
            write_bytes(tmp_path / "a", b"1", batch)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_cannot_be_committed_leaves_nothing(tmp_path: Path) -> None:
    batch = Batch()
    for name in "abc":
        write_bytes(tmp_path / name, b"data", batch)
    (tmp_path / "b").mkdir()
    with pytest.raises(ArtifactWriteError, match="is a directory"):
        batch.commit()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_an_error_of_the_writer_itself_passes_and_leaves_nothing(tmp_path: Path) -> None:
    def fail(hidden: Path) -> None:
        hidden.write_bytes(b"half")
        raise RuntimeError("bug")

    with pytest.raises(RuntimeError, match="bug"), Batch() as batch:
        batch.add(tmp_path / "a", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_cannot_flush_folders_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    write_bytes(tmp_path / "a", b"data")
    assert (tmp_path / "a").read_bytes() == b"data"
