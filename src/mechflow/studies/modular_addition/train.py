"""Trains the replicates of a block and collects their weights, checkpoints and curves."""

import pandas as pd
import torch
from torch import Tensor

from mechflow.config.sections import Training, Transformer
from mechflow.models.factorised import StackedWeights
from mechflow.models.stacked import StackedTransformer
from mechflow.seeds import Seeds
from mechflow.studies.modular_addition.inputs import modulus, split_examples
from mechflow.training.loop import Record, ResumeStore, Trainer


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
    trainer = Trainer(
        stacked,
        training,
        stacked.initial(seeds.torch(r, "initial weights") for r in replicates),
        split_examples(dataset, "train"),
        split_examples(dataset, "test"),
        device=device,
        resume=resume,
    )
    record = trainer.run()
    return {
        "weights": trainer.current_weights(),
        "checkpoints": checkpoint_tensors(record),
        "curves": curve_table(record, replicates),
    }


def checkpoint_tensors(record: Record) -> StackedWeights:
    """Checkpoints stacked along a leading axis, with their steps."""
    names = record.checkpoints[0]
    stacked = {n: torch.stack([c[n] for c in record.checkpoints]) for n in names}
    return {"step": torch.tensor(record.checkpoint_steps), **stacked}


def curve_table(record: Record, replicates: range) -> pd.DataFrame:
    """Tidy curves; rows of what was not measured at a step are left out."""
    history = torch.stack(record.history).permute(2, 0, 1)
    index = pd.MultiIndex.from_product(
        [list(replicates), record.steps, range(len(record.metrics))],
        names=["replicate", "step", "column"],
    )
    frame = pd.DataFrame({"value": history.flatten().numpy()}, index=index).reset_index()
    splits, metrics = zip(*record.metrics, strict=True)
    frame["split"] = frame["column"].map(dict(enumerate(splits)))
    frame["metric"] = frame["column"].map(dict(enumerate(metrics)))
    frame = frame.dropna(subset="value")
    return frame[["replicate", "step", "split", "metric", "value"]].reset_index(drop=True)
