"""Walks from an edit to what it must rerun of a study on language models, and no more.

Replicates share what a model is asked and answers, and studies share the model.
"""

from typing import Any

import pytest

from tests.workflow.test_rerun import Edit, code, set_key
from tests.workflow.workspace import Workspace

STUDY = "mechflow/studies/number_probes"
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
            "variants": {"plain": {}, "other": {"model": {"name": "online"}}},
            "defaults": {"model": {"name": "mine"}, "readout": {"bases": ["sinusoidal", "digits"]}},
            "figures": {"main": "plain", "untrained": None, "sums": None, "causal": None},
        }
    },
}
SHARED = {"prompts", "extract", "behaviour", "geometry"}
FROM_READOUT = {"readout", "spectra", "interventions"}
FROM_FOLDS = {"folds", "probe", *FROM_READOUT}
FROM_EXTRACT = {"extract", "geometry", "probe", *FROM_READOUT}
FROM_MODEL = {"behaviour", *FROM_EXTRACT}
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
    "position": (default("last", "extraction", "position"), jobs(FROM_EXTRACT)),
    "number format": (default("float32", "extraction", "dtype"), jobs(FROM_MODEL)),
    "folds": (default(4, "folds", "folds"), jobs(FROM_FOLDS)),
    "learning rate": (default(0.1, "readout", "lr"), jobs(FROM_READOUT)),
    "least squares": (default(False, "probe", "published_inverse"), jobs({"probe"})),
    "random orders": (default(3, "geometry", "permutations"), jobs({"geometry"})),
    "answers": (default(3, "behaviour", "prompts"), jobs({"behaviour"})),
    "pairs": (default(3, "interventions", "pairs"), jobs({"interventions"})),
    "replicates": (
        set_key(CONFIG, 2, "studies", "number_probes", "replicates"),
        jobs(FROM_FOLDS, block="r001-001"),
    ),
    # Models
    "a model that nothing uses": (set_key(CONFIG, {"folder": "x"}, "models", "idle"), set()),
    "revision": (
        set_key(CONFIG, "1" * 40, "models", "online", "revision"),
        {"fetch/online"} | jobs(FROM_MODEL, ("other",)),
    ),
    "another model for a variant": (
        set_key(CONFIG, "spare", "studies", "number_probes", "variants", "other", "model", "name"),
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
    "another study": (code("mechflow/studies/toy/train.py"), set()),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which the study is up to date."""
    workspace = Workspace(tmp_path_factory.mktemp("models"))
    workspace.configure(CONFIG)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        workspace.write(f"my_model/{name}", name)
    workspace.pretend_made()
    return workspace


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_reruns_exactly_the_stages_that_depend_on_it(made: Workspace, edit: str) -> None:
    change, expected = EDITS[edit]
    try:
        change(made)
        stale = made.stale()
    finally:
        made.restore()
    assert {name for name in stale if "/" in name and not name.endswith("/claims")} == expected
