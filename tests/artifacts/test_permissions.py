"""The umask, or a folder's default ACL, decides who may read what is written; no library does."""

import errno
import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from mechflow.artifacts import (
    Batch,
    Provenance,
    ResumeFile,
    ShardWriter,
    write_bytes,
    write_table,
    write_tensors,
    write_text,
)
from mechflow.artifacts.files import give_ordinary_mode

Modes = dict[str, int]
EVERY_KIND = {
    "figure.png",
    "text.md",
    "curves.parquet",
    "weights.safetensors",
    ".train.resume.safetensors",
    "examples-00000000.safetensors",
}
GROUP_WRITES_OTHERS_NOTHING = struct.pack(
    "<I" + "HHI" * 4,
    2,
    *(1, 7, 0xFFFFFFFF),  # owner
    *(4, 7, 0xFFFFFFFF),  # group
    *(16, 7, 0xFFFFFFFF),  # mask
    *(32, 0, 0xFFFFFFFF),  # others
)
"""A default ACL as Linux stores it."""


@pytest.fixture
def under() -> Iterator[Callable[[int], int]]:
    before = os.umask(0)
    os.umask(before)
    yield os.umask
    os.umask(before)


@pytest.fixture
def written(tmp_path: Path, curves: pd.DataFrame, origin: Provenance) -> Callable[[], Modes]:
    """Writes a file of every kind and tells their permissions."""

    def write() -> Modes:
        tensors = {"W": torch.ones(2, 3)}
        write_bytes(tmp_path / "figure.png", b"png")
        with Batch() as batch:
            write_text(tmp_path / "text.md", "text", batch)
            write_table(tmp_path / "curves.parquet", curves, "curves", origin, batch)
            write_tensors(tmp_path / "weights.safetensors", tensors, "weights", origin, batch=batch)
        ResumeFile(tmp_path / ".train.resume.safetensors", origin).save(tensors)
        ShardWriter(tmp_path, "states", origin).write(0, tensors)
        return {path.name: mode(path) for path in tmp_path.iterdir()}

    return write


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("umask", "expected"), [(0o002, 0o664), (0o022, 0o644), (0o027, 0o640), (0o077, 0o600)]
)
def test_the_umask_decides_for_every_kind_of_file(
    under: Callable[[int], int], written: Callable[[], Modes], umask: int, expected: int
) -> None:
    under(umask)
    modes = written()
    assert {name: f"{bits:o}" for name, bits in modes.items()} == dict.fromkeys(
        EVERY_KIND, f"{expected:o}"
    )
    assert under(umask) == umask


def test_a_default_acl_of_the_folder_decides_before_the_umask(
    tmp_path: Path, under: Callable[[int], int], written: Callable[[], Modes]
) -> None:
    try:
        os.setxattr(tmp_path, "system.posix_acl_default", GROUP_WRITES_OTHERS_NOTHING)
    except (OSError, AttributeError):
        pytest.skip("no ACLs on this file system")
    under(0o077)
    assert {name: f"{bits:o}" for name, bits in written().items()} == dict.fromkeys(
        EVERY_KIND, "660"
    )


def test_a_file_written_by_another_library_can_be_mended(
    tmp_path: Path, under: Callable[[int], int]
) -> None:
    under(0o002)
    path = tmp_path / "model.safetensors"
    path.touch(0o600)
    give_ordinary_mode(path)
    assert f"{mode(path):o}" == "664"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_system_without_permissions_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "chmod", refuse)
    write_bytes(tmp_path / "figure.png", b"png")
    assert (tmp_path / "figure.png").read_bytes() == b"png"
