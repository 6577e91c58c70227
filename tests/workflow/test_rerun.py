"""Walks from an edit to the exact set of jobs that it must rerun, and no other."""

from collections.abc import Callable
from copy import deepcopy
from itertools import product
from typing import Any

import pytest

from tests.workflow.workspace import CONFIG, Workspace

VARIANTS = ("slow", "fast")
PAGES = {"replication", "report"}


def jobs(*names: str) -> set[str]:
    """Jobs of the toy study by short names; a stage stands for its jobs of all variants."""
    stages = ("dataset", "train", "probe")
    found = set()
    for name in names:
        if name in stages:
            found |= {f"toy/{name}/{variant}/r000-001" for variant in VARIANTS}
        else:
            found.add(name if name in PAGES else f"toy/{name}")
    return found


FIGURES = ("curves.figure", "weights.figure")
AFTER_TRAIN = ("probe", *FIGURES, "losses.table", "claims", "replication", "report")
ALL = ("dataset", "train", *AFTER_TRAIN)
AFTER_PROBE = ("weights.figure", "claims", "replication", "report")
TOY = "mechflow/studies/toy"

Edit = Callable[[Workspace], None]


def replace(name: str, old: str, new: str) -> Edit:
    return lambda workspace: workspace.replace(name, old, new)


def touch(*names: str) -> Edit:
    return lambda workspace: workspace.touch(*names)


def set_toy(value: object, *path: str) -> Edit:
    """Sets a key of the toy study's block."""
    return set_key(CONFIG, value, "studies", "toy", *path)


def set_key(base: dict[str, Any], value: object, *path: str) -> Edit:
    """Sets a key of a configuration."""

    def edit(workspace: Workspace) -> None:
        config = deepcopy(base)
        section = config
        for key in path[:-1]:
            section = section.setdefault(key, {})
        section[path[-1]] = value
        workspace.configure(config)

    return edit


def code(name: str) -> Edit:
    """Adds a statement to a module."""
    return lambda workspace: workspace.write(name, workspace.path(name).read_text() + "\n_X = 1\n")


def swap_values_of_two_variants(workspace: Workspace) -> None:
    config = deepcopy(CONFIG)
    variants = config["studies"]["toy"]["variants"]
    variants["slow"], variants["fast"] = variants["fast"], variants["slow"]
    workspace.configure(config)


def reorder_and_comment_the_configuration(workspace: Workspace) -> None:
    config = {"studies": deepcopy(CONFIG["studies"]), "seed": CONFIG["seed"]}
    toy = config["studies"]["toy"]
    toy["variants"] = dict(reversed(toy["variants"].items()))
    workspace.configure(config)
    text = workspace.path("config/config.yaml").read_text()
    workspace.write("config/config.yaml", f"# a comment\n{text}\n")


def check_out_again(workspace: Workspace) -> None:
    """Writes every source file anew with the same bytes, as ``git checkout`` may."""
    for folder in ("src", "workflow", "envs"):
        for file in sorted((workspace.folder / folder).rglob("*")):
            if file.is_file():
                content = file.read_bytes()
                workspace.remove(str(file.relative_to(workspace.folder)))
                workspace.write(str(file.relative_to(workspace.folder)), content)


def reformat(workspace: Workspace) -> None:
    workspace.replace(f"{TOY}/probe.py", "scores = probe.scale * ", "scores = (\n  probe.scale) * ")
    workspace.replace(f"{TOY}/probe.py", '"replicate"', "'replicate'")
    workspace.replace("workflow/scripts/train.py", "\n\n", "\n\n\n")


