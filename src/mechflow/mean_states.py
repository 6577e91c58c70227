"""Mean state of a model for each number, what it varies along, and how exactly it is known.

Prompts with the same number differ in everything else (the other operand), and their mean is the
part of the state that depends on the number. Row n of every table of means belongs to number n.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechflow.svd import leading_sign

TINY = torch.finfo(torch.float64).tiny

ROWS_PER_BATCH = 4096
"""Rows turned into float64 at a time."""


class MeanStates(NamedTuple):
    """Mean of the rows of each number, and how many there are."""

    means: Float[Tensor, "numbers d"]
    """float64; NaN for a number without rows."""
    counts: Int[Tensor, " numbers"]


@dataclass(frozen=True)
class GroupedSums:
    """Sums of the rows of each number in each jackknife group."""

    sums: Float[Tensor, "groups numbers d"]
    counts: Int[Tensor, "groups numbers"]

    def overall(self) -> MeanStates:
        """Means over all rows."""
        return _means(self.sums.sum(dim=0), self.counts.sum(dim=0))

    def leave_one_out(self) -> Iterator[MeanStates]:
        """Means without the rows of each group in turn, for `statistics.jackknife_interval`.

        A number all of whose rows are in the group keeps its mean, with a count of 0: it could not
        be analysed otherwise, and its own sampling error is missing from the interval.
        """
        overall = self.overall()
        total, count = self.sums.sum(dim=0), self.counts.sum(dim=0)
        for sums, counts in zip(self.sums, self.counts, strict=True):
            without = _means(total - sums, count - counts)
            lost = (without.counts == 0)[:, None]
            yield MeanStates(torch.where(lost, overall.means, without.means), without.counts)


class PrincipalComponents(NamedTuple):
    """Directions of the largest variance over the numbers, largest first."""

    scores: Float[Tensor, "numbers k"]
    directions: Float[Tensor, "k d"]
    variance_share: Float[Tensor, " k"]


def mean_states(
    features: Float[Tensor, "rows d"], labels: Int[Tensor, " rows"], numbers: int
) -> MeanStates:
    """Mean state of each number 0 .. numbers - 1.

    Raises:
        ValueError: labels and rows differ in number, or a label is out of range.
    """
    one_group = torch.zeros_like(labels)
    return grouped_sums(features, labels, numbers, one_group, 1).overall()


def grouped_sums(
    features: Float[Tensor, "rows d"],
    labels: Int[Tensor, " rows"],
    numbers: int,
    group: Int[Tensor, " rows"],
    n_groups: int,
) -> GroupedSums:
    """Sum the rows of each number and group, in float64 and in one pass.

    Args:
        features: states at one layer, any floating type.
        labels: number of each row.
        numbers: how many numbers there are.
        group: group of each row, 0 .. n_groups - 1, as from `jackknife_groups`.
        n_groups: how many groups there are.

    Raises:
        ValueError: labels or groups differ from the rows in number, or are out of range.
    """
    for name, values, limit in (("labels", labels, numbers), ("groups", group, n_groups)):
        if len(values) != len(features):
            raise ValueError(f"{len(values)} {name} for {len(features)} rows")
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < limit:
            low, high = int(values.min()), int(values.max())
            raise ValueError(f"{name} must be 0 .. {limit - 1}, found {low} .. {high}")
    cell = group.long() * numbers + labels.long()
    size = (n_groups * numbers, features.shape[1])
    sums = torch.zeros(size, dtype=torch.float64, device=features.device)
    for rows, cells in zip(features.split(ROWS_PER_BATCH), cell.split(ROWS_PER_BATCH), strict=True):
        sums.index_add_(0, cells, rows.double())
    counts = torch.bincount(cell, minlength=n_groups * numbers)
    return GroupedSums(sums.unflatten(0, (n_groups, numbers)), counts.view(n_groups, numbers))


def jackknife_groups(
    labels: Int[Tensor, " rows"], n_groups: int, generator: torch.Generator
) -> Int[Tensor, " rows"]:
    """Deal the rows of each number out to groups, as evenly as their number allows.

    Rows in random order within a number go to groups in turn, each number starting where the one
    before ended, so groups differ by at most one row, in all and within each number.

    Raises:
        ValueError: there are fewer than two groups.
    """
    if n_groups < 2:
        raise ValueError(f"a jackknife needs at least 2 groups, not {n_groups}")
    shuffled = torch.randperm(len(labels), generator=generator).to(labels.device)
    order = shuffled[labels[shuffled].argsort(stable=True)]
    group = torch.empty_like(labels, dtype=torch.int64)
    group[order] = torch.arange(len(labels), device=labels.device) % n_groups
    return group


def principal_components(means: Float[Tensor, "numbers d"], count: int) -> PrincipalComponents:
    """Principal components of the mean states over the numbers, each number weighted alike.

    Scores have the units of the states; signs follow `svd.leading_sign`.

    Raises:
        ValueError: a mean is not finite, as that of a number without rows.
    """
    require_all_numbers(means)
    centred = means.double() - means.double().mean(dim=0)
    # Of many more numbers than dimensions, the covariance is decomposed in a third of the time.
    variance, directions = torch.linalg.eigh(centred.T @ centred)
    share = (variance.clamp_min(0) / variance.clamp_min(0).sum().clamp_min(TINY)).flip(0)[:count]
    directions = directions.flip(1)[:, :count]
    scores = centred @ directions
    sign = leading_sign(scores)
    return PrincipalComponents(scores * sign, (directions * sign).T.contiguous(), share)


def require_all_numbers(means: Float[Tensor, "numbers d"]) -> None:
    """Check that every number has a mean state.

    Raises:
        ValueError: names the numbers that have none.
    """
    missing = (~means.isfinite().all(dim=1)).nonzero()[:, 0].tolist()
    if missing:
        named = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
        raise ValueError(
            f"{len(missing)} of {len(means)} numbers have no finite mean state ({named}): "
            "every number must occur in at least one prompt"
        )


def _means(sums: Float[Tensor, "numbers d"], counts: Int[Tensor, " numbers"]) -> MeanStates:
    return MeanStates(sums / counts[:, None], counts)
