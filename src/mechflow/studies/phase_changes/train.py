"""Trains the replicates of a block and collects their weights, checkpoints and curves."""

import pandas as pd
import torch
from torch import Tensor

from mechflow.config.sections import Transformer
from mechflow.seeds import Seeds
from mechflow.studies.phase_changes.batches import fresh_batches, repeated_batches
from mechflow.studies.phase_changes.config import Data, StreamTraining
from mechflow.studies.phase_changes.inputs import sequences_of
from mechflow.studies.phase_changes.model import loss_scale, stacked_model
from mechflow.studies.phase_changes.tasks import task_of
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
        loss_factor=loss_scale(training.loss_factor, task),
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
