"""What least-squares probes of a number regress on, and how their predictions are scored.

Metrics of the linear probe (target n) and of the logarithmic probe (target log(1 + n)):

- accuracy: the prediction, rounded, is the number. Nothing is clipped to the range of numbers.
- mean_absolute_error: of the prediction before rounding, in units of 1.
- r2: 1 - Σ(y - ŷ)² / Σ(y - ȳ)² of the regression's own target, ȳ its mean over *train* rows.

`log` inverts with expm1; `log_published` with exp(·) + 1, as a published notebook does, which
adds 2 to every answer. The digit probe answers each decimal place with the largest of ten outputs
(accuracy of digit.0 for the ones, digit.1 for the tens, ...); its value is right if all places are.

accuracy is over prompts, accuracy_macro is the mean over numbers of the accuracy of each.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

LARGEST_LOG = 40.0
"""Logarithmic predictions are cut here: exp stays finite, and far above any number in use."""

COLUMNS = ["probe", "target", "fold", "split", "metric", "value"]

REGRESSIONS = ("linear", "log")
ROUNDED = ("linear", "log", "log_published")


class NumberTargets:
    """Regression targets of the numbers 0 .. numbers - 1: n, log(1 + n), each digit one-hot."""

    def __init__(self, numbers: int, device: torch.device | str = "cpu") -> None:
        self.numbers = numbers
        self.device = torch.device(device)

    @cached_property
    def places(self) -> int:
        """Decimal places of the largest number."""
        return len(str(self.numbers - 1))

    @cached_property
    def digits(self) -> Int[Tensor, "numbers places"]:
        """Digits of each number, ones first, with leading zeros."""
        n = torch.arange(self.numbers, device=self.device)
        return torch.stack([n // 10**place % 10 for place in range(self.places)], dim=1)

    @cached_property
    def regressions(self) -> Float[Tensor, "numbers 2"]:
        """N and log(1 + n)."""
        n = torch.arange(self.numbers, device=self.device, dtype=torch.float64)
        return torch.stack([n, n.log1p()], dim=1)

    @cached_property
    def table(self) -> Float[Tensor, "numbers t"]:
        """All targets side by side."""
        one_hot = F.one_hot(self.digits, 10).flatten(1).double()
        return torch.cat([self.regressions, one_hot], dim=1)

    @cached_property
    def penalty_groups(self) -> Int[Tensor, " t"]:
        """Targets with the same number share a penalty: the ten classes of a place."""
        widths = torch.tensor([1, 1, *[10] * self.places], device=self.device)
        return torch.arange(len(widths), device=self.device).repeat_interleave(widths)


@dataclass(frozen=True)
class NumberScores:
    """Sums over the rows of each number, so that every score of every split is a ratio of them."""

    count: Int[Tensor, " numbers"]
    rounded: Float[Tensor, "folds numbers 3"]
    """Hits of linear, log and log_published."""
    places: Float[Tensor, "folds numbers places_and_value"]
    """Hits of each decimal place, and of all at once."""
    squared_error: Float[Tensor, "folds numbers 2"]
    absolute_error: Float[Tensor, "folds numbers 2"]
    targets: NumberTargets

    @classmethod
    def empty(cls, folds: int, targets: NumberTargets) -> "NumberScores":
        """Sums over no rows."""

        def zeros(columns: int) -> Tensor:
            shape = (folds, targets.numbers, columns)
            return torch.zeros(shape, dtype=torch.float64, device=targets.device)

        count = torch.zeros(targets.numbers, dtype=torch.int64, device=targets.device)
        return cls(count, zeros(3), zeros(targets.places + 1), zeros(2), zeros(2), targets)


def score_predictions(
    predicted: Float[Tensor, "folds m t"],
    labels: Int[Tensor, " m"],
    targets: NumberTargets,
    scores: NumberScores,
) -> None:
    """Add the scores of a batch of rows to the sums.

    Args:
        predicted: predictions of the columns of `NumberTargets.table`.
        labels: the numbers that were to be read.
        targets: what was regressed on.
        scores: sums that are added to, in place.
    """
    n = labels.double()
    linear, log = predicted[..., 0], predicted[..., 1].clamp_max(LARGEST_LOG)
    answers = torch.stack([linear, log.expm1(), log.exp() + 1], dim=-1)
    digits = predicted[..., 2:].unflatten(-1, (targets.places, 10)).argmax(dim=-1)
    places = digits == targets.digits[labels]
    value = places.all(dim=-1, keepdim=True)
    sums = [
        (scores.rounded, answers.round() == n[:, None]),
        (scores.places, torch.cat([places, value], dim=-1)),
        (scores.squared_error, (predicted[..., :2] - targets.regressions[labels]).square()),
        (scores.absolute_error, (answers[..., :2] - n[:, None]).abs()),
    ]
    for total, terms in sums:
        total.index_add_(1, labels.long(), terms.double())
    scores.count.add_(torch.bincount(labels, minlength=targets.numbers))


def tidy(
    scores: NumberScores,
    train_means: Float[Tensor, "folds t"],
    splits: Mapping[str, Bool[Tensor, "folds numbers"]],
    folds: Sequence[int],
) -> pd.DataFrame:
    """One row for each probe, target, fold, split and metric; splits without rows are left out."""
    records = []
    for index, fold in enumerate(folds):
        for split, masks in splits.items():
            mask = masks[index].to(scores.count.device) & (scores.count > 0)
            if mask.any():
                records += [
                    (probe, target, fold, split, metric, value)
                    for probe, target, metric, value in _records(
                        scores, index, mask, train_means[index, : len(REGRESSIONS)]
                    )
                ]
    return pd.DataFrame(records, columns=COLUMNS).astype({"fold": "int64", "value": "float64"})


def _records(
    scores: NumberScores,
    fold: int,
    mask: Bool[Tensor, " numbers"],
    train_mean: Float[Tensor, " 2"],
) -> Iterator[tuple[str, str, str, float]]:
    """Probe, target, metric and value of every score of one fold on the numbers of the mask."""
    count = scores.count[mask].double()[:, None]
    for probe, hits in zip(ROUNDED, scores.rounded[fold, mask].T, strict=True):
        yield from _accuracies(probe, "value", hits, count[:, 0])
    deviation = (scores.targets.regressions[mask] - train_mean).square()
    total = (count * deviation).sum(dim=0)
    residual = scores.squared_error[fold, mask].sum(dim=0)
    r2 = torch.where(total > 0, 1 - residual / total, math.nan).tolist()
    error = (scores.absolute_error[fold, mask].sum(dim=0) / count.sum()).tolist()
    for index, probe in enumerate(REGRESSIONS):
        yield probe, "value", "r2", r2[index]
        yield probe, "value", "mean_absolute_error", error[index]
    names = [*(f"digit.{place}" for place in range(scores.targets.places)), "value"]
    for target, hits in zip(names, scores.places[fold, mask].T, strict=True):
        yield from _accuracies("digits", target, hits, count[:, 0])


def _accuracies(
    probe: str, target: str, hits: Float[Tensor, " m"], count: Float[Tensor, " m"]
) -> Iterator[tuple[str, str, str, float]]:
    yield probe, target, "accuracy", float(hits.sum() / count.sum())
    yield probe, target, "accuracy_macro", float((hits / count).mean())
