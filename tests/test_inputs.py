"""A job reads what belongs to it, whether it is one block's, its variant's or a model's."""

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
import torch

from mechflow import job
from mechflow.artifacts import (
    ArtifactDamagedError,
    ArtifactForeignError,
    Owner,
    ShardWriter,
    collect,
    list_files,
    stored_digest,
    write_table,
    write_tensors,
)
from mechflow.layout import artefact_path, model_path
from tests.jobs import SPEC, snakemake_object, write_curves


def write(path: Path, frame: pd.DataFrame, kind: str, owner: Owner) -> str:
    spec = {"model": path.parent.name} if kind == "model" else {}
    origin = collect(kind=kind, owner=owner, stage="", spec=spec, code="", seed=None)
    write_table(path, frame, kind, origin)
    return str(path)


def prompts(labels: tuple[int, ...] = (3, 4)) -> pd.DataFrame:
    rows = range(len(labels))
    return pd.DataFrame({"example": rows, "a": 1, "b": labels, "label": labels, "text": "1 + 2"})


def write_prompts(folder: Path, variant: str = "full", study: str = "toy") -> str:
    path = folder / artefact_path("prompts", study, variant)
    return write(path, prompts(), "prompts", Owner(study, variant))


def write_model(folder: Path) -> Path:
    index = folder / model_path("small")
    index.parent.mkdir(parents=True)
    (index.parent / "config.json").write_text("{}")
    (index.parent / "model.safetensors").write_bytes(b"weights")
    listed = list_files(index.parent, ["config.json", "model.safetensors"])
    write(index, listed, "model", Owner(None))
    return index


def write_states(folder: Path, owner: Owner, index_of: Owner | None = None) -> str:
    index = folder / artefact_path("states", "toy", "full")
    origin = collect(kind="states", owner=owner, stage="", spec={}, code="", seed=None)
    writer = ShardWriter(index.parent, "states", origin)
    for first in (0, 2):
        writer.write(first, {"hook_embed": torch.arange(first, first + 2.0)})
    return write(index, writer.finish(), "states", index_of or owner)


def refused(folder: Path, inputs: Mapping[str, object], read: str, said: str) -> None:
    with (
        job.start(snakemake_object(folder, inputs=inputs)) as task,
        pytest.raises(ArtifactForeignError, match=said),
    ):
        getattr(task, read)(next(iter(inputs)))


