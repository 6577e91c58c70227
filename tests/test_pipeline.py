import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from mechflow.config.root import Config
from mechflow.layout import ARTEFACTS
from mechflow.pipeline import Pipeline
from mechflow.studies.declaration import Figure, Stage, Study, Table
from mechflow.studies.modular_addition.config import Variant
from mechflow.studies.modular_addition.study import STUDY
from mechflow.studies.registry import studies

ROOT = Path(__file__).parents[1]
RULES = ROOT / "workflow" / "rules"
BLOCK = {
    "replicates": 7,
    "run": ["full", "binary"],
    "variants": {"full": {}, "binary": {"model": {"precision": "binary"}}, "idle": {}},
    "figures": {"compare": ["full", "binary"]},
}


def pipeline(seed=0, style=None, **changes) -> Pipeline:
    block = {**BLOCK, **changes}
    config = {"seed": seed, "style": style or {}, "studies": {"modular_addition": block}}
    made = Pipeline(Config.model_validate(config), ROOT / "workflow" / "scripts")
    made.studies["modular_addition"] = Study(
        **{
            **vars(STUDY),
            "figures": (Figure("curves", "training", ("curves",), "Curves", "Loss."),),
            "tables": (Table("losses", ("curves", "probes"), "Losses", "Last losses."),),
        }
    )
    return made


def wildcards(**names) -> SimpleNamespace:
    return SimpleNamespace(study="modular_addition", **names)


JOB = wildcards(variant="full", block="r000-004")
CURVES = wildcards(figure="curves")


def test_inputs_are_what_the_study_declares():
    assert pipeline().inputs("progress")(JOB) == {
        "dataset": "results/modular_addition/full/r000-004/dataset.parquet",
        "checkpoints": "results/modular_addition/full/r000-004/checkpoints.safetensors",
        "spectra": "results/modular_addition/full/r000-004/spectra.parquet",
    }
    assert pipeline().inputs("dataset")(JOB) == {}


def test_a_stage_that_a_study_lacks_is_named():
    with pytest.raises(
        LookupError, match="'modular_addition' declares no 'extract', only: dataset"
    ):
        pipeline().inputs("extract")(JOB)


def test_a_spec_holds_the_values_that_the_stage_uses_and_no_others():
    spec = json.loads(pipeline(seed=5).spec("progress")(JOB))
    values = spec.pop("values")
    assert spec == {"study": "modular_addition", "variant": "full", "stage": "progress", "seed": 5}
    assert set(values) == {"model", "dataset.task", "progress"}
    assert values["dataset.task"] == "add"
    assert values["progress"] == Variant().progress.model_dump(mode="json")


def test_only_seeded_stages_depend_on_the_seed():
    def changed(stage):
        return pipeline(seed=1).spec(stage)(JOB) != pipeline(seed=2).spec(stage)(JOB)

    for stage in STUDY.stages:
        assert changed(stage.name) == stage.seeded


def test_a_spec_is_text_that_does_not_depend_on_the_order_of_the_configuration():
    backwards = {name: BLOCK["variants"][name] for name in reversed(BLOCK["variants"])}
    first, second = pipeline(), pipeline(variants=backwards)
    for stage in STUDY.stages:
        text = first.spec(stage.name)(JOB)
        assert isinstance(text, str)
        assert text == second.spec(stage.name)(JOB)


@pytest.mark.parametrize(
    ("defaults", "stages"),
    [
        ({"dataset": {"p": 7}}, {"dataset"}),
        ({"dataset": {"task": "subtract"}}, {"dataset", "progress"}),
        ({"training": {"lr": 0.1}}, {"train"}),
        (
            {"model": {"d_mlp": 64}},
            {"train", "activations", "spectra", "progress", "interventions"},
        ),
        ({"probe": {"classifier": "logistic"}}, {"probe"}),
        ({"spectra": {"key_frequencies": {"norm_ratio": 0.5}}}, {"spectra"}),
        ({"interventions": {"random_draws": 3}}, {"interventions"}),
    ],
)
def test_a_value_is_in_the_specs_of_the_stages_that_use_it(defaults, stages):
    before, after = pipeline(), pipeline(defaults=defaults)
    changed = {
        stage.name
        for stage in STUDY.stages
        if before.spec(stage.name)(JOB) != after.spec(stage.name)(JOB)
    }
    assert changed == stages


def test_a_figure_reads_all_variants_and_blocks_in_order():
    paths = pipeline(replicates=12).figure_inputs(CURVES)["curves"]
    places = [tuple(Path(path).parts[2:4]) for path in paths]
    names = ["r000-004", "r005-009", "r010-011"]
    assert places == [(v, block) for v in ("full", "binary") for block in names]


def test_a_figure_may_use_only_values_that_its_inputs_depend_on():
    spec = json.loads(pipeline().figure_spec(CURVES))
    assert [variant["name"] for variant in spec["variants"]] == ["full", "binary"]
    assert set(spec["variants"][0]["values"]) == {"dataset", "model", "training"}
    assert spec["variants"][1]["values"]["model"]["precision"] == "binary"


