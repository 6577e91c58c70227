import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mechflow.artifacts import (
    ArtifactForeignError,
    ArtifactVersionError,
    ArtifactWriteError,
    Owner,
    Provenance,
    read_provenance,
    read_tensors,
    write_tensors,
)


def test_round_trip(
    tmp_path: Path, weights: dict[str, torch.Tensor], origin: Provenance, owner: Owner
) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, weights, "weights", origin)
    found = read_tensors(path, "weights", owner)
    assert list(found) == sorted(weights)
    for name, tensor in weights.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert read_provenance(path) == replace(origin, kind="weights")


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
)
def test_every_dtype_and_shape_survives(
    tmp_path: Path, origin: Provenance, dtype: torch.dtype
) -> None:
    tensors = {
        "scalar": torch.ones((), dtype=dtype),
        "empty": torch.zeros(2, 0, 3, dtype=dtype),
        "matrix": torch.arange(6).reshape(2, 3).to(dtype),
    }
    path = tmp_path / "weights.safetensors"
    write_tensors(path, tensors, "weights", origin)
    found = read_tensors(path, "weights")
    for name, tensor in tensors.items():
        assert found[name].dtype == dtype
        assert torch.equal(found[name], tensor)


def test_only_the_wanted_tensors_are_read(
    tmp_path: Path, weights: dict[str, torch.Tensor], origin: Provenance
) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, weights, "weights", origin)
    assert list(read_tensors(path, "weights", names=["step", "embed.W_E"])) == ["step", "embed.W_E"]
    with pytest.raises(ArtifactForeignError, match=r"no tensor 'pos_embed.W_pos'; it holds embed"):
        read_tensors(path, "weights", names=["pos_embed.W_pos"])


def test_changing_what_was_read_does_not_change_the_file(
    tmp_path: Path, weights: dict[str, torch.Tensor], origin: Provenance
) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, weights, "weights", origin)
    read_tensors(path, "weights")["embed.W_E"].zero_()
    assert torch.equal(read_tensors(path, "weights")["embed.W_E"], weights["embed.W_E"])


def test_replacing_the_file_leaves_mapped_tensors_alone(tmp_path: Path, origin: Provenance) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"W": torch.ones(100_000)}, "weights", origin)
    before = read_tensors(path, "weights")["W"]
    write_tensors(path, {"W": torch.zeros(3)}, "weights", origin)
    assert before.sum() == 100_000


def test_equal_tensors_are_equal_files_in_every_process(tmp_path: Path, origin: Provenance) -> None:
    script = (
        "import sys, json, torch\n"
        "from mechflow.artifacts import Provenance, write_tensors\n"
        "tensors = {name: torch.arange(4.0) for name in 'abcdefgh'}\n"
        "provenance = Provenance(**json.load(sys.stdin))\n"
        "write_tensors(sys.argv[1], tensors, 'weights', provenance)\n"
    )
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    write_tensors(first, {name: torch.arange(4.0) for name in "hgfedcba"}, "weights", origin)
    subprocess.run(
        [sys.executable, "-c", script, str(second)],
        input=json.dumps(origin.__dict__),
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )
    assert first.read_bytes() == second.read_bytes()


def test_memory_layout_does_not_matter(tmp_path: Path, origin: Provenance) -> None:
    square = torch.arange(12.0).reshape(3, 4)
    strided, plain = tmp_path / "strided", tmp_path / "plain"
    write_tensors(strided, {"W": square.T}, "weights", origin)
    write_tensors(plain, {"W": square.T.clone().contiguous()}, "weights", origin)
    assert strided.read_bytes() == plain.read_bytes()


def test_slices_of_one_tensor_can_be_written(tmp_path: Path, origin: Provenance) -> None:
    stacked = torch.arange(12.0).reshape(2, 6)
    write_tensors(tmp_path / "x", {"a": stacked[0], "b": stacked[1]}, "weights", origin)
    assert torch.equal(read_tensors(tmp_path / "x", "weights")["b"], stacked[1])


def test_aliased_tensors_are_refused(tmp_path: Path, origin: Provenance) -> None:
    W = torch.ones(3)
    with pytest.raises(ArtifactWriteError, match=r"'best' and 'last' are the same memory"):
        write_tensors(tmp_path / "x", {"best": W, "last": W}, "weights", origin)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_replicate_is_named(tmp_path: Path, origin: Provenance, value: float) -> None:
    W = torch.zeros(3, 2, 2)
    W[1, 0, 1] = value
    complaint = rf"'embed.W_E' holds {value} at replicate index 1 of block r000-001"
    with pytest.raises(ArtifactWriteError, match=complaint):
        write_tensors(tmp_path / "x", {"embed.W_E": W}, "weights", origin)
    checkpoints = W.expand(4, 3, 2, 2).contiguous()
    with pytest.raises(ArtifactWriteError, match="replicate index 1"):
        write_tensors(tmp_path / "x", {"embed.W_E": checkpoints}, "checkpoints", origin)
    assert list(tmp_path.iterdir()) == []
    write_tensors(tmp_path / "x", {"embed.W_E": W}, "weights", origin, allow_nonfinite=True)
    assert torch.equal(read_tensors(tmp_path / "x", "weights")["embed.W_E"].isfinite(), W == 0)


def test_foreign_and_old_files_are_refused(
    tmp_path: Path, weights: dict[str, torch.Tensor], origin: Provenance, owner: Owner
) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, weights, "weights", origin)
    with pytest.raises(ArtifactForeignError, match="rule 'activations'"):
        read_tensors(path, "activations")
    with pytest.raises(ArtifactForeignError, match="expected weights of other"):
        read_tensors(path, "weights", owner._replace(study="other"))
    write_tensors(path, weights, "weights", replace(origin, schema_version=99))
    with pytest.raises(ArtifactVersionError, match="99"):
        read_tensors(path, "weights")


def test_unknown_kind_is_a_mistake_of_the_caller(tmp_path: Path, origin: Provenance) -> None:
    with pytest.raises(ValueError, match="not a kind of tensor file"):
        write_tensors(tmp_path / "x", {}, "curves", origin)
