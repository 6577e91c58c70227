"""The workflow as a module of a paper's, which lies elsewhere and brings its configuration."""

import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from mechflow.artifacts import read_provenance
from mechflow.staleness import trigger_warning
from tests.workflow.workspace import CONFIG, ROOT, Workspace

README = (ROOT / "README.md").read_text(encoding="utf-8")
(SNAKEFILE,) = re.findall(r"^```python\n(.*?\nmodule mechflow:.*?)^```$", README, re.M | re.S)
"""As users are told to write it."""
BLOCK = "results/toy/slow/r000-002"
HANDED = "config: config"


class Paper:
    """A folder with a Snakefile that uses a workspace as a module."""

    def __init__(self, folder: Path, workspace: Workspace) -> None:
        self.folder = folder
        self.workspace = workspace
        self.config: dict[str, Any] = copy.deepcopy(CONFIG)
        # Other values than those of the workspace's own file.
        self.config["seed"] = 5
        self.config["studies"]["toy"] |= {"replicates": 3, "block_size": 3}
        self.write()

    def write(self, edit: Callable[[str], str] = str, config: str = "") -> None:
        """Writes the Snakefile, edited, and the configuration, or a text in its place."""
        clone = os.path.relpath(self.workspace.folder, self.folder)
        snakefile = SNAKEFILE.replace("../mechflow/", f"{clone}/")
        snakefile = snakefile.replace("modular_addition/training_curves", "toy/curves")
        (self.folder / "Snakefile").write_text(edit(snakefile))
        text = config or yaml.safe_dump(self.config, sort_keys=False)
        (self.folder / "config.yaml").write_text(text)

    def snakemake(self, *arguments: str) -> tuple[int, str]:
        """Runs Snakemake in this folder: exit status, and what it said."""
        ran = subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
            cwd=self.folder,
            env=self.workspace.environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
            check=False,
        )
        return ran.returncode, ran.stdout


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def triggers() -> list[str]:
    """Those of the default profile, as options."""
    profile = ROOT / "workflow" / "profiles" / "default" / "profile.yaml"
    return ["--rerun-triggers", *yaml.safe_load(profile.read_text())["rerun-triggers"]]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the repository, which the papers share."""
    return Workspace(tmp_path_factory.mktemp("workflow"))


@pytest.fixture
def paper(tmp_path: Path, workspace: Workspace) -> Paper:
    return Paper(tmp_path, workspace)


def refused(said: tuple[int, str], problem: str) -> None:
    """Asserts that this problem is all that was found, and said in words."""
    status, output = said
    assert status != 0
    assert f"The configuration has 1 problem:\n  {problem}\n" in output
    assert "Traceback" not in output


def test_results_of_the_papers_configuration_land_in_its_folder_once(
    paper: Paper, workspace: Workspace
) -> None:
    before = files(workspace.folder)
    status, output = paper.snakemake(*triggers())
    assert status == 0, output
    assert "mechflow expects other rerun triggers" not in output
    assert files(workspace.folder) == before
    # As the default target asks: no probes, and none of the variant that is not in `run`.
    made = {name for name in files(paper.folder) if name.startswith("results/toy/")}
    names = ("dataset.parquet", "curves.parquet", "weights.safetensors", "checkpoints.safetensors")
    blocks = (BLOCK, BLOCK.replace("slow", "fast"))
    assert made == {f"{block}/{name}" for block in blocks for name in names}
    assert (paper.folder / "figures" / "training_curves.pdf").read_bytes().startswith(b"%PDF")
    weights = read_provenance(paper.folder / BLOCK / "weights.safetensors", "weights")
    assert (weights.seed, weights.spec["seed"]) == (5, 5)
    dataset = pd.read_parquet(paper.folder / BLOCK / "dataset.parquet")
    assert set(dataset["replicate"]) == {0, 1, 2}

    status, output = paper.snakemake(*triggers())
    assert status == 0, output
    assert "Nothing to be done" in output


def test_without_our_rerun_triggers_a_warning_says_what_to_copy_or_write(paper: Paper) -> None:
    status, output = paper.snakemake("-n")
    assert status == 0, output
    default = ("mtime", "params", "input", "software-env", "code")
    (said,) = {line for line in output.splitlines() if "mechflow expects" in line}
    assert said == trigger_warning(default)
    assert "Copy workflow/profiles/default of mechflow to profiles/default" in said
    assert f"or run with {' '.join(triggers())}." in said


def test_the_copied_profile_is_what_the_warning_asks_for(paper: Paper) -> None:
    profile = paper.folder / "profiles" / "default"
    shutil.copytree(ROOT / "workflow" / "profiles" / "default", profile)
    status, output = paper.snakemake("-n")
    assert status == 0, output
    assert "mechflow expects" not in output


@pytest.mark.parametrize("section", ["", "mechflow"])
def test_a_wrong_value_in_the_papers_file_is_refused_with_its_line(
    paper: Paper, section: str
) -> None:
    """Whether all of the file is handed over or a section of it, and another value edited."""
    paper.config["studies"]["toy"]["replicates"] = 0
    config = {section: paper.config} if section else paper.config
    text = yaml.safe_dump(config, sort_keys=False)
    handed = f'config["{section}"]' if section else "config"
    edited = f'{handed}["seed"] = 7\n\nmodule'
    paper.write(
        lambda snakefile: snakefile.replace(HANDED, f"config: {handed}").replace(
            "module", edited, 1
        ),
        text,
    )
    line = 1 + [row.strip() for row in text.splitlines()].index("replicates: 0")
    refused(
        paper.snakemake("-n"),
        f"config.yaml:{line}: studies.toy.replicates = 0: expected a whole number of at least 1",
    )


def test_a_file_over_our_default_writes_only_what_differs(paper: Paper) -> None:
    """And a mistake is told of the file that holds it."""
    default = os.path.relpath(paper.workspace.path("config/config.yaml"), paper.folder)
    paper.write(lambda text: f'configfile: "{default}"\n{text}', "# mine\nseed: -5\n")
    problem = "config.yaml:2: seed = -5: expected a whole number of at least 0"
    refused(paper.snakemake("-n"), problem)


def test_a_wrong_value_made_in_the_papers_snakefile_is_refused_by_its_key(paper: Paper) -> None:
    paper.write(lambda text: text.replace("\nmodule", 'config["seed"] = -1\n\nmodule', 1))
    refused(
        paper.snakemake("-n"),
        "config of the module: seed = -1: expected a whole number of at least 0",
    )


def test_a_wrong_value_on_the_papers_command_line_is_refused(paper: Paper) -> None:
    refused(
        paper.snakemake("-n", "--config", "seed=-9"),
        "--config: seed = -9: expected a whole number of at least 0",
    )


def test_a_wrong_value_in_a_file_of_the_command_line_is_refused_with_its_line(paper: Paper) -> None:
    (paper.folder / "more.yaml").write_text("# more\nseed: -2\n")
    refused(
        paper.snakemake("-n", "--configfile", "more.yaml"),
        "more.yaml:2: seed = -2: expected a whole number of at least 0",
    )


def test_without_a_config_line_the_file_of_our_default_name_is_read(paper: Paper) -> None:
    paper.write(lambda text: text.replace(f"    {HANDED}\n", ""))
    refused(paper.snakemake("-n"), "config/config.yaml: cannot be read: no such file or directory")


def test_rules_may_be_renamed(paper: Paper) -> None:
    """So that a paper can have an `all` and a `report` of its own."""
    everything = "use rule * from mechflow"
    paper.write(lambda text: text.replace(everything, f"{everything} as mechflow_*"))
    status, output = paper.snakemake("-n", "mechflow_toy")
    assert status == 0, output
    jobs = dict(re.findall(r"^(mechflow_\w+) +(\d+)$", output, re.M))
    assert jobs == {
        **dict.fromkeys(("mechflow_dataset", "mechflow_train", "mechflow_probe"), "2"),
        **{"mechflow_figure": "2", "mechflow_table": "1", "mechflow_claims": "1"},
        "mechflow_toy": "1",
    }