def test_a_job_of_a_block_reads_what_its_variant_and_all_studies_share(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    inputs = {
        "curves": write_curves(tmp_path / "curves.parquet", "full", "r002-003"),
        "prompts": write_prompts(tmp_path),
        "states": write_states(tmp_path, Owner("toy", "full")),
        "model": str(model),
    }
    with job.start(snakemake_object(tmp_path, inputs=inputs)) as task:
        assert len(task.read_table("curves")) == 2
        pd.testing.assert_frame_equal(task.read_table("prompts"), prompts(), check_dtype=False)
        assert task.read_shards("states").load("hook_embed").tolist() == [0, 1, 2, 3]
        assert task.read_model("model") == model.parent
        found = task.provenance("probes")
    assert found.owner == Owner("toy", "full", "r002-003")
    assert found.inputs == {name: stored_digest(path) for name, path in inputs.items()}


def test_what_another_block_variant_or_study_owns_is_refused(tmp_path: Path) -> None:
    curves = {"curves": write_curves(tmp_path / "a.parquet", "binary", "r002-003")}
    refused(tmp_path, curves, "read_table", "toy/binary/r002-003, expected curves of toy/full/r002")
    curves = {"curves": write_curves(tmp_path / "b.parquet", "full", "r000-001")}
    refused(tmp_path, curves, "read_table", "expected curves of toy/full/r002-003")
    inputs = {"prompts": write_prompts(tmp_path, "binary")}
    refused(tmp_path, inputs, "read_table", "prompts of toy/binary, expected prompts of toy/full")
    inputs = {"prompts": write_prompts(tmp_path, "full", "other")}
    refused(tmp_path, inputs, "read_table", "prompts of other/full, expected prompts of toy/full")


def test_an_owner_of_another_scope_is_refused(tmp_path: Path) -> None:
    """A variant has one table of prompts, so none belongs to a block; a model is nobody's."""
    block, variant = Owner("toy", "full", "r002-003"), Owner("toy", "full")
    inputs = {"prompts": write(tmp_path / "a.parquet", prompts(), "prompts", block)}
    refused(tmp_path, inputs, "read_table", "expected prompts of toy/full")
    inputs = {"curves": write_curves(tmp_path / "b.parquet", "full", None)}
    refused(tmp_path, inputs, "read_table", "expected curves of toy/full/r002-003")
    files = list_files(tmp_path, ["a.parquet"])
    inputs = {"model": write(tmp_path / "files.parquet", files, "model", variant)}
    refused(tmp_path, inputs, "read_model", "expected model of all studies")


def test_shards_of_another_variant_are_refused(tmp_path: Path) -> None:
    full, binary = Owner("toy", "full"), Owner("toy", "binary")
    inputs = {"states": write_states(tmp_path, binary)}
    refused(tmp_path, inputs, "read_shards", "states of toy/binary, expected states of toy/full")
    inputs = {"states": write_states(tmp_path, binary, index_of=full)}
    with (
        job.start(snakemake_object(tmp_path, inputs=inputs)) as task,
        pytest.raises(ArtifactForeignError, match="expected state_shard of toy/full"),
    ):
        task.read_shards("states").load("hook_embed")


def test_a_model_whose_files_changed_is_refused(tmp_path: Path) -> None:
    index = write_model(tmp_path)
    (index.parent / "model.safetensors").write_bytes(b"weightz")
    with (
        job.start(snakemake_object(tmp_path, inputs={"model": str(index)})) as task,
        pytest.raises(ArtifactDamagedError, match="rule 'fetch'") as caught,
    ):
        task.read_model("model")
    assert caught.value.path == index.parent / "model.safetensors"


def test_the_files_of_another_model_are_refused(tmp_path: Path) -> None:
    index = write_model(tmp_path)
    other = index.parent.with_name("large")
    index.parent.rename(other)
    with (
        job.start(snakemake_object(tmp_path, inputs={"model": str(other / index.name)})) as task,
        pytest.raises(ArtifactForeignError, match="lists the model 'small'"),
    ):
        task.read_model("model")


def test_tables_of_variants_are_read_as_one_with_an_empty_block(tmp_path: Path) -> None:
    inputs = {"prompts": [write_prompts(tmp_path, "full"), write_prompts(tmp_path, "binary")]}
    arguments = {"spec": {"study": "toy", "stage": "claims"}, "wildcards": {"study": "toy"}}
    with job.start(snakemake_object(tmp_path, inputs=inputs, **arguments)) as task:
        frame = task.read_tables("prompts")
        found = task.provenance("claims")
    assert list(frame.columns[:3]) == ["variant", "block", "example"]
    assert frame["variant"].tolist() == ["full"] * 2 + ["binary"] * 2
    assert set(frame["block"]) == {""}
    assert sorted(found.inputs) == ["prompts/binary", "prompts/full"]
    os.replace(inputs["prompts"][0], inputs["prompts"][1])
    swapped = snakemake_object(tmp_path, inputs={"prompts": inputs["prompts"][1:]}, **arguments)
    with (
        job.start(swapped) as task,
        pytest.raises(ArtifactForeignError, match="expected prompts of toy/binary"),
    ):
        task.read_tables("prompts")


def test_a_job_without_a_block_writes_for_its_variant(tmp_path: Path) -> None:
    wildcards = {"study": "toy", "variant": "full"}
    snakemake = snakemake_object(
        tmp_path, outputs=("states/states.parquet",), spec=SPEC, wildcards=wildcards
    )
    with job.start(snakemake) as task:
        assert task.owner == Owner("toy", "full")
        assert task.shards.folder == Path(snakemake.output.states).parent
        task.shards.write(0, {"hook_embed": torch.zeros(2)})
        assert task.shards.is_done(0, 2)


def test_tables_of_all_variants_are_read_as_one(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "toy"
    jobs = [("full", "r000-001"), ("full", "r002-003"), ("binary", "r000-001")]
    paths = [write_curves(folder / v / b / "curves.parquet", v, b) for v, b in jobs]
    spec = {"study": "toy", "stage": "figure", "values": {}}
    arguments = {"spec": spec, "wildcards": {"study": "toy", "figure": "losses"}}
    with job.start(snakemake_object(tmp_path, inputs={"curves": paths}, **arguments)) as task:
        frame = task.read_tables("curves")
        found = task.provenance("figure_data")
    assert list(frame.columns[:3]) == ["variant", "block", "replicate"]
    assert frame["variant"].tolist() == ["full"] * 4 + ["binary"] * 2
    assert frame["block"].tolist() == ["r000-001"] * 2 + ["r002-003"] * 2 + ["r000-001"] * 2
    assert frame.index.tolist() == list(range(6))
    assert found.owner == Owner("toy")
    assert sorted(found.inputs) == [f"curves/{v}/{b}" for v, b in sorted(jobs)]
    os.replace(paths[0], paths[2])
    with (
        job.start(snakemake_object(tmp_path, inputs={"curves": paths[1:]}, **arguments)) as task,
        pytest.raises(ArtifactForeignError, match="expected curves of toy/binary/r000-001"),
    ):
        task.read_tables("curves")


def test_tensors_of_all_variants_are_read_by_owner(tmp_path: Path) -> None:
    paths = []
    for number, variant in enumerate(("full", "binary")):
        path = tmp_path / "toy" / variant / "r000-000" / "weights.safetensors"
        origin = collect(
            kind="weights",
            owner=Owner("toy", variant, "r000-000"),
            stage="train",
            spec={},
            code="",
            seed=None,
        )
        write_tensors(path, {"W": torch.full((1,), float(number))}, "weights", origin)
        paths.append(str(path))
    snakemake = snakemake_object(tmp_path, inputs={"weights": paths}, wildcards={"study": "toy"})
    with job.start(snakemake) as task:
        found = task.read_tensors_of_all("weights")
    assert [(key, tensors["W"].item()) for key, tensors in found.items()] == [
        (("full", "r000-000"), 0.0),
        (("binary", "r000-000"), 1.0),
    ]


def test_tables_of_all_studies_are_read_as_one(tmp_path: Path) -> None:
    paths = []
    for study in ("toy", "other"):
        path = tmp_path / "tables" / study / "claims.parquet"
        origin = collect(
            kind="claims", owner=Owner(study), stage="claims", spec={}, code="", seed=None
        )
        write_table(path, pd.DataFrame({"claim": [f"{study} works"]}), "claims", origin)
        paths.append(str(path))
    arguments = {"spec": {"stage": "replication"}, "wildcards": {}}
    with job.start(snakemake_object(tmp_path, inputs={"claims": paths}, **arguments)) as task:
        frame = task.read_tables_of_studies("claims")
        found = task.provenance("table")
    assert frame["study"].tolist() == ["toy", "other"]
    assert frame["claim"].tolist() == ["toy works", "other works"]
    assert found.owner == Owner(None)
    assert len(found.inputs) == 2
    os.replace(paths[0], paths[1])
    with (
        job.start(snakemake_object(tmp_path, inputs={"claims": paths[1:]}, **arguments)) as task,
        pytest.raises(ArtifactForeignError, match="expected claims of other"),
    ):
        task.read_tables_of_studies("claims")


def test_anothers_input_is_refused(tmp_path: Path) -> None:
    path = write_curves(tmp_path / "curves.parquet", "binary", "r002-003")
    snakemake = snakemake_object(tmp_path, inputs={"curves": path})
    with job.start(snakemake) as task, pytest.raises(ArtifactForeignError, match="toy/binary"):
        task.read_table("curves")
