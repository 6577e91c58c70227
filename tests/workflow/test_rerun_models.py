"""Walks from an edit to what it must rerun of a study on language models, and no more.

Replicates share what a model is asked and answers, and studies share the model.
"""

from typing import Any

import pytest

from mechflow.layout import ARTEFACTS
from mechflow.studies.number_probes.study import STUDY as DECLARED
from tests.workflow.test_rerun import Edit, code, replace, set_key
from tests.workflow.workspace import Workspace

STUDY = "mechflow/studies/number_probes"
PACKAGE = "mechflow/language_models"
CONFIG: dict[str, Any] = {
    "models": {
        "mine": {"folder": "my_model"},
        "online": {"hub": "owner/name", "revision": "0" * 40},
        "spare": {"package": "gemma3-270m"},
    },
    "studies": {
        "number_probes": {
            "replicates": 1,
            "block_size": 1,
            "run": ["plain", "other"],
            "variants": {
                "plain": {},
                "other": {"model": {"name": "online"}},
                "idle": {"readout": {"lr": 0.5}},
            },
            "defaults": {"model": {"name": "mine"}, "readout": {"bases": ["sinusoidal", "digits"]}},
            "figures": {"main": "plain", "untrained": None, "sums": None, "causal": None},
        }
    },
}
VARIANTS = ("studies", "number_probes", "variants")
SHARED = {"prompts", "check", "extract", "behaviour", "geometry"}
FROM_READOUT = {"readout", "spectra", "interventions"}
FROM_FOLDS = {"folds", "probe", *FROM_READOUT}
FROM_EXTRACT = {"extract", "geometry", "probe", *FROM_READOUT}
FROM_NUMBER_FORMAT = {"behaviour", *FROM_EXTRACT}
FROM_MODEL = {"check", *FROM_NUMBER_FORMAT}
FROM_PROMPTS = {"prompts", *FROM_MODEL}


def default(value: object, *path: str) -> Edit:
    """Sets a value that all variants share."""
    return set_key(CONFIG, value, "studies", "number_probes", "defaults", *path)


def jobs(
    stages: set[str], variants: tuple[str, ...] = ("plain", "other"), block: str = "r000-000"
) -> set[str]:
    """The jobs of some stages; those that replicates share have no block."""
    return {
        f"number_probes/{stage}/{variant}" + ("" if stage in SHARED else f"/{block}")
        for stage in stages
        for variant in variants
    }


