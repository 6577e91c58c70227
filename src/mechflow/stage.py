"""Calls a study's stage with the arguments that it names, and writes what it returns."""

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from mechflow.artifacts import SHARDED
from mechflow.task import Task

if TYPE_CHECKING:
    from torch import Tensor


AFTER = "after"
"""Name of a rule's inputs that must be there before the job and are not read by it."""


def run(task: Task) -> None:
    """Runs ``mechflow.studies.<study>.<stage>.run`` and writes the artefacts that it returns.

    The function gets every input by the name of its artefact and every configuration value by the
    last part of its key. Of ``replicates``, ``seeds``, ``device``, ``resume`` and ``shards`` it
    gets those that are among its parameters.
    """
    function = task.stage.run
    write(task, function(**artefacts(task), **task.sections, **_offered(task, function)))


def artefacts(task: Task) -> dict[str, Any]:
    """All inputs of a job that reads one block, by name; what only must be there is not read."""
    return {name: _read(task, name) for name in task.input_names if name != AFTER}


def _read(task: Task, name: str) -> Any:
    if name == "model":
        return task.read_model(name)
    if name in SHARDED:
        return task.read_shards(name)
    if is_table(task.inputs(name)[0].name):
        return task.read_table(name)
    return task.read_tensors(name)


def write(task: Task, outputs: "Mapping[str, pd.DataFrame | Mapping[str, Tensor]]") -> None:
    """Writes the artefacts that a stage returned; all of the rule's outputs must be among them.

    Raises:
        ValueError: the artefacts are not exactly the rule's outputs.
    """
    if set(outputs) != set(task.output_names):
        raise ValueError(
            f"stage {task.rule} of {task.owner.study} returned {', '.join(sorted(outputs))}; "
            f"its rule writes {', '.join(sorted(task.output_names))}"
        )
    for name, artefact in outputs.items():
        if isinstance(artefact, pd.DataFrame):
            task.write_table(name, artefact)
        else:
            task.write_tensors(name, artefact)


def is_table(file_name: str) -> bool:
    """Whether a file holds a table; other artefacts hold tensors."""
    return file_name.endswith(".parquet")


def _offered(task: Task, function: Callable[..., Any]) -> dict[str, Any]:
    wanted = inspect.signature(function).parameters
    names = ("replicates", "seeds", "device", "resume", "shards")
    return {name: getattr(task, name) for name in names if name in wanted}
