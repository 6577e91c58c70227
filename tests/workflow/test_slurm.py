"""Runs the workflow through the real executor plugin, with stand-ins for SLURM's commands."""

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.workspace import Workspace

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "sacctmgr", "sinfo", "scontrol", "sshare")
PROBES = "results/toy/fast/r000-001/probes.parquet"


@pytest.fixture(scope="module")
def submissions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Flags of `sbatch` for each rule, after a run up to the probes."""
    folder = tmp_path_factory.mktemp("slurm")
    commands, state = folder / "bin", folder / "state"
    commands.mkdir()
    state.mkdir()
    script = Path(__file__).with_name("fake_slurm.py").read_text()
    for name in COMMANDS:
        (commands / name).write_text(f"#!{sys.executable} -S\n{script}")
        (commands / name).chmod(0o755)
    (folder / "repository").mkdir()
    workspace = Workspace(folder / "repository")
    path = f"{commands}:{workspace.environment()['PATH']}"
    ran = workspace.snakemake(
        "--profile=workflow/profiles/slurm",
        "--slurm-init-seconds-before-status-checks=1",
        "--latency-wait=10",
        "--config",
        "studies={toy: {run: [fast]}}",
        "--",
        PROBES,
        PATH=path,
        FAKE_SLURM=str(state),
    )
    assert ran.returncode == 0, ran.stderr
    assert (workspace.folder / PROBES).exists()
    found = {}
    for file in sorted(state.glob("*.json")):
        flags = parse(json.loads(file.read_text()))
        found[flags["--comment"].split("_wildcards_")[0].removeprefix("rule_")] = flags
    shutil.rmtree(folder)
    return found


def parse(arguments: list[str]) -> dict[str, str]:
    """Flags and their values, however they were joined."""
    text = shlex.join(argument for argument in arguments if not argument.startswith("--wrap"))
    flags: dict[str, str] = {}
    name = ""
    for word in shlex.split(text.replace("=", " ")):
        if word.startswith("-"):
            name = word
        flags[name] = "" if word == name else word
    return flags


def test_every_stage_was_a_job_of_its_own(submissions):
    assert set(submissions) == {"dataset", "train", "probe"}


def test_of_these_stages_only_training_asks_for_a_gpu(submissions):
    assert submissions["train"]["--gpus"] == "1"
    assert [rule for rule, flags in submissions.items() if "--gpus" in flags] == ["train"]


def test_partitions_run_times_and_memory_are_asked_for(submissions):
    asked = {
        rule: (flags["-p"], flags["-t"], flags["--mem"]) for rule, flags in submissions.items()
    }
    assert asked == {
        "dataset": ("cpu", "15", "2000"),
        "train": ("gpu", "480", "16000"),
        "probe": ("cpu", "120", "8000"),
    }


def test_every_job_has_one_core_and_the_account(submissions):
    for flags in submissions.values():
        assert flags["-A"] == "myaccount"
        assert flags["--cpus-per-task"] == "1"
