"""Which problems are listed, in which order, and at which place."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mechflow.config.loading import ConfigError, load_config
from mechflow.config.problems import Problem

Refuse = Callable[..., tuple[Problem, ...]]
Below = Callable[[str, str], str]
STUDY = "studies.modular_addition"


def test_all_problems_are_listed_at_once_in_order_of_line(refuse: Refuse, below: Below) -> None:
    text = below(f"{STUDY}.defaults", "training: {steps: 0}\ndataset:\n  p: 1\n  task: x\nq: 1")
    problems = refuse(f"seed: -1\n{text}", style={"dpi": "1"})
    assert [problem.key.rpartition(".")[2] for problem in problems] == [
        *("seed", "steps", "p", "task", "q", "dpi")
    ]
    lines = str(ConfigError(problems)).splitlines()
    assert lines[0] == "The configuration has 6 problems:"
    assert len(lines) == 7


def test_mistake_in_defaults_is_told_once_not_for_every_variant(
    refuse: Refuse, below: Below
) -> None:
    problems = refuse(below(f"{STUDY}.defaults.training", "lr: fast"))
    assert [problem.key for problem in problems] == [f"{STUDY}.defaults.training.lr"]


def test_mistake_of_variant_is_found_beside_one_in_defaults(refuse: Refuse, below: Below) -> None:
    text = "defaults: {training: {lr: 0}}\nvariants: {binary: {training: {lr: -1}}}"
    keys = {problem.key for problem in refuse(below(STUDY, text))}
    assert keys == {
        f"{STUDY}.defaults.training.lr",
        f"{STUDY}.variants.binary.training.lr",
    }


def test_variant_that_is_not_run_is_checked_too(refuse: Refuse, below: Below) -> None:
    text = "run: [full]\nvariants: {idle: {model: {d_model: 0}}}"
    (problem,) = refuse(below(STUDY, text))
    assert problem.key == f"{STUDY}.variants.idle.model.d_model"


def test_place_is_that_of_the_file_that_set_the_value_last(default: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("seed: -1\nstyle: {dpi: 1}\n")
    second.write_text("\n\nseed: -2\n")
    with pytest.raises(ConfigError) as caught:
        load_config([default, first, second])
    places = [(Path(p.source).name, p.line, p.value) for p in caught.value.problems]
    assert places == [("first.yaml", 2, "1"), ("second.yaml", 3, "-2")]


def test_command_line_is_named_as_source(refuse: Refuse, below: Below) -> None:
    (problem,) = refuse("seed: 1", seed=-3)
    assert str(problem) == "--config: seed = -3: expected a whole number of at least 0"


def test_missing_keys_are_named(tmp_path: Path) -> None:
    alone = tmp_path / "alone.yaml"
    alone.write_text("studies:\n  modular_addition:\n    replicates: 2\n")
    with pytest.raises(ConfigError) as caught:
        load_config([alone])
    assert [(p.key, p.line, p.text.partition(";")[0]) for p in caught.value.problems] == [
        (f"{STUDY}.run", 2, "missing"),
        (f"{STUDY}.variants", 2, "missing"),
    ]


@pytest.mark.parametrize("text", ["seed: 1", "studies: {}"])
def test_at_least_one_study_is_needed(text: str, tmp_path: Path) -> None:
    alone = tmp_path / "alone.yaml"
    alone.write_text(text)
    with pytest.raises(ConfigError, match=r"studies.*modular_addition"):
        load_config([alone])
