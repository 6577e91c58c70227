"""Trains the replicates of a block and collects their weights, checkpoints and curves."""

import pandas as pd
import torch
from torch import Tensor

from mechflow.config.sections import Training, Transformer
from mechflow.models.stacked import StackedTransformer
from mechflow.seeds import Seeds
from mechflow.studies.modular_addition.inputs import modulus, split_examples
from mechflow.training.full_batch import FullBatch
from mechflow.training.loop import ResumeStore, Trainer


def run(
    *,
    dataset: pd.DataFrame,
    model: Transformer,
    training: Training,
    seeds: Seeds,
    replicates: range,
    device: str,
    resume: ResumeStore | None = None,
) -> dict[str, pd.DataFrame | dict[str, Tensor]]:
    """Weights, checkpoints and curves of one block of replicates."""
    p = modulus(dataset)
    stacked = StackedTransformer(model, d_vocab=p + 1, d_vocab_out=p, n_ctx=3)
    initial = stacked.initial(seeds.torch(r, "initial weights") for r in replicates)
    objective = FullBatch(
        stacked,
        split_examples(dataset, "train"),
        split_examples(dataset, "test"),
        initial,
        dtype=getattr(torch, training.loss_dtype),
        device=device,
    )
    trainer = Trainer(objective, training, initial, device=device, resume=resume)
    record = trainer.run()
    return {
        "weights": trainer.current_weights(),
        "checkpoints": record.checkpoint_tensors(),
        "curves": record.curves(replicates),
    }
