"""What training leaves behind besides the last weights: curves and checkpoints."""

from dataclasses import dataclass, field

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from mechflow.models.factorised import StackedWeights
from mechflow.training.objective import Metrics


@dataclass
class Record:
    """The history of one training run."""

    metrics: Metrics
    """Columns of the history."""
    steps: list[int] = field(default_factory=list)
    history: list[Float[Tensor, "metric R"]] = field(default_factory=list)
    """One row an evaluation, float64; NaN where nothing was measured."""
    checkpoint_steps: list[int] = field(default_factory=list)
    checkpoints: list[StackedWeights] = field(default_factory=list)
    """Copies of the weights, on the CPU."""

    def checkpoint_tensors(self) -> StackedWeights:
        """Checkpoints stacked along a leading axis, beside their steps."""
        names = self.checkpoints[0]
        stacked = {n: torch.stack([c[n] for c in self.checkpoints]) for n in names}
        return {"step": torch.tensor(self.checkpoint_steps), **stacked}

    def curves(self, replicates: range) -> pd.DataFrame:
        """Tidy curves; rows of what was not measured at a step are left out."""
        history = torch.stack(self.history).permute(2, 0, 1)
        index = pd.MultiIndex.from_product(
            [list(replicates), self.steps, range(len(self.metrics))],
            names=["replicate", "step", "column"],
        )
        frame = pd.DataFrame({"value": history.flatten().numpy()}, index=index).reset_index()
        splits, metrics = zip(*self.metrics, strict=True)
        frame["split"] = frame["column"].map(dict(enumerate(splits)))
        frame["metric"] = frame["column"].map(dict(enumerate(metrics)))
        frame = frame.dropna(subset="value")
        return frame[["replicate", "step", "split", "metric", "value"]].reset_index(drop=True)
