"""Walks from an edit to the stages of a real study that it must rerun, and no others.

Figures and tables are left to the toy study: those of a real one may grow.
"""

from typing import Any

import pytest

from tests.workflow.test_rerun import Edit, code, set_key
from tests.workflow.workspace import Workspace

TOY = "mechflow/studies/toy"
STUDY = "mechflow/studies/modular_addition"
CONFIG: dict[str, Any] = {
    "studies": {
        "modular_addition": {
            "replicates": 1,
            "run": ["full", "binary"],
            "variants": {"full": {}, "binary": {"model": {"precision": "binary"}}},
            "figures": {"compare": ["full", "binary"]},
        }
    }
}
FROM_SPECTRA = {"spectra", "progress", "interventions"}
FROM_TRAIN = {"train", "activations", "probe", *FROM_SPECTRA}
FROM_DATASET = {"dataset", *FROM_TRAIN}


def default(value: object, *path: str) -> Edit:
    """Sets a value that all variants share."""
    return set_key(CONFIG, value, "studies", "modular_addition", "defaults", *path)


EDITS: dict[str, tuple[Edit, set[str]]] = {
    "modulus": (default(7, "dataset", "p"), FROM_DATASET),
    "width": (default(64, "model", "d_mlp"), FROM_TRAIN),
    "learning rate": (default(0.1, "training", "lr"), FROM_TRAIN),
    "classifier": (default("logistic", "probe", "classifier"), {"probe"}),
    "key frequencies": (default(0.5, "spectra", "key_frequencies", "norm_ratio"), FROM_SPECTRA),
    "random sets": (default(3, "progress", "random_draws"), {"progress"}),
    "ablation": (default("zero", "interventions", "neuron_ablation"), {"interventions"}),
    "split": (code(f"{STUDY}/dataset.py"), FROM_DATASET),
    "loop": (code("mechflow/training/loop.py"), FROM_TRAIN),
    "quantiser": (code("mechflow/models/quantise.py"), FROM_TRAIN),
    "ridge": (code("mechflow/probes/ridge.py"), {"probe"}),
    "probe stage": (code(f"{STUDY}/probe.py"), {"probe"}),
    "singular values": (code("mechflow/svd.py"), FROM_SPECTRA),
    "interventions": (code(f"{STUDY}/interventions.py"), {"interventions"}),
    "claims": (code(f"{STUDY}/claims.py"), set()),
    "tables": (code(f"{STUDY}/tables.py"), set()),
    "style of figures": (code("mechflow/figures/style.py"), set()),
    "another study": (code(f"{TOY}/train.py"), set()),
    "random numbers": (code("mechflow/seeds.py"), FROM_DATASET),
    "statistics of figures": (code("mechflow/statistics.py"), set()),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which a real study is up to date."""
    workspace = Workspace(tmp_path_factory.mktemp("real"))
    workspace.configure(CONFIG)
    workspace.pretend_made()
    return workspace


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_reruns_exactly_the_stages_of_a_real_study(made: Workspace, edit: str) -> None:
    change, expected = EDITS[edit]
    stale = {tuple(name.split("/")) for name in made.stale_after(change)}
    wanted = {("modular_addition", s, v, "r000-000") for s in expected for v in ("full", "binary")}
    assert {name for name in stale if len(name) == 4} == wanted
