"""Scores of linear probes at one site: every target of every replicate, on train and held out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechflow.probes.logistic import fit_logistic
from mechflow.probes.ridge import PENALTIES, RidgeFit, centred_moments, fit_ridge

ROWS_PER_BATCH = 2048
"""Rows turned into float64 at a time; bounds the memory beyond the activations themselves."""

Classifier = Literal["ridge", "logistic"]
Record = tuple[str, int, str, str, float]


def linear_probe_scores(
    X: Float[Tensor, "replicate n d"],
    train_mask: Bool[Tensor, "replicate n"],
    categorical: Mapping[str, Int[Tensor, "replicate n"]],
    regression: Mapping[tuple[str, int], Float[Tensor, "replicate n"]],
    *,
    penalties: Sequence[float] = PENALTIES,
    classifier: Classifier = "ridge",
    inverse_penalty: float = 1.0,
    replicates: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Fit linear probes on the train rows and score them on train and on all other rows.

    The ridge classifier regresses on one-hot labels and answers with the largest output; it shares
    the Gram matrix and its factorisation with the regression targets. Unlike logistic regression
    it can overlook a class that lies between others in few dimensions (Hastie, Tibshirani and
    Friedman 2009, section 4.2). A class absent from train is never answered.

    R² = 1 - Σ(y - ŷ)² / Σ(y - ȳ)² with ȳ the mean over *train* rows on both splits, so a test R²
    may be negative and 0 is what knowing the train mean alone gives. It is NaN where the target
    does not differ from that mean anywhere in the split.

    Args:
        X: activations at the site.
        train_mask: rows to fit; the rest is the test split.
        categorical: labels from 0, by target name.
        regression: values, by (target name, frequency).
        penalties: grid of relative ridge penalties, see `fit_ridge`.
        classifier: how labels are read.
        inverse_penalty: C of logistic regression; not used by ridge.
        replicates: numbers of the replicates for the table; 0, 1, … by default.

    Returns:
        Columns replicate, target, frequency (0 for labels), split (train|test), metric
        (accuracy|r2), value.

    Raises:
        ValueError: for shapes that differ, an empty split, no target, negative labels, or train
            rows that are not finite.
    """
    replicates = range(len(X)) if replicates is None else replicates
    _validate(X, train_mask, categorical, regression, replicates)
    by_ridge = categorical if classifier == "ridge" else {}
    by_logistic = categorical if classifier == "logistic" else {}
    rows: list[tuple[int, str, int, str, str, float]] = []
    for index, replicate in enumerate(replicates):
        records: list[Record] = []
        for name, labels in by_logistic.items():
            records += _logistic_records(
                name, X[index], labels[index], train_mask[index], inverse_penalty
            )
        if by_ridge or regression:
            targets = _Targets(
                labels={name: labels[index] for name, labels in by_ridge.items()},
                values={key: values[index] for key, values in regression.items()},
            )
            records += _ridge_records(X[index], train_mask[index], targets, penalties)
        rows += [(replicate, *record) for record in records]
    columns = ["replicate", "target", "frequency", "split", "metric", "value"]
    return pd.DataFrame(rows, columns=columns).astype({"replicate": "int64", "frequency": "int64"})


@dataclass(frozen=True)
class _Targets:
    """All targets of one replicate, laid side by side as columns: labels one-hot, then values."""

    labels: Mapping[str, Int[Tensor, " n"]]
    values: Mapping[tuple[str, int], Float[Tensor, " n"]]

    @cached_property
    def widths(self) -> list[int]:
        return [int(labels.max()) + 1 for labels in self.labels.values()] + [1] * len(self.values)

    def columns(self, rows: Int[Tensor, " m"]) -> Float[Tensor, "m t"]:
        widths = self.widths[: len(self.labels)]
        one_hot = [
            F.one_hot(labels[rows].long(), width).double()
            for labels, width in zip(self.labels.values(), widths, strict=True)
        ]
        values = [values[rows].double()[:, None] for values in self.values.values()]
        return torch.cat([*one_hot, *values], dim=1)

    def groups(self, device: torch.device) -> Int[Tensor, " t"]:
        widths = torch.tensor(self.widths, device=device)
        return torch.arange(len(widths), device=device).repeat_interleave(widths)


