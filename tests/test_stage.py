from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from mechflow import stage
from mechflow.task import Task


class FakeTask(Task):
    """A task whose files are in memory."""

    def __init__(self, run, outputs=("probes",), inputs=("dataset", "weights")):
        self.run = run
        self.outputs = list(outputs)
        self.names = list(inputs)
        self.rule = "probe"
        self.owner = SimpleNamespace(study="toy")
        self.written = {}

    replicates = range(2, 4)
    stage = property(lambda self: SimpleNamespace(run=self.run))
    sections = property(lambda self: {"probe": "section", "p": 7})
    input_names = property(lambda self: self.names)
    output_names = property(lambda self: self.outputs)

    @property
    def device(self):
        raise AssertionError("nobody asked for the device")

    @property
    def seeds(self):
        return "seeds"

    def inputs(self, name):
        suffix = "safetensors" if name == "weights" else "parquet"
        return [SimpleNamespace(name=f"{name}.{suffix}")]

    def read_table(self, name, kind=None):
        return f"table {name}"

    def read_tensors(self, name, kind=None, names=None):
        return f"tensors {name}"

    def read_shards(self, name):
        return f"shards {name}"

    def read_model(self, name):
        return f"folder of {name}"

    @property
    def shards(self):
        return "writer of shards"

    def write_table(self, name, frame, kind=None):
        self.written[name] = "table"

    def write_tensors(self, name, tensors, kind=None, allow_nonfinite=False):
        self.written[name] = "tensors"


def test_a_stage_gets_its_artefacts_its_values_and_what_else_it_names():
    got = {}

    def run(*, dataset, weights, probe, p, replicates, seeds):
        got.update(locals())
        return {"probes": pd.DataFrame()}

    task = FakeTask(run)
    stage.run(task)
    del got["got"]
    assert got == {
        "dataset": "table dataset",
        "weights": "tensors weights",
        "probe": "section",
        "p": 7,
        "replicates": range(2, 4),
        "seeds": "seeds",
    }
    assert task.written == {"probes": "table"}


def test_models_come_as_folders_and_sharded_tensors_unread():
    got = {}

    def run(*, model, states, prompts, shards, **values):
        got.update(model=model, states=states, prompts=prompts, shards=shards)
        return {"probes": pd.DataFrame()}

    stage.run(FakeTask(run, inputs=("model", "states", "prompts")))
    assert got == {
        "model": "folder of model",
        "states": "shards states",
        "prompts": "table prompts",
        "shards": "writer of shards",
    }


def test_tables_and_tensors_are_written_as_what_they_are():
    task = FakeTask(None, ("curves", "weights"))
    stage.write(task, {"curves": pd.DataFrame(), "weights": {"W_E": torch.zeros(1)}})
    assert task.written == {"curves": "table", "weights": "tensors"}


@pytest.mark.parametrize("returned", [{}, {"probes": pd.DataFrame(), "more": pd.DataFrame()}])
def test_outputs_must_be_those_of_the_rule(returned):
    task = FakeTask(None)
    with pytest.raises(ValueError, match="its rule writes probes"):
        stage.write(task, returned)
    assert task.written == {}
