"""Models of the phase changes study with random weights, for tests of what reads them."""

import torch
from torch import Tensor

from mechflow.config.sections import Transformer
from mechflow.studies.phase_changes.config import Data
from mechflow.studies.phase_changes.model import stacked_model
from mechflow.studies.phase_changes.tasks import task_of


def initial(data: Data, model: Transformer, replicates: int, seed: int = 0) -> dict[str, Tensor]:
    """Stacked initial weights."""
    generators = (torch.Generator().manual_seed(seed + r) for r in range(replicates))
    return stacked_model(task_of(data), model).initial(generators)


def as_checkpoints(*weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """States as the checkpoints at steps 0, 10, 20, ..."""
    stacked = {name: torch.stack([w[name] for w in weights]) for name in weights[0]}
    return {"step": 10 * torch.arange(len(weights)), **stacked}
