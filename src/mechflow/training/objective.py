"""What a training run minimises and measures; the loop knows nothing else of a task."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from mechflow.models.factorised import StackedWeights

Metrics = tuple[tuple[str, str], ...]
"""(split, metric) of each measured number; the split is empty where it does not matter."""


@runtime_checkable
class Objective(Protocol):
    """The task of one block of replicates, a function of weights and step alone.

    Nothing in it may depend on what was asked before, so that a resumed run sees what an
    uninterrupted one sees.
    """

    @property
    def metrics(self) -> Metrics:
        """What `measure` returns: at least the loss on train and test, and test accuracy."""

    @property
    def changes(self) -> Metrics:
        """What `measure_change` returns."""

    def losses(self, weights: StackedWeights, step: int) -> Float[Tensor, " R"]:
        """Differentiable loss of each replicate in nats, for the update after ``step`` updates."""

    def measure(self, weights: StackedWeights, step: int) -> Float[Tensor, "metric R"]:
        """Metrics after ``step`` updates, in float64 on the CPU."""

    def before_update(self, weights: StackedWeights) -> StackedWeights:
        """What has to be kept of the weights to measure an update afterwards."""

    def measure_change(
        self, before: StackedWeights, weights: StackedWeights
    ) -> Float[Tensor, "change R"]:
        """What an update has changed, in float64 on the CPU."""
