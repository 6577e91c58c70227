"""Stage scripts succeed whole or fail with words; run with Snakemake's own objects."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import types
import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch
from pydantic import BaseModel

from mechflow import job
from mechflow.artifacts import (
    Owner,
    content_digest,
    read_provenance,
    read_table,
    stored_digest,
    write_bytes,
)
from mechflow.config.problems import ConfigError
from mechflow.figures.errors import FigureError
from mechflow.language_models.errors import ModelSourceError
from mechflow.studies import registry
from tests.jobs import SPEC, curves, snakemake_object, write_curves


class Model(BaseModel, extra="forbid"):
    widths: tuple[int, ...]


class Training(BaseModel, extra="forbid"):
    steps: int


class Variant(BaseModel, extra="forbid"):
    model: Model
    training: Training


@pytest.fixture(autouse=True)
def toy_study(monkeypatch: pytest.MonkeyPatch) -> None:
    study = types.SimpleNamespace(name="toy", variant_config=Variant)
    monkeypatch.setattr(registry, "study", {"toy": study}.__getitem__)
    monkeypatch.setitem(sys.modules, "mechflow.studies.toy.train", types.ModuleType("train"))


def test_a_job_knows_what_its_rule_says(tmp_path: Path) -> None:
    with job.start(snakemake_object(tmp_path)) as task:
        assert task.sections == {"model": Model(widths=(1, 2)), "steps": 3}
        assert task.replicates == range(2, 4)
        assert (task.seeds.root, task.seeds.study, task.seeds.variant) == (5, "toy", "full")
        assert task.owner == Owner("toy", "full", "r002-003")
        assert task.stage is sys.modules["mechflow.studies.toy.train"]
        assert task.device == "cpu"


def test_results_say_where_they_come_from(tmp_path: Path) -> None:
    before = write_curves(tmp_path / "in.parquet", "full", "r002-003")
    (tmp_path / "note.txt").write_text("note")
    inputs = {"curves": before, "note": str(tmp_path / "note.txt")}
    snakemake = snakemake_object(tmp_path, inputs=inputs)
    with job.start(snakemake) as task:
        frame = task.read_table("curves")
        assert task.read_file("note") == b"note"
        task.write_table("curves", frame)
    path = snakemake.output.curves
    pd.testing.assert_frame_equal(read_table(path, "curves", task.owner), frame)
    found = read_provenance(path)
    assert (found.kind, found.stage, found.code, found.seed) == ("curves", "train", "c0de", 5)
    assert found.spec == SPEC
    assert found.inputs == {
        "curves": stored_digest(before),
        "note": content_digest(tmp_path / "note.txt"),
    }


def test_tensors_pictures_and_text_are_written_too(tmp_path: Path) -> None:
    outputs = ("weights.safetensors", "figure.png", "text.md", "arrays.safetensors")
    snakemake = snakemake_object(tmp_path, outputs=outputs)
    with job.start(snakemake) as task:
        task.write_tensors("weights", {"W_E": torch.ones(2, 3)})
        task.write_tensors("arrays", {"S": torch.zeros(2)}, kind="spectra_arrays")
        task.write_bytes("figure", b"png")
        task.write_text("text", "text")
    assert read_provenance(snakemake.output.weights).kind == "weights"
    assert read_provenance(snakemake.output.arrays).kind == "spectra_arrays"
    assert Path(snakemake.output.figure).read_bytes() == b"png"
    again = snakemake_object(tmp_path, inputs={"weights": snakemake.output.weights})
    with job.start(again) as task:
        assert task.read_tensors("weights", names=["W_E"])["W_E"].sum() == 6


def test_outputs_appear_together_at_the_end(tmp_path: Path) -> None:
    snakemake = snakemake_object(tmp_path, outputs=("curves.parquet", "figure.png"))
    with job.start(snakemake) as task:
        task.write_table("curves", curves())
        assert not Path(snakemake.output.curves).exists()
        task.write_bytes("figure", b"png")
    assert Path(snakemake.output.curves).exists()
    assert Path(snakemake.output.figure).exists()


def test_a_failure_after_the_first_output_leaves_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snakemake = snakemake_object(tmp_path, outputs=("curves.parquet", "weights.safetensors"))

    def diverge() -> None:
        with job.start(snakemake) as task:
            task.write_table("curves", curves())
            task.write_tensors("weights", {"W": torch.tensor([1.0, float("nan")])})

    with pytest.raises(SystemExit) as caught:
        diverge()
    assert caught.value.code == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "job.log"]
    message = capsys.readouterr().err
    assert "tensor 'W' holds nan at replicate index 1 of block r002-003" in message
    assert "Traceback" not in message


def test_a_damaged_input_is_explained_without_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(write_curves(tmp_path / "curves.parquet", "full", "r002-003"))
    path.write_bytes(path.read_bytes()[:-5])
    with (
        pytest.raises(SystemExit),
        job.start(snakemake_object(tmp_path, inputs={"curves": str(path)})) as task,
    ):
        task.read_table("curves")
    message = capsys.readouterr().err
    assert message.startswith(f"train (study=toy, variant=full, block=r002-003): {path}: damaged")
    assert "rule 'train'" in message
    log = (tmp_path / "job.log").read_text()
    assert "damaged" in log
    assert "Traceback" not in message + log


def test_an_unexpected_failure_points_to_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught, job.start(snakemake_object(tmp_path)):
        raise ZeroDivisionError("no frequencies")
    assert caught.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "train (study=toy, variant=full, block=r002-003) failed: ZeroDivisionError: no frequencies",
        f"The traceback is in {tmp_path / 'job.log'}",
    ]
    log = (tmp_path / "job.log").read_text()
    assert "Traceback" in log
    assert "test_job.py" in log


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/scratch"), "/scratch: no space left"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "x"), "x: permission denied"),
    ],
)
def test_refusals_of_the_system_need_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: OSError, expected: str
) -> None:
    with pytest.raises(SystemExit), job.start(snakemake_object(tmp_path)):
        raise error
    assert expected in capsys.readouterr().err
    assert "Traceback" not in (tmp_path / "job.log").read_text()


@pytest.mark.parametrize("kind", [ConfigError, FigureError, ModelSourceError, job.JobError])
def test_what_the_user_can_solve_needs_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: type[Exception]
) -> None:
    error = ConfigError([]) if kind is ConfigError else kind("Do this instead.")
    with pytest.raises(SystemExit), job.start(snakemake_object(tmp_path)):
        raise error
    said = capsys.readouterr().err
    assert said == f"train (study=toy, variant=full, block=r002-003): {error}\n"
    assert "Traceback" not in (tmp_path / "job.log").read_text()


def test_a_bug_that_misses_a_file_keeps_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), job.start(snakemake_object(tmp_path)):
        (tmp_path / "never made").read_text()
    assert "FileNotFoundError" in (tmp_path / "job.log").read_text()


def test_an_interrupt_passes_and_leaves_no_output(tmp_path: Path) -> None:
    def interrupted() -> None:
        with job.start(snakemake_object(tmp_path)) as task:
            task.write_table("curves", curves())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list((tmp_path / "results").rglob("*.*"))


def test_a_terminated_job_leaves_no_output(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def terminated() -> None:
        with job.start(snakemake_object(tmp_path)) as task:
            task.write_table("curves", curves())
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        terminated()
    assert caught.value.code == 128 + signal.SIGTERM
    assert not list((tmp_path / "results").rglob("*.*"))
    assert "terminated by signal 15" in (tmp_path / "job.log").read_text()
    assert signal.getsignal(signal.SIGTERM) is before


def test_log_records_and_warnings_reach_the_log_file(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    with job.start(snakemake_object(tmp_path)), warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        logging.getLogger("mechflow.training").info("step 10 of 20")
        assert "step 10 of 20" in (tmp_path / "job.log").read_text()
        warnings.warn("an odd value", stacklevel=1)
    log = (tmp_path / "job.log").read_text()
    assert "INFO mechflow.training: step 10 of 20" in log
    assert "an odd value" in log
    assert "started with 1 thread" in log
    assert "finished after" in log
    assert (root.level, list(root.handlers)) == before


def test_the_state_to_resume_from_goes_when_the_job_is_done(tmp_path: Path) -> None:
    def stop_halfway() -> None:
        with job.start(snakemake_object(tmp_path)) as task:
            assert task.resume.load() is None
            task.resume.save({"step": torch.tensor(4)})
            raise RuntimeError("stopped")

    with pytest.raises(SystemExit):
        stop_halfway()
    with job.start(snakemake_object(tmp_path)) as task:
        state = task.resume.load()
        assert state is not None
        assert state["step"] == 4
        resume = task.resume.path
        assert resume.exists()
    assert not resume.exists()


@pytest.mark.parametrize(
    ("device", "cuda", "expected"),
    [
        ("auto", False, "cpu"),
        ("auto", True, "cuda"),
        ("cuda", True, "cuda"),
        ("cpu", True, "cpu"),
    ],
)
def test_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, cuda: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    with job.start(snakemake_object(tmp_path, device=device)) as task:
        assert task.device == expected
        assert task.provenance("weights").device == expected


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_cannot_be_had_is_an_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    device: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with (
        pytest.raises(SystemExit),
        job.start(snakemake_object(tmp_path, device=device)) as task,
    ):
        task.write_table("curves", curves())
    assert f"device: '{device}'" in capsys.readouterr().err


def test_a_stage_that_does_not_declare_randomness_gets_none(tmp_path: Path) -> None:
    spec = {key: value for key, value in SPEC.items() if key != "seed"}
    with job.start(snakemake_object(tmp_path, spec=spec)) as task:
        with pytest.raises(KeyError, match="seeded"):
            _ = task.seeds
        assert task.provenance("curves").seed is None


@pytest.mark.workflow
def test_under_snakemake_a_script_fails_with_words_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(
        "rule curves:\n"
        "    input: curves='in/curves.parquet'\n"
        "    output: curves='out/{study}/{variant}/{block}/curves.parquet', text='out/{study}/"
        "{variant}/{block}/text.md'\n"
        "    log: 'logs/{study}.{variant}.{block}.log'\n"
        f"    params: spec={json.dumps(SPEC)!r}, code='c0de'\n"
        "    script: 'curves.py'\n"
    )
    (tmp_path / "curves.py").write_text(
        "from mechflow import job\n\n"
        "with job.start(snakemake) as task:\n"
        "    task.write_text('text', 'first')\n"
        "    task.write_table('curves', task.read_table('curves'))\n"
    )
    source = Path(write_curves(tmp_path / "in" / "curves.parquet", "full", "r002-003"))
    target = "out/toy/full/r002-003/curves.parquet"
    command = [sys.executable, "-m", "snakemake", "--cores", "1", target, "--quiet", "all"]
    intact = source.read_bytes()
    write_bytes(source, intact[:-9])
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "in/curves.parquet: damaged" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    write_bytes(source, intact)
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert read_provenance(tmp_path / target).inputs == {"curves": stored_digest(source)}
