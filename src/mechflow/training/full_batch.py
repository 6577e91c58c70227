"""Classification at the last position, all train examples in every update."""

import torch
from jaxtyping import Float
from torch import Tensor

from mechflow.models.factorised import StackedWeights
from mechflow.models.stacked import StackedTransformer
from mechflow.norms import squared_weights
from mechflow.training.evaluate import (
    flip_rates,
    loss_and_accuracy,
    matrix_levels,
    quantisable,
    replicate_losses,
)
from mechflow.training.examples import Examples
from mechflow.training.objective import Metrics


class FullBatch:
    """The objective of a fixed train set that is always seen whole.

    Args:
        model: the stacked architecture.
        train: examples that are learnt.
        test: held-out examples, measured only.
        weights: weights of the model, for the names of its parameters.
        dtype: precision of the log-softmax.
        device: torch device name.
    """

    metrics: Metrics = (
        ("train", "loss"),
        ("train", "accuracy"),
        ("test", "loss"),
        ("test", "accuracy"),
        ("", "squared_weights"),
    )

    def __init__(
        self,
        model: StackedTransformer,
        train: Examples,
        test: Examples,
        weights: StackedWeights,
        *,
        dtype: torch.dtype,
        device: str = "cpu",
    ) -> None:
        self.model = model
        self.dtype = dtype
        self.splits = {"train": train.to(device), "test": test.to(device)}
        self.changes: Metrics = tuple(("", f"flip_rate.{name}") for name in quantisable(weights))

    def losses(self, weights: StackedWeights, step: int) -> Float[Tensor, " R"]:
        """Loss of each replicate on its train set."""
        examples = self.splits["train"]
        logits = self.model.last_logits(weights, examples.tokens)
        return replicate_losses(logits, examples.labels, self.dtype)

    def measure(self, weights: StackedWeights, step: int) -> Float[Tensor, "metric R"]:
        """Loss and accuracy on both splits, and the squared weights."""
        measured = [
            loss_and_accuracy(self.model, weights, examples, self.dtype)
            for examples in self.splits.values()
        ]
        return torch.cat([*measured, squared_weights(weights).cpu()[None]])

    def before_update(self, weights: StackedWeights) -> StackedWeights:
        """The levels of all weights that can be quantised."""
        return matrix_levels(weights, self.model.cfg)

    def measure_change(
        self, before: StackedWeights, weights: StackedWeights
    ) -> Float[Tensor, "change R"]:
        """Share of the weights of each matrix whose level the update has flipped."""
        return flip_rates(before, matrix_levels(weights, self.model.cfg))
