"""Sequences that are answered at some of their positions, a batch in every update."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from mechflow.models.factorised import StackedWeights
from mechflow.models.stacked import StackedTransformer
from mechflow.norms import squared_weights
from mechflow.training.objective import Metrics
from mechflow.training.sequences import Sequences, answer_losses, group_means


class Answers:
    """The objective of a source of batches.

    Args:
        model: the stacked architecture.
        batches: the batch of the update after so many updates, [R, n, ...]; a function of the
            step alone.
        test: sequences that are measured only.
        groups: names of the groups of answers.
        train: the finite train set, which is measured as a whole; without one, the coming batch is.
        dtype: precision of the log-softmax.
        loss_factor: factor on all losses.
        device: torch device name.
    """

    changes: Metrics = ()

    def __init__(
        self,
        model: StackedTransformer,
        batches: Callable[[int], Sequences],
        test: Sequences,
        groups: tuple[str, ...],
        *,
        train: Sequences | None = None,
        dtype: torch.dtype = torch.float64,
        loss_factor: float = 1.0,
        device: str = "cpu",
    ) -> None:
        self.model = model
        self.dtype = dtype
        self.loss_factor = loss_factor
        self.groups = groups
        self._batches = batches
        self._device = device
        self._test = test.to(device)
        self._train = train.to(device) if train else None
        names = ("loss", "accuracy", *(f"loss.{group}" for group in groups))
        measured = tuple((split, name) for split in ("train", "test") for name in names)
        self.metrics: Metrics = (*measured, ("", "squared_weights"))

    def losses(self, weights: StackedWeights, step: int) -> Float[Tensor, " R"]:
        """Mean loss of each replicate over the answers of its batch."""
        batch = self._batches(step).to(self._device)
        logits = self.model.logits_at(weights, batch.tokens, batch.positions)
        losses = answer_losses(logits, batch.targets, self.dtype)
        return self.loss_factor * losses.flatten(1).mean(1)

    def measure(self, weights: StackedWeights, step: int) -> Float[Tensor, "metric R"]:
        """Loss, accuracy and the loss of each group on both splits, and the squared weights."""
        train = self._train or self._batches(step).to(self._device)
        scores = [self.scores(weights, sequences) for sequences in (train, self._test)]
        return torch.cat([*scores, squared_weights(weights).cpu()[None]])

    def scores(self, weights: StackedWeights, sequences: Sequences) -> Float[Tensor, "score R"]:
        """Loss, accuracy, and the loss of each group; float64 on the CPU."""
        logits = self.model.logits_at(weights, sequences.tokens, sequences.positions)
        losses = self.loss_factor * answer_losses(logits, sequences.targets, self.dtype).double()
        right = (logits.argmax(-1) == sequences.targets).double().flatten(1).mean(1)
        by_group = group_means(losses, sequences.groups, len(self.groups))
        return torch.cat([losses.flatten(1).mean(1)[None], right[None], by_group.mT]).cpu()

    def before_update(self, weights: StackedWeights) -> StackedWeights:
        """Nothing is measured on updates."""
        return {}

    def measure_change(
        self, before: StackedWeights, weights: StackedWeights
    ) -> Float[Tensor, "change R"]:
        """Nothing."""
        return torch.empty(0, len(next(iter(weights.values()))), dtype=torch.float64)
