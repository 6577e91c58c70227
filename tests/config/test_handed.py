"""Places of a configuration that a ``module`` statement hands over."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from mechflow.config.handed import MODULE, Written, locate_handed
from mechflow.config.loading import ConfigError, merged
from mechflow.config.sources import COMMAND_LINE, Located

FILE = """\
seed: 3
models:
  tiny:
    sites: [1, 2]
paper:
  seed: 4
  rate: 1e-3
  style: {dpi: 90}
"""
RANK = 7


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    monkeypatch.chdir(tmp_path)
    Path("paper.yaml").write_text(FILE)
    return Written(yaml.safe_load(FILE), merged([Path("paper.yaml")]))


def place(located: Located, *path: str | int) -> tuple[Any, str, int]:
    """The value at a path, and the file and line that are told for it."""
    found = located.nearest(path)
    return found.plain(), found.source, found.line


def test_all_of_the_configuration_keeps_its_places(written: Written) -> None:
    located = locate_handed(yaml.safe_load(FILE), yaml.safe_load(FILE), written, RANK)
    assert located == written.places
    assert place(located, "seed") == (3, "paper.yaml", 1)
    assert place(located, "models", "tiny", "sites", 1) == (2, "paper.yaml", 4)


def test_a_section_keeps_the_places_it_has_in_the_file(written: Written) -> None:
    located = locate_handed(yaml.safe_load(FILE)["paper"], yaml.safe_load(FILE), written, RANK)
    assert place(located, "seed") == (4, "paper.yaml", 6)
    assert place(located, "style", "dpi") == (90, "paper.yaml", 8)
    assert located.rank == 0


def test_what_the_snakefile_made_up_is_told_by_key(written: Written) -> None:
    config = yaml.safe_load(FILE)
    config["seed"] = -1
    config["models"]["tiny"]["sites"] = [1, 5]
    config["models"]["other"] = {"layers": [0]}
    located = locate_handed(config, config, written, RANK)
    assert place(located, "seed") == (-1, MODULE, 0)
    assert place(located, "models", "tiny", "sites") == ([1, 5], MODULE, 0)
    assert place(located, "models", "other", "layers", 0) == (0, MODULE, 0)
    assert located.nearest(("seed",)).rank == RANK
    # What it left alone is where it was.
    assert place(located, "paper", "style", "dpi") == (90, "paper.yaml", 8)
    assert located.source == "paper.yaml"


def test_a_section_that_the_snakefile_edited_keeps_the_places_of_the_rest(written: Written) -> None:
    config = yaml.safe_load(FILE)
    config["paper"]["seed"] = -1
    located = locate_handed(config["paper"], config, written, RANK)
    assert place(located, "seed") == (-1, MODULE, 0)
    assert place(located, "rate") == (0.001, "paper.yaml", 7)
    assert place(located, "style", "dpi") == (90, "paper.yaml", 8)


def test_a_nested_number_of_the_command_line_is_a_number_in_an_edited_section(
    written: Written,
) -> None:
    """Snakemake leaves it as text."""
    given = {"paper": {"style": {"dpi": "80"}}}
    whole = yaml.safe_load(FILE)
    whole["paper"]["style"]["dpi"] = "80"
    both = Written(copy.deepcopy(whole), merged([Path("paper.yaml")], given))
    whole["paper"]["seed"] = 5
    located = locate_handed(whole["paper"], whole, both, RANK)
    assert place(located, "style", "dpi") == (80, COMMAND_LINE, 0)


def test_a_configuration_without_files_is_told_by_key() -> None:
    located = locate_handed({"seed": 1, "style": {"dpi": 90}}, {}, Written({}, None), RANK)
    assert located.plain() == {"seed": 1, "style": {"dpi": 90}}
    assert place(located, "style", "dpi") == (90, MODULE, 0)


def test_the_command_line_of_the_other_workflow_is_named(written: Written) -> None:
    values = {**written.values, "seed": 9}
    both = Written(values, merged([Path("paper.yaml")], {"seed": 9}))
    located = locate_handed(values, values, both, RANK)
    assert place(located, "seed") == (9, COMMAND_LINE, 0)
    assert place(located, "paper", "seed") == (4, "paper.yaml", 6)


def test_a_number_that_snakemake_takes_for_text_is_a_number(written: Written) -> None:
    config = yaml.safe_load(FILE)
    assert config["paper"]["rate"] == "1e-3"
    located = locate_handed(config, config, written, RANK)
    assert place(located, "paper", "rate") == (0.001, "paper.yaml", 7)
    made_up = locate_handed({"rate": "1e-3", "name": "12", "flag": "true"}, config, written, RANK)
    # Only what YAML 1.1 misses is mended: text that reads as a whole number was meant as text.
    assert made_up.plain() == {"rate": 0.001, "name": "12", "flag": "true"}


def test_an_empty_mapping_is_no_section_of_the_file(written: Written) -> None:
    located = locate_handed({}, written.values, written, RANK)
    assert (located.plain(), located.source, located.rank) == ({}, MODULE, RANK)


@pytest.mark.parametrize(("handed", "kind"), [("config.yaml", "str"), ([1], "list"), (3, "int")])
def test_what_is_no_mapping_is_refused(handed: object, kind: str, written: Written) -> None:
    with pytest.raises(ConfigError) as caught:
        locate_handed(handed, written.values, written, RANK)
    (problem,) = caught.value.problems
    text = f"config of the module: expected a mapping, such as `config: config`, not {kind}"
    assert str(problem) == text
