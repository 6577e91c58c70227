"""Walks from an edit to what it must rerun of the phase changes, and no more.

Variants with different tasks share the code of the stages but not the values.
"""

from typing import Any

import pytest

from mechflow.layout import ARTEFACTS
from mechflow.studies.phase_changes.study import STUDY as DECLARED
from tests.workflow.test_rerun import Edit, code, replace, set_key
from tests.workflow.workspace import Workspace

NAME = "phase_changes"
STUDY = f"mechflow/studies/{NAME}"
CONFIG: dict[str, Any] = {
    "studies": {
        NAME: {
            "replicates": 2,
            "block_size": 2,
            "run": ["addition", "addition_finite", "induction"],
            "variants": {
                "addition": {},
                "addition_finite": {"finite": {"examples": 100}},
                "induction": {"data": {"task": "induction"}, "model": {"n_layers": 2}},
                "idle": {"data": {"task": "skip_trigram"}},
            },
        }
    },
}
ALL = ("addition", "addition_finite", "induction")
FROM_PROGRESS = {"progress", "interventions"}
FROM_TRAIN = {"train", "probe", "spectra", *FROM_PROGRESS}
FROM_DATASET = {"dataset", *FROM_TRAIN}
FIGURES = {f"{figure.name}.figure" for figure in DECLARED.figures}
TABLES = {f"{table.name}.table" for table in DECLARED.tables}


def default(value: object, *path: str) -> Edit:
    """Sets a value that all variants share."""
    return set_key(CONFIG, value, "studies", NAME, "defaults", *path)


def of(variant: str, value: object, *path: str) -> Edit:
    """Sets a value of one variant."""
    return set_key(CONFIG, value, "studies", NAME, "variants", variant, *path)


def jobs(stages: set[str], variants: tuple[str, ...], block: str) -> set[str]:
    return {f"{NAME}/{stage}/{variant}/{block}" for stage in stages for variant in variants}


def readers(stages: set[str]) -> set[str]:
    """Figures, tables and verdicts that read what the stages make."""
    reads = {f"{figure.name}.figure": figure.reads for figure in DECLARED.figures}
    reads |= {f"{table.name}.table": table.reads for table in DECLARED.tables}
    reads |= {"claims": DECLARED.claim_reads}
    return {
        name
        for name, artefacts in reads.items()
        if stages & {ARTEFACTS[artefact].stage for artefact in artefacts}
    }


def shown(names: set[str]) -> set[str]:
    """Jobs of figures, tables and verdicts of the study, with the pages that show them."""
    found = {f"{NAME}/{name}" for name in names} | ({"report"} if names else set())
    return found | ({"replication"} if "claims" in names else set())


# name: (edit, stages, variants whose stages rerun)
VALUES: dict[str, tuple[Edit, set[str], tuple[str, ...]]] = {
    "nothing": (lambda workspace: None, set(), ()),
    "digits": (default(3, "data", "addition", "n_digits"), FROM_DATASET, ALL),
    "length of induction's sequences": (
        of("induction", 61, "data", "induction", "seq_len"),
        FROM_DATASET,
        ("induction",),
    ),
    "size of the train set": (
        of("addition_finite", 200, "finite", "examples"),
        FROM_DATASET,
        ("addition_finite",),
    ),
    "width": (default(16, "model", "d_head"), FROM_TRAIN, ALL),
    "learning rate of one variant": (
        of("addition_finite", 0.1, "training", "lr"),
        FROM_TRAIN,
        ("addition_finite",),
    ),
    "loss factor": (
        of("induction", "published", "training", "loss_factor"),
        FROM_TRAIN,
        ("induction",),
    ),
    "examples of probes": (default(50, "probe", "examples"), {"probe"}, ALL),
    "sums that neurons are averaged over": (default(8, "spectra", "examples"), {"spectra"}, ALL),
    "random heads": (default(3, "progress", "random_draws"), FROM_PROGRESS, ALL),
    "ablation": (default("zero", "interventions", "ablation"), {"interventions"}, ALL),
    "variant that does not run": (of("idle", 0.1, "training", "lr"), set(), ()),
}

# Stages that an edit of a module reruns, whatever the task of a variant.
CODE: dict[str, tuple[Edit, set[str]]] = {
    "best predictors": (code(f"{STUDY}/tasks/repeats.py"), FROM_PROGRESS),
    "addition": (code(f"{STUDY}/tasks/addition.py"), FROM_DATASET),
    "dataset": (code(f"{STUDY}/dataset.py"), FROM_DATASET),
    "batches": (code(f"{STUDY}/batches.py"), FROM_TRAIN),
    "answers": (code("mechflow/training/answers.py"), FROM_TRAIN),
    "logits that are read": (code("mechflow/models/at_positions.py"), FROM_TRAIN),
    "heads": (code(f"{STUDY}/heads.py"), {"spectra", *FROM_PROGRESS}),
    "scores of attention": (code("mechflow/attention.py"), FROM_PROGRESS),
    "spectra of digits": (code(f"{STUDY}/digits.py"), {"spectra"}),
    "targets of probes": (code(f"{STUDY}/probe_targets.py"), {"probe"}),
    "ridge": (code("mechflow/probes/ridge.py"), {"probe"}),
    "ablation": (code(f"{STUDY}/ablation.py"), {"interventions"}),
    "roles of heads": (code(f"{STUDY}/roles.py"), {"interventions"}),
    "phase times": (code("mechflow/phase.py"), set()),
    "docstring": (replace(f"{STUDY}/train.py", '"""Trains the', '"""Fits the'), set()),
}

PAGES: dict[str, tuple[Edit, set[str]]] = {
    "style": (set_key(CONFIG, {"font_size_pt": 8.0}, "style"), FIGURES),
    "shown replicate": (set_key(CONFIG, 1, "studies", NAME, "figures", "replicate"), FIGURES),
    "one figure": (code(f"{STUDY}/figures/phase_times.py"), {"phase_times.figure"}),
    "tables": (code(f"{STUDY}/tables.py"), TABLES),
    "claims": (code(f"{STUDY}/claims.py"), {"claims"}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which the study is up to date."""
    workspace = Workspace(tmp_path_factory.mktemp("phases"))
    workspace.configure(CONFIG)
    workspace.pretend_made()
    return workspace


@pytest.mark.parametrize("edit", VALUES)
def test_a_value_reruns_the_stages_of_its_variants_and_what_shows_them(
    made: Workspace, edit: str
) -> None:
    change, stages, variants = VALUES[edit]
    expected = jobs(stages, variants, "r000-001") | shown(readers(stages))
    assert made.stale_after(change) == expected


@pytest.mark.parametrize("edit", CODE)
def test_code_reruns_the_stages_that_may_execute_it(made: Workspace, edit: str) -> None:
    """Figures that show the stages follow, and may execute the same code themselves."""
    change, stages = CODE[edit]
    stale = made.stale_after(change)
    assert {name for name in stale if name.count("/") == 3} == jobs(stages, ALL, "r000-001")
    assert shown(readers(stages)) <= stale


@pytest.mark.parametrize("edit", PAGES)
def test_an_edit_of_what_is_shown_reruns_no_stage(made: Workspace, edit: str) -> None:
    change, expected = PAGES[edit]
    assert made.stale_after(change) == shown(expected)


def test_more_replicates_are_more_blocks_and_are_shown(made: Workspace) -> None:
    more = set_key(CONFIG, 4, "studies", NAME, "replicates")
    added = jobs(FROM_DATASET, ALL, "r002-003")
    assert made.stale_after(more) == added | shown(readers(FROM_DATASET))
