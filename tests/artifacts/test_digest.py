"""An artefact that differs from what was written, in whatever way, is refused."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from mechflow.artifacts import (
    ArtifactDamagedError,
    ArtifactError,
    ArtifactForeignError,
    ArtifactMissingError,
    Owner,
    Provenance,
    read_provenance,
    read_table,
    read_tensors,
    stored_digest,
    write_table,
    write_tensors,
)
from mechflow.artifacts.digest import UNSEALED, seal, verify

Reader = Callable[[Path], object]


@pytest.fixture(params=["table", "tensors"])
def artefact(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    origin: Provenance,
    curves: pd.DataFrame,
    weights: dict[str, torch.Tensor],
) -> tuple[Path, Reader]:
    """An intact small file of each format, and the function that reads it."""
    if request.param == "table":
        path = tmp_path / "curves.parquet"
        write_table(path, curves, "curves", origin)
        return path, lambda file: read_table(file, "curves")
    path = tmp_path / "weights.safetensors"
    write_tensors(path, weights, "weights", origin)
    return path, lambda file: read_tensors(file, "weights")


def test_a_flipped_bit_is_detected_anywhere(artefact: tuple[Path, Reader]) -> None:
    path, read = artefact
    read(path)
    intact = path.read_bytes()
    for offset in range(0, len(intact), 3):
        damaged = bytearray(intact)
        damaged[offset] ^= 1 << (offset % 8)
        path.write_bytes(damaged)
        with pytest.raises(ArtifactDamagedError):
            read(path)


def test_every_bit_of_the_digest_and_its_mark_is_covered(artefact: tuple[Path, Reader]) -> None:
    path, read = artefact
    intact = path.read_bytes()
    start = intact.index(b"mechflow-sha256-")
    for offset in range(start, start + len(UNSEALED)):
        # Bit 5 turns a lower-case digit into the same one in upper case.
        for bit in (0, 5):
            damaged = bytearray(intact)
            damaged[offset] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(ArtifactDamagedError):
                read(path)


def test_truncated_or_lengthened_anywhere_is_detected(artefact: tuple[Path, Reader]) -> None:
    path, read = artefact
    intact = path.read_bytes()
    for length in [*range(0, len(intact), 17), len(intact) - 1]:
        path.write_bytes(intact[:length])
        with pytest.raises(ArtifactDamagedError):
            read(path)
    for extra in (b"\0", intact[-1:], intact):
        path.write_bytes(intact + extra)
        with pytest.raises(ArtifactDamagedError):
            read(path)


def test_a_damaged_file_gives_its_true_provenance_or_none(
    artefact: tuple[Path, Reader], owner: Owner
) -> None:
    path, _ = artefact
    intact = path.read_bytes()
    truth = read_provenance(path)
    assert truth.owner == owner
    for offset in range(0, len(intact), 3):
        damaged = bytearray(intact)
        damaged[offset] ^= 1 << (offset % 8)
        path.write_bytes(damaged)
        try:
            assert read_provenance(path) == truth
        except ArtifactError:
            continue


def test_other_files_are_refused(artefact: tuple[Path, Reader], tmp_path: Path) -> None:
    path, read = artefact
    strangers = {
        "empty": b"",
        "pickle": pickle.dumps({"embed.W_E": [1.0] * 100}),
        "text": b"replicate,step\n" * 10,
        "magic only": b"PAR1" * 8,
        "huge header": b"\xff" * 64,
    }
    for contents in strangers.values():
        path.write_bytes(contents)
        with pytest.raises(ArtifactDamagedError):
            read(path)
        with pytest.raises(ArtifactError):
            read_provenance(path)
    torch.save({"embed.W_E": torch.zeros(3)}, path)
    with pytest.raises(ArtifactDamagedError, match="mechflow did not write it"):
        read(path)


def test_files_of_the_format_but_not_ours_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    table, tensors = tmp_path / "x.parquet", tmp_path / "x.safetensors"
    pd.DataFrame({"value": [1.0]}).to_parquet(table)
    save_file({"x": torch.zeros(2)}, tensors)
    for path, read in ((table, read_table), (tensors, read_tensors)):
        with pytest.raises(ArtifactDamagedError):
            read(path, "weights")
        with pytest.raises(ArtifactForeignError):
            read_provenance(path)


def test_a_folder_and_a_missing_file_are_told_apart(artefact: tuple[Path, Reader]) -> None:
    path, read = artefact
    with pytest.raises(ArtifactDamagedError, match="folder"):
        read(path.parent)
    path.unlink()
    with pytest.raises(ArtifactMissingError, match=r"Made by the rule 'train': run snakemake"):
        read(path)
    with pytest.raises(ArtifactMissingError):
        read(path / "below")
    with pytest.raises(ArtifactMissingError):
        read_provenance(path)


def test_message_names_file_problem_and_rule(artefact: tuple[Path, Reader]) -> None:
    path, read = artefact
    contents = bytearray(path.read_bytes())
    contents[20] ^= 1
    path.write_bytes(contents)
    with pytest.raises(ArtifactDamagedError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "damaged" in str(caught.value)
    assert "rule 'train': delete the file and run snakemake again" in str(caught.value)


def test_the_stored_digest_is_the_one_verified(artefact: tuple[Path, Reader]) -> None:
    path, _ = artefact
    assert stored_digest(path) == verify(path)
    assert len(stored_digest(path)) == 64


def test_a_file_without_placeholder_is_not_sealed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"0123456789" * 10)
    with pytest.raises(ValueError, match="placeholder"):
        seal(path)
