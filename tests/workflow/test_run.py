"""Runs the whole workflow on the toy study, and kills it, damages it and configures it wrongly."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mechflow.artifacts import read_provenance
from tests.workflow.test_rerun import EDITS
from tests.workflow.workspace import CONFIG, Workspace

WEIGHTS = "results/toy/slow/r000-001/weights.safetensors"
HEAVY = ("torch", "pyarrow", "matplotlib", "scipy", "transformer_lens")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which the workflow has run."""
    workspace = Workspace(tmp_path_factory.mktemp("ran"))
    workspace.make()
    workspace.keep()
    return workspace


def results(workspace: Workspace) -> set[str]:
    folder = workspace.folder / "results"
    return {str(f.relative_to(workspace.folder)) for f in folder.rglob("*") if f.is_file()}


def test_everything_planned_is_made_and_nothing_else(ran):
    assert results(ran) == set(ran.plan())


def test_a_second_run_does_nothing(ran):
    before = {name: ran.path(name).stat().st_mtime_ns for name in results(ran)}
    assert "Nothing to be done" in ran.make().stderr
    assert {name: ran.path(name).stat().st_mtime_ns for name in results(ran)} == before


@pytest.mark.parametrize("edit", ["checked out again", "training of one variant", "caption"])
def test_what_snakemake_remembers_of_a_run_gives_the_same_reruns(ran, edit):
    """So `pretend_made`, on which the table of edits is walked, pretends nothing wrong."""
    change, expected = EDITS[edit]
    try:
        change(ran)
        assert ran.stale() == expected
    finally:
        ran.restore()


def test_every_job_leaves_a_log_and_a_benchmark(ran):
    jobs = {
        f"toy/{v}/r000-001/{s}" for v in ("slow", "fast") for s in ("dataset", "train", "probe")
    }
    jobs |= {"toy/figures/curves", "toy/figures/weights", "toy/tables/losses", "toy/claims"}
    jobs |= {"replication", "report"}
    for folder, suffix in (("logs", ".log"), ("benchmarks", ".tsv")):
        files = {
            f.relative_to(ran.folder / folder) for f in (ran.folder / folder).rglob(f"*{suffix}")
        }
        assert {str(file.with_suffix("")) for file in files} == jobs


def test_results_say_which_values_and_code_made_them(ran):
    found = read_provenance(ran.path(WEIGHTS), "weights")
    assert found.spec["values"] == {"training": {"pause": 0.0, "steps": 4}}
    assert re.fullmatch(r"[0-9a-f]{64}", found.code)
    assert set(found.inputs) == {"dataset"}


def test_tables_and_verdicts_are_of_all_variants(ran):
    assert list(pd.read_parquet(ran.path("results/tables/toy/losses.parquet"))["variant"]) == [
        "slow",
        "fast",
    ]
    verdicts = pd.read_parquet(ran.path("results/replication.parquet"))
    assert list(verdicts["study"]) == ["toy"]
    assert "scores are positive" in ran.path("results/replication.md").read_text()


def test_snakemake_writes_its_report(ran):
    ran.make("--report", "snakemake-report.html")
    page = ran.path("snakemake-report.html").read_text()
    assert "weights" in page
    assert "WorkflowError" not in page


def test_one_study_is_a_target_by_its_name(ran):
    ran.remove("results/figures/toy/curves.pdf")
    try:
        assert "figure" in ran.snakemake("-n", "--cores", "1", "toy").stderr
    finally:
        ran.restore()


def test_the_catalogs_snakefile_is_the_same_workflow(ran):
    done = ran.snakemake("--cores", "1", "-n", "--snakefile", "workflow/Snakefile")
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" in done.stderr


def test_further_configuration_files_and_values_overlay_the_default(ran):
    ran.write("config/more.yaml", yaml.safe_dump({"studies": {"toy": {"replicates": 4}}}))
    try:
        plan = ran.snakemake(
            "--summary",
            *("--configfile", "config/config.yaml", "config/more.yaml"),
            *("--config", "studies={toy: {run: [fast]}}"),
        ).stdout
    finally:
        ran.restore()
    assert "results/toy/fast/r002-003/probes.parquet" in plan
    assert "slow" not in plan