EDITS: dict[str, tuple[Edit, set[str]]] = {
    "nothing": (lambda workspace: None, set()),
    # Values
    "template": (default("{a} plus {b}", "prompts", "template"), jobs(FROM_PROMPTS)),
    "position": (default("last", "extraction", "position"), jobs({"check", *FROM_EXTRACT})),
    "number format": (default("float32", "extraction", "dtype"), jobs(FROM_NUMBER_FORMAT)),
    "folds": (default(4, "folds", "folds"), jobs(FROM_FOLDS)),
    "learning rate": (default(0.1, "readout", "lr"), jobs(FROM_READOUT)),
    "least squares": (default(False, "probe", "published_inverse"), jobs({"probe"})),
    "random orders": (default(3, "geometry", "permutations"), jobs({"geometry"})),
    "answers": (default(3, "behaviour", "prompts"), jobs({"behaviour"})),
    "penalty": (default(0.1, "readout", "l1"), jobs(FROM_READOUT)),
    "bases of spectra": (default(["digits"], "spectra", "bases"), jobs({"spectra"})),
    "periods": (default([2], "geometry", "periods"), jobs({"geometry", "spectra"})),
    "label": (default("a", "prompts", "label"), jobs(FROM_PROMPTS)),
    "number of numbers": (default(2000, "prompts", "limit"), jobs(FROM_PROMPTS | FROM_FOLDS)),
    "random weights": (
        set_key(CONFIG, "random", *VARIANTS, "other", "model", "weights"),
        jobs(FROM_MODEL, ("other",)),
    ),
    "learning rate of one variant": (
        set_key(CONFIG, 0.1, *VARIANTS, "other", "readout", "lr"),
        jobs(FROM_READOUT, ("other",)),
    ),
    "variant that does not run": (set_key(CONFIG, 0.1, *VARIANTS, "idle", "readout", "lr"), set()),
    # The check runs again, and what only waited for it does not.
    "pairs": (default(3, "interventions", "pairs"), jobs({"check", "interventions"})),
    "digits": (default(1, "interventions", "operand_digits"), jobs({"check", "interventions"})),
    # Models
    "a model that nothing uses": (set_key(CONFIG, {"folder": "x"}, "models", "idle"), set()),
    "revision": (
        set_key(CONFIG, "1" * 40, "models", "online", "revision"),
        {"fetch/online"} | jobs(FROM_MODEL, ("other",)),
    ),
    "another model for a variant": (
        set_key(CONFIG, "spare", *VARIANTS, "other", "model", "name"),
        {"fetch/spare"} | jobs(FROM_MODEL, ("other",)),
    ),
    "file of a local model": (
        lambda workspace: workspace.write("my_model/config.json", "other"),
        {"fetch/mine"} | jobs(FROM_MODEL, ("plain",)),
    ),
    "file beside a local model": (
        lambda workspace: workspace.write("my_model/notes.txt", "mine"),
        set(),
    ),
    # Code
    "geometry": (code(f"{STUDY}/geometry.py"), jobs({"geometry"})),
    "prompts": (code(f"{STUDY}/prompts.py"), jobs(FROM_PROMPTS)),
    "tries": (code(f"{PACKAGE}/trie.py"), jobs({"check", *FROM_EXTRACT})),
    "tokens": (code(f"{PACKAGE}/tokens.py"), jobs(FROM_MODEL)),
    "patching": (code(f"{PACKAGE}/patching.py"), jobs({"interventions"})),
    "self-check": (code(f"{PACKAGE}/self_check.py"), jobs({"check"})),
    "partial runs": (
        code(f"{PACKAGE}/partial_runs.py"),
        jobs({"check", "behaviour", "interventions"}),
    ),
    "reading answers": (
        code(f"{PACKAGE}/answers.py"),
        jobs({"check", "behaviour", "interventions"}),
    ),
    "download": (
        code(f"{PACKAGE}/wheels.py"),
        {"fetch/mine", "fetch/online"} | jobs(FROM_MODEL),
    ),
    "codes": (code("mechflow/probes/bases.py"), jobs(FROM_READOUT)),
    "training of probes": (code("mechflow/probes/readout_training.py"), jobs(FROM_READOUT)),
    "ridge": (code("mechflow/probes/ridge.py"), jobs({"probe", *FROM_READOUT})),
    "ridge over folds": (code("mechflow/probes/folded_ridge.py"), jobs({"probe"})),
    "helix": (code("mechflow/helix.py"), jobs({"geometry"})),
    "comment": (replace(f"{PACKAGE}/trie.py", "# ", "# Truly: "), set()),
    "docstring": (replace("mechflow/helix.py", "Raises:", "Fails:"), set()),
    "another study": (code("mechflow/studies/toy/train.py"), set()),
}
PAGES: dict[str, tuple[Edit, set[str]]] = {
    "shown variant": (
        set_key(CONFIG, "other", "studies", "number_probes", "figures", "main"),
        {f"{figure.name}.figure" for figure in DECLARED.figures},
    ),
    "one figure": (code(f"{STUDY}/figures/precision.py"), {"precision.figure"}),
    "tables": (code(f"{STUDY}/tables.py"), {f"{table.name}.table" for table in DECLARED.tables}),
    "claims": (code(f"{STUDY}/claims.py"), {"claims"}),
}
EVERY_STAGE = {stage.name for stage in DECLARED.stages}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which the study is up to date."""
    workspace = Workspace(tmp_path_factory.mktemp("models"))
    workspace.configure(CONFIG)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        workspace.write(f"my_model/{name}", name)
    workspace.pretend_made()
    return workspace


def shown(names: set[str]) -> set[str]:
    """Jobs of figures, tables and verdicts of the study, with the pages that show them."""
    found = {f"number_probes/{name}" for name in names} | ({"report"} if names else set())
    return found | ({"replication"} if "claims" in names else set())


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


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_reruns_exactly_the_jobs_that_depend_on_it(made: Workspace, edit: str) -> None:
    change, expected = EDITS[edit]
    stages = {name.split("/")[1] for name in expected}
    assert made.stale_after(change) == expected | shown(readers(stages))


@pytest.mark.parametrize("edit", PAGES)
def test_an_edit_of_what_is_shown_reruns_no_stage(made: Workspace, edit: str) -> None:
    change, expected = PAGES[edit]
    assert made.stale_after(change) == shown(expected)


def test_more_replicates_are_more_blocks_and_are_shown(made: Workspace) -> None:
    more = set_key(CONFIG, 2, "studies", "number_probes", "replicates")
    added = jobs(FROM_FOLDS, block="r001-001")
    assert made.stale_after(more) == added | shown(readers(EVERY_STAGE))