@pytest.mark.parametrize(
    ("changes", "stale"),
    [
        ({"style": {"dpi": 100}}, True),
        ({"figures": {"compare": ["full"]}}, True),
        ({"defaults": {"training": {"lr": 0.1}}}, True),
        ({"replicates": 8}, True),
        ({"run": ["full"], "figures": {"compare": ["full"]}}, True),
        ({"defaults": {"probe": {"classifier": "logistic"}}}, False),
        ({"variants": {**BLOCK["variants"], "idle": {"probe": {"penalties": [1]}}}}, False),
    ],
)
def test_what_makes_a_figure_stale(changes, stale):
    assert (pipeline().figure_spec(CURVES) != pipeline(**changes).figure_spec(CURVES)) == stale


def test_titles_and_captions_reach_the_report_only():
    made = pipeline()
    before = made.report_spec(), made.figure_spec(CURVES)
    figure = Figure("curves", "training", ("curves",), "Curves", "Loss and accuracy.")
    made.studies["modular_addition"] = Study(
        **{**vars(made.studies["modular_addition"]), "figures": (figure,)}
    )
    assert made.report_spec() != before[0]
    assert made.figure_spec(CURVES) == before[1]


def test_targets_are_all_files_of_all_stages_figures_and_tables():
    targets = pipeline().targets("modular_addition")
    stages = {stage.name for stage in STUDY.stages}
    made = [artefact for artefact, place in ARTEFACTS.items() if place.stage in stages]
    assert {"dataset", "curves", "interventions"} <= set(made)
    assert len(targets) == len(set(targets)) == 3 + 2 * 2 * len(made)
    assert "results/modular_addition/binary/r005-006/probes.parquet" in targets
    assert "results/figures/modular_addition/curves.pdf" in targets
    assert not any("idle" in target for target in targets)
    assert set(targets) < set(pipeline().all_targets())


def test_wildcards_match_what_exists_and_nothing_else():
    constraints = pipeline().constraints()
    matching = {"study": "modular_addition", "variant": "idle", "block": "r1000-1004"}
    for name, value in {**matching, "figure": "curves", "table": "losses"}.items():
        assert re.fullmatch(constraints[name], value)
    for name, value in {"study": "figures", "block": "r0-4", "variant": "ful"}.items():
        assert not re.fullmatch(constraints[name], value)


def test_nothing_matches_where_nothing_is_declared():
    made = pipeline()
    made.studies["modular_addition"] = Study(**{**vars(STUDY), "figures": ()})
    assert not re.fullmatch(made.constraints()["figure"], "")


@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_rules_write_the_files_that_the_pipeline_asks_for(artefact):
    stage, file, scope = ARTEFACTS[artefact]
    folder = {
        "block": "{study}/{variant}/{block}",
        "variant": "{study}/{variant}",
        "model": "models/{model}",
    }[scope]
    output = rf'\b{artefact}=(update\()?"{re.escape(f"results/{folder}/{file}")}"'
    assert re.search(output, (RULES / f"{stage}.smk").read_text())


def test_rules_wait_for_what_their_stages_declare_and_wait_for_checkpoints_only():
    """Behind a rule that is none, Snakemake overlooks other reasons to run what waits for it."""
    waiting = {
        (stage.name, artefact)
        for declared in studies().values()
        for stage in declared.stages
        for artefact in stage.after
    }
    assert waiting
    for stage, artefact in waiting:
        text = (RULES / f"{stage}.smk").read_text()
        assert f'after=ancient(pipeline.after("{stage}"))' in text
        maker = ARTEFACTS[artefact].stage
        assert f"\ncheckpoint {maker}:\n" in (RULES / f"{maker}.smk").read_text()


def test_every_rule_has_its_script_and_every_script_its_rule():
    rules = {file.stem for file in RULES.glob("*.smk")} - {"common"}
    assert rules == {file.stem for file in (ROOT / "workflow" / "scripts").glob("*.py")}
    for rule in rules:
        text = (RULES / f"{rule}.smk").read_text()
        assert re.search(f"^(rule|checkpoint) {rule}:$", text, re.MULTILINE)
        assert f'"../scripts/{rule}.py"' in text


@pytest.mark.parametrize("rule", sorted(RULES.glob("*.smk")), ids=lambda file: file.stem)
def test_no_rule_names_a_study(rule):
    assert not [name for name in studies() if name in rule.read_text()]


@pytest.mark.parametrize("study", studies().values(), ids=lambda study: study.name)
def test_a_declared_artefact_is_made_by_a_declared_stage(study):
    makers = {"fetch", *(stage.name for stage in study.stages)}
    stages = [Stage("claims", reads=study.claim_reads), *study.stages]
    for declared in (*stages, *study.figures, *study.tables):
        for artefact in declared.reads:
            assert ARTEFACTS[artefact].stage in makers, f"{declared.name} reads {artefact}"


@pytest.mark.parametrize("study", studies().values(), ids=lambda study: study.name)
def test_what_all_replicates_share_is_made_from_nothing_that_belongs_to_one(study):
    for stage in study.stages:
        scopes = {place.scope for place in ARTEFACTS.values() if place.stage == stage.name}
        assert len(scopes) == 1, f"rule {stage.name} has wildcards of {scopes}"
        if scopes == {"variant"}:
            assert "block" not in {ARTEFACTS[artefact].scope for artefact in stage.reads}


@pytest.mark.parametrize("study", studies().values(), ids=lambda study: study.name)
def test_the_type_of_the_defaults_is_that_of_the_variants(study):
    assert study.config.model_fields["defaults"].annotation is study.variant_config
