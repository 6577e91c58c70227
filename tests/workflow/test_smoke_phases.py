"""The phase changes at smoke scale, and one training that is killed and goes on elsewhere."""

import time
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.image import imread

from mechflow.artifacts import read_provenance
from mechflow.studies.declaration import Stage
from mechflow.studies.phase_changes.study import STUDY as DECLARED
from tests.workflow.workspace import SCALED, Workspace, results, scaled, script

STUDY = "phase_changes"
OVERLAY = """
studies:
  phase_changes:
    variants:
      addition_finite:
        training:
          steps: 300
          resume_every: 10
"""
VARIANTS = ("addition", "addition_finite", "skip_trigram", "induction", "induction_one_layer")
KILLED = f"results/{STUDY}/addition_finite/r000-001"
ARTEFACTS = ("dataset", "curves", "probes", "spectra", "progress", "interventions")
TENSORS = ("weights", "checkpoints", "spectra")
_PATIENCE = 120.0
"""Seconds within which training must start."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which everything was made in one go."""
    workspace = scaled(tmp_path_factory.mktemp("undisturbed"), STUDY, OVERLAY)
    workspace.make(*SCALED)
    workspace.keep()
    return workspace


def test_everything_planned_is_made_and_nothing_else(undisturbed: Workspace) -> None:
    made = {f"results/{name}" for name in results(undisturbed)}
    assert made == set(undisturbed.plan(*SCALED))
    for variant in VARIANTS:
        block = f"results/{STUDY}/{variant}/r000-001"
        assert {f"{block}/{name}.parquet" for name in ARTEFACTS} <= made
        assert {f"{block}/{name}.safetensors" for name in TENSORS} <= made


@pytest.mark.parametrize("figure", [figure.name for figure in DECLARED.figures])
def test_a_figure_shows_something_and_has_its_source_data(
    undisturbed: Workspace, figure: str
) -> None:
    path = f"results/figures/{STUDY}/{figure}"
    assert undisturbed.path(f"{path}.pdf").read_bytes().startswith(b"%PDF")
    pixels = imread(BytesIO(undisturbed.path(f"{path}.png").read_bytes()), format="png")
    assert pixels[..., :3].std() > 0.0
    assert len(pd.read_parquet(undisturbed.path(f"{path}.parquet"))) > 0


def test_tables_and_verdicts_are_made(undisturbed: Workspace) -> None:
    for table in DECLARED.tables:
        path = f"results/tables/{STUDY}/{table.name}"
        assert len(pd.read_parquet(undisturbed.path(f"{path}.parquet"))) > 0
        assert all(undisturbed.path(f"{path}.{suffix}").read_text() for suffix in ("tex", "md"))
    verdicts = pd.read_parquet(undisturbed.path("results/replication.parquet"))
    assert set(verdicts["study"]) == {STUDY}


def test_a_second_run_does_nothing(undisturbed: Workspace) -> None:
    assert "Nothing to be done" in undisturbed.make(*SCALED).stderr


@pytest.mark.parametrize("stage", DECLARED.stages, ids=lambda stage: stage.name)
def test_a_result_says_what_its_stage_read_and_which_values_it_used(
    undisturbed: Workspace, stage: Stage
) -> None:
    kinds = {"train": "curves", "probe": "probes"}
    kind = kinds.get(stage.name, stage.name)
    found = read_provenance(undisturbed.path(f"{KILLED}/{kind}.parquet"), kind)
    assert set(found.inputs) == set(stage.reads)
    assert set(found.spec["values"]) == set(stage.uses)


def test_a_figure_a_table_and_verdicts_made_again_have_the_same_bytes(
    undisturbed: Workspace,
) -> None:
    """One figure of all: tests of their own draw each of them twice."""
    before = results(undisturbed)
    again = (f"results/figures/{STUDY}/ablations.pdf", f"results/tables/{STUDY}/grokking.md")
    undisturbed.make(*SCALED, "--forcerun", *again, "claims")
    after = results(undisturbed)
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == []


def test_a_killed_training_goes_on_in_another_folder_to_the_same_bytes(
    undisturbed: Workspace, tmp_path: Path
) -> None:
    """Its batches are drawn on the way, so their order must go on where it stopped."""
    killed = scaled(tmp_path, STUDY, OVERLAY)
    kill_training(killed)
    killed.make(*SCALED, "--", f"{KILLED}/weights.safetensors")
    log = killed.path(f"logs/{STUDY}/addition_finite/r000-001/train.log").read_text()
    assert "resumed at step" in log
    ours, theirs = results(killed), results(undisturbed)
    assert {f"{KILLED}/curves.parquet".removeprefix("results/")} <= ours.keys() <= theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def kill_training(workspace: Workspace) -> None:
    """Starts the pipeline and kills the training after its first saved state."""
    snakemake = workspace.start("--cores", "1", *SCALED, "--", f"{KILLED}/weights.safetensors")
    saved = workspace.path(f"{KILLED}/.train.resume.safetensors")
    deadline = time.monotonic() + _PATIENCE
    while not saved.exists():
        assert time.monotonic() < deadline, "training did not save a state"
        assert snakemake.poll() is None, snakemake.communicate()[1]
        time.sleep(0.002)
    victim = script(snakemake, "train")
    assert victim is not None, "training ended before it could be killed"
    victim.kill()
    _, messages = snakemake.communicate(timeout=_PATIENCE)
    assert snakemake.returncode != 0, messages
    assert not workspace.path(f"{KILLED}/weights.safetensors").exists()
    assert saved.exists()
