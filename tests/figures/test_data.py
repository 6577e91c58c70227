import pandas as pd
import pytest
import torch

from mechflow.config.sections import Transformer
from mechflow.config.study import Style
from mechflow.figures.data import FigureData, figures_section, style
from mechflow.studies.modular_addition.config import Figures


class Files:
    """Artefacts in memory; counts how often they are read."""

    def __init__(self, checkpoint_steps=((0, 9), (0, 9))):
        self.reads = 0
        self.checkpoint_steps = checkpoint_steps

    def read_tables(self, name):
        self.reads += 1
        return pd.DataFrame({"variant": ["full"], "block": ["r000-001"], "value": [1.0]})

    def read_tensors_of_all(self, name):
        self.reads += 1
        found = {}
        for variant, offset in (("full", 0.0), ("binary", 100.0)):
            for block, steps in enumerate(self.checkpoint_steps):
                value = torch.tensor([[2.0 * block, 2.0 * block + 1]]) + offset
                tensors = {"weight": value[0]}
                if name == "checkpoints":
                    tensors = {"step": torch.tensor(steps), "weight": value.expand(2, -1)}
                found[variant, f"b{block}"] = tensors
        return found


VALUES = {
    "full": {"model": Transformer(), "model.d_mlp": 3, "dataset.p": 7, "dataset.task": "add"},
    "binary": {"model": Transformer(precision="binary"), "dataset.p": 11},
}


def data(files=None) -> FigureData:
    return FigureData(files or Files(), VALUES, seed=3, study="modular_addition")


def test_variants_keep_their_order():
    assert data().variants == ("full", "binary")


def test_replicates_of_all_blocks_are_joined_in_order():
    assert data().tensors("weights", "full")["weight"].tolist() == [0, 1, 2, 3]
    assert data().tensors("weights", "binary")["weight"].tolist() == [100, 101, 102, 103]


def test_checkpoints_are_joined_along_their_second_axis():
    joined = data().tensors("checkpoints", "full")
    assert joined["step"].tolist() == [0, 9]
    assert joined["weight"].tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]


def test_checkpoints_of_different_steps_are_not_joined():
    with pytest.raises(ValueError, match="different steps"):
        data(Files(((0, 9), (0, 8)))).tensors("checkpoints", "full")


def test_a_variant_that_did_not_run_is_named():
    with pytest.raises(KeyError, match="weights of ternary"):
        data().tensors("weights", "ternary")


def test_files_are_read_once_and_not_before_they_are_asked_for():
    files = Files()
    asked = data(files)
    assert files.reads == 0
    curves = asked.table("curves")
    curves["value"] = 2.0
    assert asked.table("curves")["value"].tolist() == [1.0]
    asked.tensors("weights", "full")
    asked.tensors("weights", "binary")
    assert files.reads == 2


def test_the_configuration_has_the_sections_that_the_inputs_depend_on():
    config = data().config("full")
    assert config.model == Transformer()
    assert (config.dataset.p, config.dataset.task) == (7, "add")
    assert data().config("binary").model.precision == "binary"
    assert not hasattr(config, "probe")


def test_random_numbers_depend_on_their_purpose_and_on_nothing_drawn_before():
    first = data().generator("bootstrap").random(3)
    other = data()
    assert other.generator("permutation").random() != first[0]
    assert (other.generator("bootstrap").random(3) == first).all()


def test_sections_of_a_spec_get_their_types_back():
    spec = {
        "study": "modular_addition",
        "figures": Figures(compare=("full",)).model_dump(mode="json"),
        "style": Style(dpi=100).model_dump(mode="json"),
    }
    assert figures_section(spec) == Figures(compare=("full",))
    assert style(spec) == Style(dpi=100)
