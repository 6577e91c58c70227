"""What the pipeline answers for artefacts of a variant and for language models."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from mechflow.config.loading import load_config
from mechflow.config.root import Config
from mechflow.pipeline import Pipeline

ROOT = Path(__file__).parents[1]
STUDY = "number_probes"
COMMIT = "4e20de362430cd3b72f300e6b0f18e50e7166e08"
MODELS = {
    "small": {"package": "smollm2-135m-instruct"},
    "online": {"hub": "meta-llama/Llama-3.2-1B", "revision": COMMIT},
    "mine": {"folder": "my/model"},
}
BLOCK = {
    "replicates": 3,
    "block_size": 2,
    "run": ["plain", "other"],
    "variants": {"plain": {}, "other": {"model": {"name": "mine"}}},
    "defaults": {"model": {"name": "small"}},
    "figures": {"main": "plain", "untrained": None, "sums": None, "causal": None},
}


def pipeline(models=MODELS, seed=0, **changes) -> Pipeline:
    config = {"seed": seed, "models": models, "studies": {STUDY: {**BLOCK, **changes}}}
    return Pipeline(Config.model_validate(config), ROOT / "workflow" / "scripts")


def of_variant(variant="plain") -> SimpleNamespace:
    """Wildcards of a rule without a block."""
    return SimpleNamespace(study=STUDY, variant=variant)


def of_model(model) -> SimpleNamespace:
    return SimpleNamespace(model=model)


def test_a_stage_of_a_variant_has_no_block_in_its_inputs():
    assert pipeline().inputs("geometry")(of_variant()) == {
        "prompts": "results/number_probes/plain/prompts.parquet",
        "states": "results/number_probes/plain/states/index.parquet",
    }
    assert pipeline().inputs("prompts")(of_variant()) == {}


def test_a_stage_of_a_block_reads_what_its_variant_shares():
    job = SimpleNamespace(**vars(of_variant()), block="r002-002")
    assert pipeline().inputs("readout")(job) == {
        "prompts": "results/number_probes/plain/prompts.parquet",
        "states": "results/number_probes/plain/states/index.parquet",
        "folds": "results/number_probes/plain/r002-002/folds.parquet",
    }


def test_a_stage_reads_the_model_that_its_variant_names():
    inputs = pipeline().inputs("extract")
    assert inputs(of_variant("plain"))["model"] == "results/models/small/files.parquet"
    assert inputs(of_variant("other"))["model"] == "results/models/mine/files.parquet"


def test_the_spec_of_a_stage_of_a_variant_needs_no_block():
    spec = json.loads(pipeline(seed=5).spec("extract")(of_variant()))
    values = spec.pop("values")
    assert spec == {"study": STUDY, "variant": "plain", "stage": "extract", "seed": 5}
    assert set(values) == {"model.weights", "prompts.template", "extraction"}


def test_more_replicates_leave_the_stages_of_a_variant_as_they_are():
    before, after = pipeline(), pipeline(replicates=9, block_size=3)
    for stage in ("prompts", "extract", "behaviour", "geometry"):
        assert before.spec(stage)(of_variant()) == after.spec(stage)(of_variant())
        assert before.inputs(stage)(of_variant()) == after.inputs(stage)(of_variant())


def test_targets_hold_one_file_for_what_replicates_share():
    targets = pipeline().targets(STUDY)
    assert len(set(targets)) == len(targets)
    assert [path for path in targets if path.endswith("/prompts.parquet")] == [
        f"results/{STUDY}/{variant}/prompts.parquet" for variant in BLOCK["run"]
    ]
    assert [path for path in targets if path.endswith("/readout.parquet")] == [
        f"results/{STUDY}/{variant}/{block}/readout.parquet"
        for variant in BLOCK["run"]
        for block in ("r000-001", "r002-002")
    ]
    assert not [path for path in targets if path.startswith("results/models")]


def test_claims_read_each_shared_file_once():
    inputs = pipeline().claims_inputs(of_variant())
    assert inputs["geometry"] == [f"results/{STUDY}/{v}/geometry.parquet" for v in BLOCK["run"]]
    assert len(inputs["probes"]) == 4


def test_files_of_a_local_model_are_inputs(tmp_path):
    for name in ("model.safetensors", "config.json"):
        (tmp_path / name).touch()
    made = pipeline({**MODELS, "mine": {"folder": str(tmp_path)}})
    files = [str(tmp_path / name) for name in ("config.json", "model.safetensors")]
    assert made.model_inputs(of_model("mine")) == files


@pytest.mark.parametrize("model", ["small", "online"])
def test_a_model_from_elsewhere_has_no_inputs(model):
    assert pipeline().model_inputs(of_model(model)) == []


def test_the_spec_of_a_model_is_its_source_and_nothing_else():
    assert json.loads(pipeline(seed=1).model_spec(of_model("online"))) == {
        "stage": "fetch",
        "model": "online",
        "source": {
            "package": None,
            "hub": "meta-llama/Llama-3.2-1B",
            "revision": COMMIT,
            "folder": None,
        },
    }
    for model in MODELS:
        first = pipeline(seed=1).model_spec(of_model(model))
        assert first == pipeline(seed=2, replicates=9).model_spec(of_model(model))


def test_another_revision_fetches_only_that_model_again():
    moved = {**MODELS, "online": {"hub": "meta-llama/Llama-3.2-1B", "revision": "0" * 40}}
    changed = {
        model
        for model in MODELS
        if pipeline().model_spec(of_model(model)) != pipeline(moved).model_spec(of_model(model))
    }
    assert changed == {"online"}


def test_wildcards_of_models_match_those_that_are_described():
    constraint = pipeline().constraints()["model"]
    assert all(re.fullmatch(constraint, model) for model in MODELS)
    assert not re.fullmatch(constraint, "llama")


def test_without_models_none_matches():
    config = load_config([ROOT / "config" / "config.yaml"]).model_copy(update={"models": {}})
    assert not re.fullmatch(Pipeline(config, ROOT).constraints()["model"], "")
