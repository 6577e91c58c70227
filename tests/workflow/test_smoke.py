"""The real study at smoke scale, in two folders: one run undisturbed, one with training killed.

Everything that both folders end with must be the same, byte for byte, figures included.
"""

import random
import time
from pathlib import Path

import pytest

from tests.workflow.workspace import SCALED, Workspace, results, scaled, script

STUDY = "modular_addition"
OVERLAY = """
studies:
  modular_addition:
    replicates: 3
    defaults:
      training:
        resume_every: 20
"""
BLOCK = "results/modular_addition/binary/r000-001"
_PATIENCE = 60.0
"""Seconds within which training must start."""


def kill_training(workspace: Workspace) -> None:
    """Starts the pipeline and kills the training at a random step after its first saved state."""
    snakemake = workspace.start(f"{BLOCK}/weights.safetensors", "--cores", "1", *SCALED)
    saved = workspace.path(f"{BLOCK}/.train.resume.safetensors")
    deadline = time.monotonic() + _PATIENCE
    while not saved.exists():
        assert time.monotonic() < deadline, "training did not save a state"
        assert snakemake.poll() is None, snakemake.communicate()[1]
        time.sleep(0.005)
    time.sleep(random.SystemRandom().uniform(0.0, 0.5))
    victim = script(snakemake, "train")
    assert victim is not None, "training ended before it could be killed"
    victim.kill()
    _, messages = snakemake.communicate(timeout=_PATIENCE)
    assert snakemake.returncode != 0, messages
    assert not workspace.path(f"{BLOCK}/weights.safetensors").exists()
    assert saved.exists()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = scaled(tmp_path_factory.mktemp("undisturbed"), STUDY, OVERLAY)
    workspace.make(*SCALED)
    return workspace


def test_killed_and_resumed_in_another_folder_gives_the_same_bytes(
    undisturbed: Workspace, tmp_path: Path
) -> None:
    killed = scaled(tmp_path, STUDY, OVERLAY)
    kill_training(killed)
    killed.make(*SCALED)
    log = killed.path("logs/modular_addition/binary/r000-001/train.log").read_text()
    assert "resumed at step" in log
    ours, theirs = results(killed), results(undisturbed)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_every_declared_figure_is_made_as_pdf_png_and_source_data(undisturbed: Workspace) -> None:
    from mechflow.studies.modular_addition.study import FIGURES, TABLES

    made = results(undisturbed)
    for figure in FIGURES:
        for suffix, magic in (("pdf", b"%PDF"), ("png", b"\x89PNG"), ("parquet", b"PAR1")):
            assert made[f"figures/modular_addition/{figure.name}.{suffix}"].startswith(magic)
    for table in TABLES:
        for suffix in ("parquet", "tex", "md"):
            assert made[f"tables/modular_addition/{table.name}.{suffix}"]
    assert FIGURES
    assert TABLES


def test_a_second_run_does_nothing(undisturbed: Workspace) -> None:
    assert "Nothing to be done" in undisturbed.make(*SCALED).stderr


def test_a_damaged_artefact_is_refused_by_name_and_nothing_is_overwritten(
    undisturbed: Workspace,
) -> None:
    """A flipped bit in the weights stops what reads them, and says which rule remakes them."""
    name = f"{BLOCK}/weights.safetensors"
    data = bytearray(undisturbed.path(name).read_bytes())
    data[len(data) // 2] ^= 1
    before = results(undisturbed)
    undisturbed.keep()
    undisturbed.write(name, bytes(data))
    try:
        ran = undisturbed.snakemake("--cores", "2", *SCALED, "--forcerun", "interventions")
        said = ran.stdout + ran.stderr
        assert ran.returncode != 0
        assert name in said
        assert "train" in said
        assert "Traceback" not in said
        assert undisturbed.path(name).read_bytes() == bytes(data)
    finally:
        undisturbed.restore()
    assert (
        results(undisturbed)[name.removeprefix("results/")] == before[name.removeprefix("results/")]
    )
