"""Measures what the study's claims are about; says so where the data cannot tell."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from mechflow.claims import Evidence, NotComparableError, NotRunError
from mechflow.figures.data import FigureData
from mechflow.statistics import Interval, difference_interval
from mechflow.studies import networks
from mechflow.studies.configurations import departures
from mechflow.studies.modular_addition import outcomes
from mechflow.studies.modular_addition.variants import differing_keys
from mechflow.tabular import cell, with_interval

Outcome: TypeAlias = Callable[[FigureData], pd.Series]
Measure: TypeAlias = Callable[[FigureData], Evidence]
Summary: TypeAlias = Callable[[list[float], str], Evidence]

MARGINS: Mapping[str, tuple[float, Outcome]] = {
    "logit variance explained": (
        0.1,
        lambda data: outcomes.spectral(data, "logit_variance_explained", "logits", weights=""),
    ),
    "share of neurons explained": (0.1, outcomes.neurons_explained),
    "restricted minus own test loss": (0.1, outcomes.restricted_gap),
    "accuracy without key frequencies": (
        0.1,
        lambda data: outcomes.accuracy_after(data, "remove_key"),
    ),
    "accuracy with key frequencies only": (
        0.1,
        lambda data: outcomes.accuracy_after(data, "keep_key"),
    ),
}
"""What tells whether two networks use one algorithm, and the difference that would not matter."""


def at_published_scale(variant: str, published: Mapping[str, Any], measure: Measure) -> Measure:
    """A measure that needs a variant with exactly the published values, by dotted key."""

    def checked(data: FigureData) -> Evidence:
        _require_run(data, variant)
        found = departures(data, variant, published)
        if found:
            raise NotRunError(f"{variant} has {'; '.join(found)}")
        return measure(data)

    return checked


def replicates(variant: str, outcome: Outcome, summary: Summary = Evidence.of) -> Measure:
    """An outcome of all replicates of a variant, which all must have it."""

    def measure(data: FigureData) -> Evidence:
        values = outcome(data).loc[variant]
        if values.isna().any():
            raise NotComparableError(f"{values.isna().sum()} of {len(values)} never got there")
        return summary(values.tolist(), "")

    return measure


def final_test_accuracy(variant: str) -> Measure:
    """Test accuracy at the end of training."""

    def measure(data: FigureData) -> Evidence:
        _require_run(data, variant)
        _require_generalisation(data)
        steps = outcomes.generalisation_steps(data).loc[variant]
        reached = f"{steps.notna().sum()} of {len(steps)} stayed above 99 % at some time"
        final = networks.final_values(data, "accuracy", "test").loc[variant]
        return Evidence.of_shares(final.tolist(), reached)

    return measure


def highest_accuracy_over_chance(variant: str) -> Measure:
    """Highest test accuracy in all of training, in units of 1/p."""

    def measure(data: FigureData) -> Evidence:
        _require_run(data, variant)
        best = networks.extreme_values(data, "accuracy", "test").loc[variant]
        train = networks.final_values(data, "accuracy", "train").loc[variant].mean()
        p = data.config(variant).dataset.p
        return Evidence.of((best * p).tolist(), f"mean final train accuracy {cell(train)}")

    return measure


def accuracy_without_key(variant: str) -> Measure:
    """Test accuracy after the key frequencies were projected out of the embedding."""
    return _causal(
        variant, lambda data: outcomes.accuracy_after(data, "remove_key"), Evidence.of_shares
    )


def damage_by_random(variant: str) -> Measure:
    """Accuracy that random frequencies cost, as a share of what the key frequencies cost."""

    def share(data: FigureData) -> pd.Series:
        untouched = outcomes.accuracy_after(data, "none")
        random = outcomes.accuracy_after(data, "remove_key", "random_frequencies")
        return (untouched - random) / (untouched - outcomes.accuracy_after(data, "remove_key"))

    return _causal(variant, share)


def accuracy_kept_by_key(variant: str) -> Measure:
    """Test accuracy with only the key frequencies in the embedding, as a share of its own."""
    return _causal(
        variant,
        lambda data: (
            outcomes.accuracy_after(data, "keep_key") / outcomes.accuracy_after(data, "none")
        ),
    )


def same_algorithm(variant: str, reference: str) -> Measure:
    """Whether two variants agree in what tells their algorithm, quantity by quantity."""

    def measure(data: FigureData) -> Evidence:
        one, other = (_generalised(data, name) for name in (variant, reference))
        found, notes = [], []
        for name, (margin, outcome) in MARGINS.items():
            values = outcome(data)
            difference = difference_interval(values.loc[one], values.loc[other])
            agreement = _agreement(difference, margin)
            found.append(float(agreement))
            notes.append(f"{name}: {_WORDS[agreement]} ({_text(difference)})")
        count = Interval(float(found.count(1.0)), np.nan, np.nan, len(found))
        return Evidence(count, tuple(found), "; ".join(notes))

    return measure


def epoch_difference(first: str, second: str, may_differ: frozenset[str]) -> Measure:
    """Epochs to 99 % test accuracy: the first variant's minus the second's."""

    def measure(data: FigureData) -> Evidence:
        for variant in (first, second):
            _require_run(data, variant)
        unwanted = sorted(differing_keys(data, first, second) - may_differ)
        if unwanted:
            raise NotComparableError(f"they also differ in {', '.join(unwanted)}")
        _require_generalisation(data)
        steps = outcomes.generalisation_steps(data)
        for variant in (first, second):
            missing = steps.loc[variant].isna()
            if missing.any():
                raise NotComparableError(
                    f"{missing.sum()} of {len(missing)} replicates of {variant} never reach 99 %"
                )
        return Evidence(difference_interval(steps.loc[first], steps.loc[second]))

    return measure


def pair_share(variant: str, outcome: Outcome, *, of_ordered_split: bool) -> Measure:
    """A share of pairs, over the distinct splits that the replicates of a variant have."""

    def measure(data: FigureData) -> Evidence:
        _require_run(data, variant)
        if (data.config(variant).dataset.split == "ordered") != of_ordered_split:
            raise NotComparableError(f"{variant} splits otherwise")
        values = outcome(data).loc[variant].tolist()
        shared = data.config(variant).dataset.split_seed is not None
        return Evidence.of_shares(values[:1] if shared else values)

    return measure


def excess_of_pair_share(
    variant: str, outcome: Outcome, expected: Callable[[int, float], float]
) -> Measure:
    """A share of pairs minus what a random ordered split is expected to have."""
    share = pair_share(variant, outcome, of_ordered_split=True)

    def measure(data: FigureData) -> Evidence:
        values = share(data).values
        dataset = data.config(variant).dataset
        expectation = expected(dataset.p, dataset.train_fraction)
        note = f"{cell(float(np.mean(values)))} found, {cell(expectation)} expected"
        return Evidence.of([value - expectation for value in values], note)

    return measure


def expected_mirrored_test_pairs(p: int, train_fraction: float) -> float:
    """Expected share of test pairs whose mirror image is trained on, for a random ordered split.

    A pair off the diagonal has one mirror image, in the train split with the probability of any
    other of the p^2 - 1 pairs; a pair on the diagonal is its own.
    """
    return (1 - 1 / p) * int(p * p * train_fraction) / (p * p - 1)


def expected_unordered_pairs_seen(p: int, train_fraction: float) -> float:
    """Expected share of unordered pairs with at least one order in the train split."""
    total, train = p * p, int(p * p * train_fraction)
    neither = (total - train) * (total - train - 1) / (total * (total - 1))
    off_diagonal, diagonal = p * (p - 1) / 2, p
    return (off_diagonal * (1 - neither) + diagonal * train / total) / (off_diagonal + diagonal)


def _causal(variant: str, outcome: Outcome, summary: Summary = Evidence.of) -> Measure:
    """A number for each network that generalised and has a random control to be set against."""

    def measure(data: FigureData) -> Evidence:
        good = _generalised(data, variant)
        frequencies = data.config(variant).dataset.p // 2
        few = outcomes.key_frequency_counts(data).loc[good] <= frequencies / 2
        if not few.any():
            raise NotComparableError("more than half of all frequencies are key: no random control")
        kept = [network for network, ok in zip(good, few, strict=True) if ok]
        values = outcome(data).loc[kept]
        if not np.isfinite(values).all():
            raise NotComparableError("the key frequencies do not matter, so nothing matters less")
        total = len(outcomes.key_frequency_counts(data).loc[variant])
        note = "" if len(kept) == total else f"on {len(kept)} of {total} replicates that qualify"
        return summary(values.tolist(), note)

    return measure


def _generalised(data: FigureData, variant: str) -> list[networks.Network]:
    """Networks of a variant that generalised."""
    _require_run(data, variant)
    _require_generalisation(data)
    final = networks.final_values(data, "accuracy", "test")
    good = final[final >= outcomes.GENERALISED]
    found = [key for key in good.index if key[0] == variant]
    if not found:
        raise NotComparableError(f"no replicate of {variant} generalises")
    return found


def _require_run(data: FigureData, variant: str) -> None:
    if variant not in data.variants:
        raise NotRunError(f"variant {variant} is not run")


def _require_generalisation(data: FigureData) -> None:
    """Where nothing generalises, training is too short to tell how anything does."""
    if outcomes.generalisation_steps(data).isna().all():
        steps = max(data.config(variant).training.steps for variant in data.variants)
        raise NotRunError(f"no variant generalises within {steps} steps")


def _agreement(difference: Interval, margin: float) -> int:
    """1 if the interval lies within the margin, -1 if outside, 0 if it does not tell."""
    if -margin <= difference.low and difference.high <= margin:
        return 1
    return -1 if difference.low > margin or difference.high < -margin else 0


_WORDS = {1: "same", 0: "unclear", -1: "different"}


def _text(difference: Interval) -> str:
    return f"difference {with_interval(difference.centre, difference.low, difference.high)}"