def _batches(
    X: Float[Tensor, "n d"], targets: _Targets, mask: Bool[Tensor, " n"]
) -> Iterator[tuple[Float[Tensor, "m d"], Float[Tensor, "m t"]]]:
    for rows in mask.nonzero()[:, 0].split(ROWS_PER_BATCH):
        yield X[rows], targets.columns(rows)


def _ridge_records(
    X: Float[Tensor, "n d"],
    train_mask: Bool[Tensor, " n"],
    targets: _Targets,
    penalties: Sequence[float],
) -> list[Record]:
    moments = centred_moments(_batches(X, targets, train_mask))
    fit = fit_ridge(moments, penalties, targets.groups(X.device))
    train = _scores(fit, X, targets, train_mask, moments.target_mean)
    test = _scores(fit, X, targets, ~train_mask, moments.target_mean)
    names = [(name, 0, "accuracy") for name in targets.labels]
    names += [(name, frequency, "r2") for name, frequency in targets.values]
    return [
        (name, frequency, split, metric, value)
        for (name, frequency, metric), pair in zip(
            names, zip(train, test, strict=True), strict=True
        )
        for split, value in zip(("train", "test"), pair, strict=True)
    ]


def _scores(
    fit: RidgeFit,
    X: Float[Tensor, "n d"],
    targets: _Targets,
    mask: Bool[Tensor, " n"],
    train_mean: Float[Tensor, " t"],
) -> list[float]:
    """Accuracy of each label, then R² of each value, over the rows of the mask."""
    n_labels, n_values = len(targets.labels), len(targets.values)
    correct = torch.zeros(n_labels, dtype=torch.float64, device=X.device)
    residual, total = correct.new_zeros(n_values), correct.new_zeros(n_values)
    train_mean = train_mean[len(train_mean) - n_values :]
    for features, truth in _batches(X, targets, mask):
        predicted = fit.predict(features).split(targets.widths, dim=1)
        expected = truth.split(targets.widths, dim=1)
        for label in range(n_labels):
            hit = predicted[label].argmax(dim=1) == expected[label].argmax(dim=1)
            correct[label] += hit.sum()
        if n_values:
            values = torch.cat(expected[n_labels:], dim=1)
            residual += (values - torch.cat(predicted[n_labels:], dim=1)).square().sum(dim=0)
            total += (values - train_mean).square().sum(dim=0)
    r2 = torch.where(total > 0, 1 - residual / total, torch.nan)
    return torch.cat([correct / mask.sum(), r2]).tolist()


def _logistic_records(
    name: str,
    X: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    train_mask: Bool[Tensor, " n"],
    inverse_penalty: float,
) -> list[Record]:
    fit = fit_logistic(X[None], labels[None], train_mask[None], inverse_penalty)
    hit = fit.log_probabilities(X[None])[0].argmax(dim=1) == labels
    return [
        (name, 0, split, "accuracy", float(hit[mask].double().mean()))
        for split, mask in (("train", train_mask), ("test", ~train_mask))
    ]


def _validate(
    X: Float[Tensor, "replicate n d"],
    train_mask: Bool[Tensor, "replicate n"],
    categorical: Mapping[str, Int[Tensor, "replicate n"]],
    regression: Mapping[tuple[str, int], Float[Tensor, "replicate n"]],
    replicates: Sequence[int],
) -> None:
    if not categorical and not regression:
        raise ValueError("no target to probe: both categorical and regression are empty")
    if len(replicates) != len(X):
        raise ValueError(f"{len(replicates)} replicate numbers for {len(X)} stacked replicates")
    named = {"train_mask": train_mask, **categorical}
    named |= {f"{name}, frequency {k}": values for (name, k), values in regression.items()}
    for name, tensor in named.items():
        if tensor.shape != X.shape[:2]:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, the activations are {tuple(X.shape[:2])}"
            )
    for split, mask in (("train", train_mask), ("test", ~train_mask)):
        empty = [r for r, row in zip(replicates, mask, strict=True) if not row.any()]
        if empty:
            raise ValueError(f"replicate {empty[0]} has no {split} rows")
    for name, labels in categorical.items():
        if (labels < 0).any():
            raise ValueError(f"labels of {name} must be 0 or more, got {int(labels.min())}")
