"""Language models that are described wrongly, and studies that use them wrongly."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mechflow.config.loading import ConfigError, load_config
from mechflow.config.problems import Problem

STUDY = "studies.number_probes"
COMMIT = "4e20de362430cd3b72f300e6b0f18e50e7166e08"
Case = tuple[str, str, str, tuple[str, ...]]

# name: (section, text with "# !" on the line to be named, key and value, what is said)
CASES: dict[str, Case] = {
    # where a model comes from
    "no_source": ("models", "mine: {} # !", "models.mine = {}", ("exactly one of", "given: none")),
    "two_sources": (
        "models",
        "mine: {package: gemma3-270m, folder: x} # !",
        "models.mine",
        ("exactly one of package, hub and folder", "given: package, folder"),
    ),
    "hub_without_revision": (
        "models",
        "mine:\n  hub: meta-llama/Llama-3.2-1B # !",
        'models.mine.hub = "meta-llama/Llama-3.2-1B"',
        ("hub needs revision beside it", "pinned to one commit"),
    ),
    "revision_without_hub": (
        "models",
        f'mine:\n  folder: x\n  revision: "{COMMIT}" # !',
        "models.mine.revision",
        ("revision needs hub beside it",),
    ),
    "branch_as_revision": (
        "models",
        "mine:\n  hub: a/b\n  revision: main # !",
        'models.mine.revision = "main"',
        ("expected the 40 hexadecimal digits of a commit or null",),
    ),
    "short_revision": (
        "models",
        f'mine:\n  hub: a/b\n  revision: "{COMMIT[:7]}" # !',
        'models.mine.revision = "4e20de3"',
        ("expected the 40 hexadecimal digits of a commit or null",),
    ),
    "hub_without_owner": (
        "models",
        f'mine:\n  hub: Llama # !\n  revision: "{COMMIT}"',
        'models.mine.hub = "Llama"',
        ("text such as meta-llama/Llama-3.2-1B",),
    ),
    "unknown_package": (
        "models",
        "mine: {package: llama} # !",
        'models.mine.package = "llama"',
        ("one of smollm2-135m-instruct, gemma3-270m",),
    ),
    "folder_left_empty": ("models", 'mine: {folder: ""} # !', "models.mine.folder", ("text",)),
    "folder_of_the_pipeline": (
        "models",
        "mine: {folder: ./results/models/mine} # !",
        'models.mine.folder = "./results/models/mine"',
        ("results/models/mine lies in results/models", "move the model elsewhere"),
    ),
    "folder_with_braces": (
        "models",
        'mine: {folder: "runs/{seed}/model"} # !',
        'models.mine.folder = "runs/{seed}/model"',
        ("takes what is in braces for a wildcard: give runs/{seed}/model another name",),
    ),
    "unknown_key_of_model": (
        "models",
        "mine: {path: x} # !",
        "models.mine.path",
        ("unknown key", "allowed: package, hub, revision, folder"),
    ),
    "model_badly_named": (
        "models",
        "Llama-3: {folder: x} # !",
        "models.Llama-3",
        ("the name must be text such as llama",),
    ),
    # which model a variant uses
    "undescribed_model": (
        f"{STUDY}.defaults.model",
        "name: pythia # !",
        'defaults.model.name = "pythia"',
        ("no such model is described under models: smollm2, gemma3, llama",),
    ),
    "undescribed_model_of_a_variant": (
        f"{STUDY}.variants.random_model.model",
        "\nweights: random\nname: pythia # !",
        'variants.random_model.model.name = "pythia"',
        ("no such model is described under models: smollm2, gemma3, llama",),
    ),
    # what is read where
    "label_not_yet_read": (
        f"{STUDY}.variants.operand.extraction",
        "position: a # !",
        'operand.extraction.position = "a"',
        ("read a only", "prompts.label is b", "allowed: b, last"),
    ),
    "template_without_b": (
        f"{STUDY}.variants.operand.prompts",
        'template: "{a} + 1" # !',
        'operand.prompts.template = "{a} + 1"',
        ("expected text with {a} and then {b} in it, and no other braces",),
    ),
    "template_with_another_brace": (
        f"{STUDY}.variants.operand.prompts",
        'template: "{a} + {b} = {c}" # !',
        "operand.prompts.template",
        ("expected text with {a} and then {b} in it, and no other braces",),
    ),
    # numbers
    "period_that_does_not_divide": (
        f"{STUDY}.variants.operand.geometry",
        "periods: [2, 7] # !",
        "operand.geometry.periods[1] = 7",
        ("must divide prompts.limit (1000)",),
    ),
    "period_of_one": (
        f"{STUDY}.variants.operand.geometry",
        "periods: [1] # !",
        "operand.geometry.periods[0] = 1",
        ("be 2 at least",),
    ),
    "more_folds_than_numbers": (
        f"{STUDY}.variants.operand.folds",
        "folds: 1001 # !",
        "operand.folds.folds = 1001",
        ("more folds than numbers; prompts.limit is 1000",),
    ),
    "no_number_is_valid": (
        f"{STUDY}.variants.operand.folds",
        "valid_share: 0.0004 # !",
        "operand.folds.valid_share = 0.0004",
        ("of 800 numbers outside a test fold, some must be valid",),
    ),
    "no_number_is_left_to_train_on": (
        f"{STUDY}.variants.operand",
        "prompts: {limit: 10}\ngeometry: {periods: [10]}\nfolds: {folds: 2, valid_share: 0.49} # !",
        "operand.folds.valid_share = 0.49",
        ("of 5 numbers outside a test fold", "some train"),
    ),
    "pairs_that_do_not_exist": (
        f"{STUDY}.variants.in_context",
        "prompts: {limit: 20}\ngeometry: {periods: [10]}\n"
        "interventions: {pairs: 1, operand_digits: 2} # !",
        "in_context.interventions.operand_digits = 2",
        ("no two sums of such numbers below prompts.limit (20), which must be 22 at least",),
    ),
    # probes
    "spectra_of_an_untrained_basis": (
        f"{STUDY}.variants.sum.spectra",
        "bases: [binary] # !",
        'sum.spectra.bases = "binary"',
        ("not among readout.bases: sinusoidal",),
    ),
    "control_of_an_untrained_basis": (
        f"{STUDY}.variants.sum.readout",
        "controlled_bases: [binary] # !",
        'sum.readout.controlled_bases = "binary"',
        ("not among readout.bases: sinusoidal",),
    ),
    "interchange_of_an_untrained_basis": (
        f"{STUDY}.variants.in_context.interventions",
        "basis: binary # !",
        'in_context.interventions.basis = "binary"',
        ("not among readout.bases: digits",),
    ),
    # figures
    "figure_of_a_variant_that_is_not_run": (
        STUDY,
        "run: [operand, random_model, in_context]\nfigures: {sums: sum} # !",
        'figures.sums = "sum"',
        ("not among the variants to run: operand, random_model, in_context",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_mistake_is_named_with_place_and_what_is_allowed(
    name: str, assert_refused: Callable[..., None]
) -> None:
    assert_refused(*CASES[name])


def test_an_undescribed_model_is_named_once_however_many_variants_use_it(
    default: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("studies: {number_probes: {defaults: {model: {name: pythia}}}}")
    with pytest.raises(ConfigError) as caught:
        load_config([default, mine])
    (problem,) = caught.value.problems
    assert problem.key == f"{STUDY}.defaults.model.name"


def test_an_undescribed_model_does_no_harm_where_nothing_runs_it(
    default: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("studies: {number_probes: {variants: {idle: {model: {name: pythia}}}}}")
    assert "idle" in load_config([default, mine]).studies["number_probes"].variants


def test_without_models_the_message_says_that_there_is_none(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "studies:\n  number_probes:\n    run: [operand]\n    variants: {operand: {}}\n"
        "    figures: {untrained: null, sums: null, causal: null}\n"
    )
    with pytest.raises(ConfigError, match=r'"smollm2": no such model .* under models: none'):
        load_config([mine])


def test_a_folder_that_is_a_link_to_itself_is_named(
    refuse: Callable[..., tuple[Problem, ...]], tmp_path: Path
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (problem,) = refuse(f"models: {{mine: {{folder: {tmp_path}/loop}}}}")
    assert "models.mine.folder" in str(problem)
    assert "the folder cannot be read: " in str(problem)
