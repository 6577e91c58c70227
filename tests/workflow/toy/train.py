"""Training of the toy study: a sum that grows by a random number each step."""

import logging
import time
from typing import Any

import pandas as pd
import torch

from mechflow.seeds import Seeds
from mechflow.studies.toy.arithmetic import double
from mechflow.studies.toy.config import Training

_log = logging.getLogger(__name__)


def run(
    *, dataset: pd.DataFrame, training: Training, seeds: Seeds, replicates: range, resume: Any
) -> dict[str, Any]:
    """Counts to the last step, from the saved state if there is one."""
    saved = resume.load() or {"step": torch.tensor(0), "sum": torch.zeros(len(replicates))}
    start, total = int(saved["step"]), saved["sum"]
    _log.info("starts at step %d of %d", start, training.steps)
    for step in range(start, training.steps):
        total += torch.cat([torch.rand(1, generator=seeds.torch(r, f"{step}")) for r in replicates])
        resume.save({"step": torch.tensor(step + 1), "sum": total})
        time.sleep(training.pause)
    rows = [
        (r, training.steps, "train", "loss", double(float(x)))
        for r, x in zip(replicates, total, strict=True)
    ]
    return {
        "weights": {"total": total},
        "checkpoints": {"step": torch.tensor([training.steps]), "total": total[None].clone()},
        "curves": pd.DataFrame(rows, columns=["replicate", "step", "split", "metric", "value"]),
    }
