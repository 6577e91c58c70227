"""Good configurations: what is merged, in which order, and what comes out."""

import subprocess
import sys
from pathlib import Path

import pytest

from mechflow.config.loading import ConfigError, load_config, workflow_files
from mechflow.config.variants import overlay, resolve_variant, resolved_variants, twins
from mechflow.studies.modular_addition.config import ModularAddition, Variant

STUDY = "modular_addition"


def block_of(*files: Path) -> ModularAddition:
    block = load_config(files).studies[STUDY]
    assert isinstance(block, ModularAddition)
    return block


@pytest.mark.parametrize("scale", ["config", "paper", "smoke"])
def test_shipped_files_are_valid(scale: str, default: Path) -> None:
    block = block_of(default, default.with_name(f"{scale}.yaml"))
    variants = resolved_variants(block)
    assert list(variants) == list(block.run)
    assert twins(block) == []
    assert all(isinstance(variant, Variant) for variant in variants.values())


def test_compared_variants_differ_in_precision_only(default: Path) -> None:
    block = block_of(default)
    full, *others = (resolve_variant(block, name).model_dump() for name in block.figures.compare)
    assert len(others) == 2
    for other in others:
        assert other["model"].pop("precision") != "full"
        other["model"].pop("weight_scale")
        assert {**full, "model": None} == {**other, "model": None}
        assert other["model"].items() <= full["model"].items()


def test_paper_scale_is_the_published_one(default: Path) -> None:
    block = block_of(default, default.with_name("paper.yaml"))
    variant = resolve_variant(block, "binary_published")
    assert isinstance(variant, Variant)
    assert (variant.dataset.p, variant.dataset.train_fraction) == (113, 0.3)
    assert (variant.dataset.split, variant.dataset.split_seed) == ("ordered", 598)
    assert (variant.model.d_model, variant.model.d_mlp, variant.model.n_heads) == (128, 512, 4)
    assert (variant.training.steps, variant.training.lr) == (25_000, 1e-3)
    assert variant.training.warmup_steps == 0
    assert set(block.run) == set(block.variants)


def test_later_files_win_and_the_command_line_wins_over_all(default: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text("seed: 1\nstyle: {dpi: 100, font_size_pt: 8}\n")
    second.write_text("seed: 2\nstyle: {dpi: 200}\n")
    config = load_config([default, first, second])
    assert (config.seed, config.style.dpi, config.style.font_size_pt) == (2, 200, 8.0)
    assert load_config([default, second, first]).seed == 1
    assert load_config([default, first, second], {"seed": 3}).seed == 3


def test_numbers_without_a_dot_are_numbers(default: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "studies: {modular_addition: {defaults: {training: {lr: 1e-3, weight_decay: 1}}}}"
    )
    training = block_of(default, mine).defaults.training
    assert (training.lr, training.weight_decay) == (0.001, 1.0)
    assert isinstance(training.weight_decay, float)


def test_nested_command_line_values_reach_the_study(default: Path) -> None:
    values = {"studies": {STUDY: {"replicates": "10", "defaults": {"dataset": {"p": "31"}}}}}
    block = load_config([default], values).studies[STUDY]
    assert isinstance(block, ModularAddition)
    assert (block.replicates, block.defaults.dataset.p) == (10, 31)


def test_variant_overrides_one_key_and_keeps_the_rest(default: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "studies: {modular_addition: {run: [full, stopped], variants: {stopped: "
        "{training: {steps: 77, checkpoints: 5, stop: {sustained: 2}}}}}}".replace(
            "steps: 77", "steps: 77, eval_every: 7"
        )
    )
    block = block_of(default, mine)
    stopped = resolve_variant(block, "stopped")
    assert isinstance(stopped, Variant)
    assert stopped.training.steps == 77
    assert stopped.training.stop is not None
    assert (stopped.training.stop.sustained, stopped.training.stop.extra_steps) == (2, 1000)
    assert stopped.training.lr == block.defaults.training.lr
    assert stopped.model == block.defaults.model


def test_unknown_variant_is_refused(default: Path) -> None:
    with pytest.raises(KeyError, match="unknown variant 'none'; known variants: full, binary"):
        resolve_variant(block_of(default), "none")


def test_overlay_leaves_its_arguments_alone() -> None:
    base, over = {"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 3}, "d": [], "e": {"f": 1}}
    assert overlay(base, over) == {"a": {"b": 3, "c": 2}, "d": [], "e": {"f": 1}}
    assert base == {"a": {"b": 1, "c": 2}, "d": [1]}


def test_twins_count_only_among_variants_that_run(default: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("studies: {modular_addition: {variants: {spare: {}}}}")
    assert "spare" in block_of(default, mine).variants
    mine.write_text(
        "studies: {modular_addition: "
        "{run: [full, spare], variants: {spare: {dataset: {task: add}}}}}"
    )
    with pytest.raises(ConfigError, match="differs in nothing from 'full'"):
        load_config([default, mine])


def test_workflow_files_follow_snakemake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    default, mine = Path("config.yaml"), tmp_path / "mine.yaml"
    assert workflow_files(default, [mine]) == [mine]  # there is no default to start from
    assert workflow_files(default, []) == [default]
    default.touch()
    assert workflow_files("config.yaml", [mine]) == [default, mine]
    assert workflow_files(default, [mine], replace=True) == [mine]
    both = [default.absolute(), mine]
    assert workflow_files(default, both) == both


def test_import_is_light() -> None:
    code = "import sys, mechflow.config.loading; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"torch", "pandas", "numpy", "pyarrow", "matplotlib", "snakemake", "jaxtyping"}
    assert heavy.isdisjoint(result.stdout.split())
