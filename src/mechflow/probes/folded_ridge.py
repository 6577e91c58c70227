"""Least-squares probes of a number, over folds of numbers that share one pass over the prompts.

Rows are grouped by the folds that fit on their number. The moments of each group are summed once,
and the moments of each fold's train rows are those of the groups it keeps, so one more fold costs
a factorisation and no pass over the rows.
"""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechflow.probes.number_scores import NumberScores, NumberTargets, score_predictions, tidy
from mechflow.probes.ridge import (
    PENALTIES,
    TOO_FEW_ROWS,
    Moments,
    RidgeFit,
    accumulate_moments,
    combine,
    fit_ridge,
)

ROWS_PER_BATCH = 2048
"""Rows turned into float64 at a time; bounds the memory beyond the features themselves."""

GROUPS_AT_ONCE = 16
"""Groups whose Gram matrices are held at a time, beside one for each fold."""

Splits = Mapping[str, Bool[Tensor, "folds numbers"]]


def folded_ridge_scores(
    features: Float[Tensor, "rows d"],
    labels: Int[Tensor, " rows"],
    splits: Splits,
    *,
    folds: Sequence[int] | None = None,
    penalties: Sequence[float] = PENALTIES,
) -> pd.DataFrame:
    """Fit linear, logarithmic and digit probes in every fold, and score them on every split.

    All targets of a fold share one Gram matrix; its penalty is chosen on the train rows
    (`fit_ridge`), for n, for log(1 + n) and for each decimal place on its own.

    Args:
        features: states at one layer, any floating type; sums are float64.
        labels: the number that is read from each row, 0 .. numbers - 1.
        splits: numbers of each split in each fold. Those of `train` are fitted; the other splits,
            such as `valid` and `test`, are only scored. A number may be in no split of a fold.
        folds: names of the folds for the table; 0, 1, ... by default.
        penalties: grid of relative ridge penalties.

    Returns:
        Columns probe (linear|log|log_published|digits), target (value|digit.0|digit.1|...,
        with digit.0 the ones), fold, split, metric, value; see `number_scores` for the metrics.
        A split without any row is left out.

    Raises:
        ValueError: for shapes that differ, a label out of range, splits that overlap, a fold with
            fewer than two train rows, or a row that is not finite.
    """
    _validate(features, labels, splits, folds)
    train = splits["train"].to(features.device)
    targets = NumberTargets(train.shape[1], features.device)
    moments = fold_moments(features, labels, targets.table, train)
    fits = [fit_ridge(part, penalties, targets.penalty_groups) for part in moments]
    scores = score_fits(features, labels, fits, targets)
    train_means = torch.stack([part.target_mean for part in moments])
    return tidy(scores, train_means, splits, range(len(train)) if folds is None else folds)


def fold_moments(
    features: Float[Tensor, "rows d"],
    labels: Int[Tensor, " rows"],
    targets: Float[Tensor, "numbers t"],
    train: Bool[Tensor, "folds numbers"],
) -> list[Moments]:
    """Moments of the train rows of every fold, from one pass over the rows.

    Args:
        features: one row per prompt.
        labels: number of each row.
        targets: what is regressed on, for each number.
        train: numbers that each fold fits.

    Raises:
        ValueError: if a fold has fewer than two train rows or a row is not finite.
    """
    patterns, group_of_number = train.unique(dim=1, return_inverse=True)
    group_of_row = group_of_number[labels]
    fitted = [group for group in range(patterns.shape[1]) if patterns[:, group].any()]
    merged: list[list[Moments]] = [[] for _ in train]
    for start in range(0, len(fitted), GROUPS_AT_ONCE):
        chunk = fitted[start : start + GROUPS_AT_ONCE]
        parts = _group_moments(features, labels, targets, group_of_row, chunk)
        for fold, kept in enumerate(patterns):
            chosen = merged[fold] + [part for group, part in parts.items() if kept[group]]
            merged[fold] = [combine(chosen)] if len(chosen) > 1 else chosen
    for fold, moments in enumerate(merged):
        rows = sum(part.count for part in moments)
        if rows < 2:
            raise ValueError(f"in fold {fold}, " + TOO_FEW_ROWS.format(rows))
    return [moments for (moments,) in merged]


def score_fits(
    features: Float[Tensor, "rows d"],
    labels: Int[Tensor, " rows"],
    fits: Sequence[RidgeFit],
    targets: NumberTargets,
) -> NumberScores:
    """Scores of the fits of all folds on all rows, summed over the rows of each number.

    Raises:
        ValueError: a prediction is not finite.
    """
    weights = torch.cat([fit.weights for fit in fits], dim=1)
    bias = torch.cat([fit.bias for fit in fits])
    scores = NumberScores.empty(len(fits), targets)
    for rows in torch.arange(len(features), device=features.device).split(ROWS_PER_BATCH):
        predicted = torch.addmm(bias, features[rows].double(), weights)
        predicted = predicted.unflatten(1, (len(fits), -1)).transpose(0, 1)
        score_predictions(predicted, labels[rows], targets, scores)
    if not scores.squared_error.isfinite().all():
        raise ValueError("a prediction is not finite, as the features of its row may not be")
    return scores


def _group_moments(
    features: Float[Tensor, "rows d"],
    labels: Int[Tensor, " rows"],
    targets: Float[Tensor, "numbers t"],
    group_of_row: Int[Tensor, " rows"],
    groups: Sequence[int],
) -> dict[int, Moments]:
    """Moments of each group that has rows."""

    def batches(rows: Int[Tensor, " m"]) -> Iterator[tuple[Tensor, Tensor]]:
        for part in rows.split(ROWS_PER_BATCH):
            yield features[part], targets[labels[part]]

    rows_of = {group: (group_of_row == group).nonzero()[:, 0] for group in groups}
    return {g: accumulate_moments(batches(rows)) for g, rows in rows_of.items() if len(rows)}


def _validate(
    features: Float[Tensor, "rows d"],
    labels: Int[Tensor, " rows"],
    splits: Splits,
    folds: Sequence[int] | None,
) -> None:
    if "train" not in splits:
        raise ValueError(f"no split is called 'train', only {', '.join(splits) or 'nothing'}")
    n_folds, numbers = splits["train"].shape
    if folds is not None and len(folds) != n_folds:
        raise ValueError(f"{len(folds)} names of folds for {n_folds} folds")
    if len(labels) != len(features):
        raise ValueError(f"{len(labels)} labels for {len(features)} rows")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < numbers:
        raise ValueError(
            f"labels must be 0 .. {numbers - 1}, found {int(labels.min())} .. {int(labels.max())}"
        )
    shapes = {name: tuple(mask.shape) for name, mask in splits.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"splits of different shapes: {shapes}")
    overlap = torch.stack(list(splits.values())).sum(dim=0) > 1
    if overlap.any():
        fold, number = overlap.nonzero()[0].tolist()
        raise ValueError(f"in fold {fold} the number {number} is in more than one split")
