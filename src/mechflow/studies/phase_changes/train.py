"""Trains the replicates of a block and collects their weights, checkpoints and curves."""

import pandas as pd
import torch
from torch import Tensor

from mechflow.config.sections import Transformer
from mechflow.models.stacked import StackedTransformer
from mechflow.seeds import Seeds
from mechflow.studies.phase_changes.batches import fresh_batches, repeated_batches
from mechflow.studies.phase_changes.config import Data, StreamTraining
from mechflow.studies.phase_changes.inputs import sequences_of
from mechflow.studies.phase_changes.tasks import Task, task_of
from mechflow.training.answers import Answers
from mechflow.training.loop import ResumeStore, Trainer


def run(
    *,
    dataset: pd.DataFrame,
    data: Data,
    model: Transformer,
    training: StreamTraining,
    seeds: Seeds,
    replicates: range,
    device: str,
    resume: ResumeStore | None = None,
) -> dict[str, pd.DataFrame | dict[str, Tensor]]:
    """Weights, checkpoints and curves of one block of replicates."""
    task = task_of(data)
    stacked = stacked_model(task, model)
    train, test = (sequences_of(dataset, split) for split in ("train", "test"))
    assert test is not None, "every dataset has a test set"
    if train is None:
        assert training.batch_size, "infinite data come in batches"
        batches = fresh_batches(task, training.batch_size, seeds, replicates)
    else:
        batches = repeated_batches(train, training.batch_size, seeds, replicates)
    objective = Answers(
        stacked,
        batches,
        test,
        task.groups,
        train=train,
        dtype=getattr(torch, training.loss_dtype),
        loss_factor=loss_factor(training, task),
        device=device,
    )
    initial = stacked.initial(seeds.torch(r, "initial weights") for r in replicates)
    trainer = Trainer(objective, training, initial, device=device, resume=resume)
    record = trainer.run()
    return {
        "weights": trainer.current_weights(),
        "checkpoints": record.checkpoint_tensors(),
        "curves": record.curves(replicates),
    }


def stacked_model(task: Task, model: Transformer) -> StackedTransformer:
    """The architecture with the sizes of the task."""
    return StackedTransformer(
        model, d_vocab=task.d_vocab, d_vocab_out=task.d_vocab_out, n_ctx=task.n_ctx
    )


def loss_factor(training: StreamTraining, task: Task) -> float:
    """Factor on the mean loss: S / (S - 1) in the induction notebook, S the tokens of a sequence.

    It divides the sum over answers by the size of a mask that has one column more than the logits
    whose mean was taken.
    """
    return task.n_ctx / (task.n_ctx - 1) if training.loss_factor == "published" else 1.0
