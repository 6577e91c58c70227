"""What forms while the loss falls: scores of heads, attention to triggers, carries, by checkpoint.

All is measured on the first sequences of the test sets. What does not depend on the weights, such
as reference losses and what uniform attention scores, stands at the first step only.
"""

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool
from torch import Tensor

from mechflow.config.sections import Transformer
from mechflow.models.factorised import StackedWeights
from mechflow.models.stacked import StackedTransformer
from mechflow.seeds import Seeds
from mechflow.studies.phase_changes import circuit_scores
from mechflow.studies.phase_changes.circuit_scores import Row
from mechflow.studies.phase_changes.config import Data, Progress
from mechflow.studies.phase_changes.heads import Observation, observe, of_replicate
from mechflow.studies.phase_changes.inputs import sequences_of
from mechflow.studies.phase_changes.model import loss_scale, stacked_model
from mechflow.studies.phase_changes.references import reference_losses
from mechflow.studies.phase_changes.tasks import Task, task_of
from mechflow.studies.phase_changes.tasks.induction import Induction
from mechflow.studies.phase_changes.tasks.skip_trigram import SkipTrigram
from mechflow.training.checkpoints import states
from mechflow.training.sequences import Sequences, answer_losses

COLUMNS = ["replicate", "step", "metric", "definition", "split", "control", "draw", "value"]


def run(
    *,
    dataset: pd.DataFrame,
    checkpoints: StackedWeights,
    data: Data,
    model: Transformer,
    loss_factor: str,
    progress: Progress,
    seeds: Seeds,
    replicates: range,
) -> dict[str, pd.DataFrame]:
    """All measures of one block at some of its checkpoints."""
    task = task_of(data)
    sets = {
        subset: sequences
        for subset in ("all", *task.subsets)
        if (sequences := sequences_of(dataset, "test", subset, progress.examples)) is not None
    }
    study = _Study(
        task,
        stacked_model(task, model),
        loss_scale(loss_factor, task),
        sets,
    )
    records: list[dict[str, Any]] = []
    for step, weights in states(checkpoints, progress.checkpoints):
        rows = list(study.scores(weights))
        if not records:
            rows += study.references(progress.random_draws, seeds, replicates)
        records += [
            {**_BLANK, "replicate": replicate, "step": step, "value": value, **names}
            for values, names in rows
            for replicate, value in zip(replicates, values.double().tolist(), strict=True)
            if not math.isnan(value)
        ]
    return {"progress": pd.DataFrame(records)[COLUMNS]}


_BLANK: dict[str, Any] = {"definition": "", "split": "test", "control": "none", "draw": 0}


class _Study:
    """A task, its test sets, and the architecture that is trained on it."""

    def __init__(
        self, task: Task, model: StackedTransformer, factor: float, sets: dict[str, Sequences]
    ) -> None:
        self.task = task
        self.model = model
        self.factor = factor
        self.sets = sets
        self.test = sets["all"]

    @cached_property
    def _sources(self) -> Bool[Tensor, "R n read pos"]:
        return circuit_scores.matched(self.test)

    def scores(self, weights: StackedWeights) -> Iterator[Row]:
        """What is measured at one checkpoint."""
        if isinstance(self.task, Induction):
            with torch.no_grad():
                seen = self._observed(weights)
            yield self._loss(seen)
            yield from circuit_scores.induction_attention(seen, self.test, self._sources, self.task)
            yield from circuit_scores.copying(weights, self.model.cfg)
            yield from circuit_scores.compositions(weights, self.model.cfg)
        elif isinstance(self.task, SkipTrigram):
            seen = self._observed(weights)
            yield self._loss(seen)
            yield from circuit_scores.trigger_attention(seen, self.test, self.task, self.factor)
        else:
            yield from self._losses_by_subset(weights)

    def references(self, draws: int, seeds: Seeds, replicates: range) -> Iterator[Row]:
        """What the measures are read against; the weights do not matter."""
        yield from reference_losses(self.task, self.test, self.factor)
        if isinstance(self.task, Induction):
            cfg = self.model.cfg
            yield from circuit_scores.uniform_induction_attention(
                cfg, self.test, self._sources, self.task
            )
            yield from circuit_scores.random_compositions(cfg, draws, seeds, replicates)
        elif isinstance(self.task, SkipTrigram):
            yield from circuit_scores.uniform_trigger_attention(self.test, self.task)

    def _observed(self, weights: StackedWeights) -> list[Observation]:
        return [
            observe(self.model.module(weights, index), of_replicate(self.test, index))
            for index in range(len(self.test.tokens))
        ]

    def _loss(self, seen: list[Observation]) -> Row:
        logits = torch.stack([observation.logits.detach() for observation in seen])
        losses = answer_losses(logits, self.test.targets, torch.float64)
        return self.factor * losses.flatten(1).mean(1), {"metric": "loss"}

    @torch.no_grad()
    def _losses_by_subset(self, weights: StackedWeights) -> Iterator[Row]:
        """Loss on the whole test set; loss and accuracy on sequences of one kind."""
        for subset, sequences in self.sets.items():
            logits = self.model.logits_at(weights, sequences.tokens, sequences.positions)
            losses = answer_losses(logits, sequences.targets, torch.float64)
            loss = self.factor * losses.flatten(1).mean(1)
            if subset == "all":
                yield loss, {"metric": "loss"}
                continue
            right = (logits.argmax(-1) == sequences.targets).double().flatten(1).mean(1)
            yield loss, {"metric": f"loss.carries.{subset}"}
            yield right, {"metric": f"accuracy.carries.{subset}"}
