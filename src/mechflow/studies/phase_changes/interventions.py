"""Heads and MLPs taken out, one by one and by their role, at checkpoints of the training.

Roles are those of the final weights, used for all checkpoints: a head has one if it scores at least
`roles.LEAST_SHARE` of the best. The heads of a role are taken out together, and set against as many
others of the same layers.
"""

import math
from collections.abc import Iterator

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from mechflow.config.sections import Transformer
from mechflow.models.factorised import StackedWeights
from mechflow.seeds import Seeds
from mechflow.studies.phase_changes.ablation import Parts, Subject
from mechflow.studies.phase_changes.config import Data, Interventions
from mechflow.studies.phase_changes.head_names import all_heads
from mechflow.studies.phase_changes.heads import of_replicate
from mechflow.studies.phase_changes.inputs import sequences_of
from mechflow.studies.phase_changes.model import loss_scale, stacked_model
from mechflow.studies.phase_changes.roles import random_groups, role_groups
from mechflow.studies.phase_changes.tasks import task_of
from mechflow.training.checkpoints import states
from mechflow.training.sequences import Sequences, answer_losses, group_means

COLUMNS = [
    *("replicate", "intervention", "site", "control", "draw", "split", "metric", "value"),
    "step",
]
RANDOM_DRAWS = 3
"""Random groups that the heads of a role are set against; each costs a run."""

Named = tuple[dict[str, str | int], Parts]


def run(
    *,
    dataset: pd.DataFrame,
    checkpoints: StackedWeights,
    progress: pd.DataFrame,
    data: Data,
    model: Transformer,
    loss_factor: str,
    interventions: Interventions,
    seeds: Seeds,
    replicates: range,
) -> dict[str, pd.DataFrame]:
    """Loss and accuracy of one block without each of its parts, at some of its checkpoints."""
    task = task_of(data)
    stacked = stacked_model(task, model)
    factor = loss_scale(loss_factor, task)
    test = sequences_of(dataset, "test", limit=interventions.examples)
    assert test is not None, "every dataset has a test set"
    own = [of_replicate(test, index) for index in range(len(replicates))]
    planned = [
        list(_plan(progress, model, interventions, replicate, seeds)) for replicate in replicates
    ]
    rows = []
    for step, weights in states(checkpoints, interventions.checkpoints):
        for index, replicate in enumerate(replicates):
            subject = Subject(stacked.module(weights, index), own[index], interventions.ablation)
            for names, parts in planned[index]:
                scores = _scores(subject.logits(parts), own[index], task.groups, factor)
                for metric, value in scores.items():
                    row = {"replicate": replicate, "step": step, "metric": metric, "value": value}
                    rows.append({**_NOTHING, **row, **names})
    return {"interventions": pd.DataFrame(rows)[COLUMNS]}


_NOTHING: dict[str, str | int] = {
    "intervention": "none",
    "site": "",
    "control": "none",
    "draw": 0,
    "split": "test",
}


def _plan(
    progress: pd.DataFrame,
    model: Transformer,
    cfg: Interventions,
    replicate: int,
    seeds: Seeds,
) -> Iterator[Named]:
    """Everything that is taken out of one replicate, and nothing first."""
    yield {}, Parts()
    head, mlp = f"{cfg.ablation}_head", f"{cfg.ablation}_mlp"
    heads = all_heads(model)
    for single in heads:
        yield {"intervention": head, "site": single.name}, Parts((single,))
    for layer in range(model.n_layers if model.d_mlp else 0):
        yield {"intervention": mlp, "site": f"L{layer}"}, Parts(mlps=(layer,))
    for role, group in role_groups(progress, model, replicate).items():
        names: dict[str, str | int] = {"intervention": head, "site": role}
        yield names, Parts(group)
        generator = seeds.torch(replicate, f"random heads instead of {role}")
        for draw, others in enumerate(random_groups(group, heads, RANDOM_DRAWS, generator)):
            yield {**names, "control": "random_heads", "draw": draw}, Parts(others)


def _scores(
    logits: Float[Tensor, "n read d_vocab_out"],
    sequences: Sequences,
    groups: tuple[str, ...],
    factor: float,
) -> dict[str, float]:
    """Loss, accuracy, and the loss of each group that has answers."""
    losses = factor * answer_losses(logits, sequences.targets, torch.float64)
    right = (logits.argmax(-1) == sequences.targets).double()
    by_group = group_means(losses[None], sequences.groups[None], len(groups))[0]
    return {
        "loss": losses.mean().item(),
        "accuracy": right.mean().item(),
        **{
            f"loss.{group}": value
            for group, value in zip(groups, by_group.tolist(), strict=True)
            if not math.isnan(value)
        },
    }