@pytest.mark.parametrize("foreign", ["module://matplotlib_inline.backend_inline", "none"])
def test_figures_are_drawn_whatever_backend_is_inherited(ran, foreign):
    pdf = "results/figures/toy/weights.pdf"
    before = ran.path(pdf).read_bytes()
    ran.remove(pdf)
    try:
        ran.make("--", pdf, MPLBACKEND=foreign)
        assert ran.path(pdf).read_bytes() == before
    finally:
        ran.restore()


def test_a_damaged_input_is_named_and_spoils_nothing(ran):
    curves, table = "results/toy/slow/r000-001/curves.parquet", "results/tables/toy/losses.md"
    before = {name: ran.path(name).read_bytes() for name in results(ran) - {curves}}
    ran.write(curves, b"PAR1 and no more")
    try:
        done = ran.snakemake("--cores", "1", "--", table)
    finally:
        ran.restore()
    assert done.returncode != 0
    assert f"{curves}: damaged" in done.stderr
    assert "Made by the rule 'train'" in done.stderr
    assert "Traceback" not in done.stderr
    ran.make()
    assert {name: ran.path(name).read_bytes() for name in before} == before


def test_parsing_imports_nothing_heavy(ran, tmp_path):
    for name in HEAVY:
        (tmp_path / f"{name}.py").write_text("raise ImportError('imported while parsing')")
    path = f"{tmp_path}{os.pathsep}{ran.environment()['PYTHONPATH']}"
    done = ran.snakemake("-n", "--cores", "1", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr


def test_the_linter_finds_nothing(ran):
    done = ran.snakemake("--lint")
    assert done.returncode == 0, done.stderr


BAD: dict[str, tuple[dict[str, object], str]] = {
    "unknown key": ({"seeed": 1}, "seeed"),
    "unknown study": ({"studies": {"tov": {}}}, "tov"),
    "wrong type": ({"seed": "many"}, "seed"),
    "unknown variant": ({"studies": {"toy": {"run": ["medium"]}}}, "medium"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_configuration_is_explained_before_any_job(ran, case):
    overlay, word = BAD[case]
    ran.write("config/bad.yaml", yaml.safe_dump(overlay))
    try:
        done = ran.snakemake("--cores", "1", "--forceall", "--configfile", "config/bad.yaml")
    finally:
        ran.restore()
    assert done.returncode != 0
    assert done.stderr.count("The configuration has 1 problem") == 1
    assert word in done.stderr
    assert "config/bad.yaml:" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Job stats" not in done.stderr


def test_a_file_that_is_no_yaml_is_named_with_its_line(ran):
    ran.write("config/config.yaml", "seed: 1\nstudies: [toy\nstyle: {}\n")
    try:
        done = ran.snakemake("--cores", "1")
    finally:
        ran.restore()
    assert done.returncode != 0
    assert "config/config.yaml:3: not valid YAML" in done.stderr
    assert "Traceback" not in done.stderr


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it never came to this"
        time.sleep(0.02)


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path):
    """Everything dies at once, as when a machine does; the next run ends with the same bytes."""
    config = yaml.safe_load(yaml.safe_dump(CONFIG))
    config["studies"]["toy"]["defaults"] = {"training": {"steps": 40, "pause": 0.05}}
    folders = [tmp_path / "killed", tmp_path / "spared"]
    for folder in folders:
        folder.mkdir()
    killed, spared = (Workspace(folder) for folder in folders)
    for workspace in (killed, spared):
        workspace.configure(config)
    run = killed.start("--cores", "1", "--", WEIGHTS)
    log = killed.path("logs/toy/slow/r000-001/train.log")
    wait_until(lambda: log.exists() and "starts at step 0" in log.read_text())
    time.sleep(0.5)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert not killed.path(WEIGHTS).exists()

    locked = killed.snakemake("--cores", "1", "--", WEIGHTS)
    assert locked.returncode != 0
    assert "--unlock" in locked.stderr
    killed.make("--unlock")
    killed.make("--", WEIGHTS)
    started = re.search(r"starts at step (\d+) of 40", log.read_text())
    assert started is not None
    assert 0 < int(started[1]) < 40

    spared.make("--", WEIGHTS)
    assert results(killed) == results(spared)
    for name in results(spared):
        assert killed.path(name).read_bytes() == spared.path(name).read_bytes(), name