EDITS: dict[str, tuple[Edit, set[str]]] = {
    # Nothing that has a meaning
    "nothing": (lambda workspace: None, set()),
    "comment": (replace(f"{TOY}/arithmetic.py", "says nothing", "says something"), set()),
    "docstring": (replace(f"{TOY}/train.py", "Counts to the last step", "Counts"), set()),
    "module docstring": (replace("mechflow/job.py", '"""The frame', '"""A frame'), set()),
    "format": (reformat, set()),
    "import for type checkers": (
        replace("workflow/scripts/train.py", "import snakemake\n", "import snakemake, Snakemake\n"),
        set(),
    ),
    "scripts touched": (touch("workflow/scripts/train.py", "workflow/scripts/figure.py"), set()),
    "rules touched": (touch("Snakefile", "workflow/rules/train.smk"), set()),
    "results touched": (
        touch("results/toy/slow/r000-001/dataset.parquet", "results/toy/claims.parquet"),
        set(),
    ),
    "checked out again": (check_out_again, set()),
    "configuration reordered": (reorder_and_comment_the_configuration, set()),
    "default written down": (set_toy({"dataset": {"p": 3}}, "defaults"), set()),
    "variant that does not run": (set_toy({"dataset": {"p": 7}}, "variants", "idle"), set()),
    "resources of a rule": (
        replace("workflow/rules/train.smk", "mem_mb=4000", "mem_mb=5000"),
        set(),
    ),
    "code of another study": (
        replace("mechflow/training/loop.py", "= 5.0", "= 6.0"),
        set(),
    ),
    "declared description of a key": (
        replace(f"{TOY}/config.py", '"""Updates."""', '"""Number of updates."""'),
        set(),
    ),
    # Values
    "root seed": (set_key(CONFIG, 4, "seed"), jobs(*ALL)),
    "dataset": (set_toy({"dataset": {"p": 5}}, "defaults"), jobs(*ALL)),
    "training": (set_toy({"training": {"pause": 0.5}}, "defaults"), jobs("train", *AFTER_TRAIN)),
    "training of one variant": (
        set_toy({"training": {"steps": 9}}, "variants", "fast"),
        jobs("train", *AFTER_TRAIN) - {"toy/train/slow/r000-001", "toy/probe/slow/r000-001"},
    ),
    "values of two variants swapped": (
        swap_values_of_two_variants,
        jobs("train", *AFTER_TRAIN),
    ),
    "probe": (set_toy({"probe": {"scale": 2.0}}, "defaults"), jobs("probe", *AFTER_PROBE)),
    "default in a declaration": (
        replace(f"{TOY}/config.py", "scale: float = 1.0", "scale: float = 2.0"),
        jobs("probe", *AFTER_PROBE),
    ),
    "style": (set_key(CONFIG, {"colours": {"slow": "#000000"}}, "style"), jobs(*FIGURES, "report")),
    "figures of the study": (set_toy(False, "figures", "legend"), jobs(*FIGURES, "report")),
    "replicates": (
        set_toy(3, "replicates"),
        {f"toy/{s}/{v}/r002-002" for s, v in product(("dataset", "train", "probe"), VARIANTS)}
        | jobs(*FIGURES, "losses.table", "claims", "replication", "report"),
    ),
    "a variant more": (
        set_toy(["slow", "fast", "idle"], "run"),
        {f"toy/{stage}/idle/r000-001" for stage in ("dataset", "train", "probe")}
        | jobs(*FIGURES, "losses.table", "claims", "replication", "report"),
    ),
    "a variant less": (
        set_toy(["fast"], "run"),
        jobs(*FIGURES, "losses.table", "claims", "replication", "report"),
    ),
    # Code
    "dataset stage": (replace(f"{TOY}/dataset.py", "(a + b)", "(a - b)"), jobs(*ALL)),
    "train stage": (
        replace(f"{TOY}/train.py", "total += ", "total -= "),
        jobs("train", *AFTER_TRAIN),
    ),
    "probe stage": (
        replace(f"{TOY}/probe.py", "/ p", "/ (p + 1)"),
        jobs("probe", *AFTER_PROBE),
    ),
    "local variable": (
        replace(f"{TOY}/probe.py", "scores", "values"),
        jobs("probe", *AFTER_PROBE),
    ),
    "mathematics of two stages": (
        replace(f"{TOY}/arithmetic.py", "2 * x", "x + x"),
        jobs("train", *AFTER_TRAIN),
    ),
    "one figure": (
        replace(f"{TOY}/figures/curves.py", '"o"', '"x"'),
        jobs("curves.figure", "report"),
    ),
    "the other figure": (
        replace(f"{TOY}/figures/weights.py", "total / p", "total"),
        jobs("weights.figure", "report"),
    ),
    "figure script": (
        replace("workflow/scripts/figure.py", 'kind="figure_data"', '"figure_data"'),
        jobs(*FIGURES, "report"),
    ),
    "how figures are saved": (
        replace("mechflow/figures/save.py", "import ", "import sys\nimport "),
        jobs(*FIGURES, "report"),
    ),
    "data of figures, tables and claims": (
        replace("mechflow/figures/data.py", "dim=1", "dim=-1"),
        jobs(*FIGURES, "losses.table", "claims", "replication", "report"),
    ),
    "table": (
        replace(f"{TOY}/tables.py", "mean()", "median()"),
        jobs("losses.table", "report"),
    ),
    "form of tables": (
        replace("mechflow/tabular.py", "_DIGITS = 4", "_DIGITS = 3"),
        jobs("losses.table", "replication", "report"),
    ),
    "claims": (
        replace(f"{TOY}/claims.py", "scores > 0", "scores >= 0"),
        jobs("claims", "replication", "report"),
    ),
    "caption": (replace(f"{TOY}/study.py", "The loss of every", "Loss of every"), jobs("report")),
    "how files are written": (
        replace("mechflow/artifacts/tables.py", '"zstd"', '"snappy"'),
        jobs(*ALL),
    ),
    # Files
    "result changed": (
        lambda workspace: workspace.write("results/toy/slow/r000-001/dataset.parquet", "other"),
        jobs("train", *AFTER_TRAIN) - {"toy/train/fast/r000-001", "toy/probe/fast/r000-001"},
    ),
    "result deleted": (
        lambda workspace: workspace.remove("results/toy/fast/r000-001/probes.parquet"),
        {"toy/probe/fast/r000-001"} | jobs(*AFTER_PROBE),
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which everything is up to date."""
    workspace = Workspace(tmp_path_factory.mktemp("made"))
    workspace.pretend_made()
    return workspace


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_reruns_exactly_what_depends_on_it(made: Workspace, edit: str) -> None:
    change, expected = EDITS[edit]
    assert made.stale_after(change) == expected
