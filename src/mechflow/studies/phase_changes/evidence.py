"""Measures what the study's claims about training curves are about, or says why it cannot."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from mechflow.claims import Evidence, NotComparableError, NotRunError
from mechflow.figures.data import FigureData
from mechflow.phase import drop_times
from mechflow.statistics import difference_interval
from mechflow.studies import configurations, networks
from mechflow.studies.phase_changes import outcomes, variants
from mechflow.tabular import cell

Measure: TypeAlias = Callable[[FigureData], Evidence]
OfVariant: TypeAlias = Callable[[FigureData, str], Evidence]

SMOOTHED = 5
"""Records of a curve over which a running median is taken. It moves no monotone curve."""


def largest_relative_width(task: str, *, of_groups: bool = True) -> Measure:
    """Width of the widest phase change, in units of its time; NaN where a loss has none."""

    def measure(data: FigureData) -> Evidence:
        variant = plain_variant(data, task, finite=False)
        changes = _changes_of(data, variant, of_groups=of_groups)
        widths = changes.pivot(index="replicate", columns="group", values="relative_width")
        missing = int(widths.isna().any(axis=1).sum())
        notes = [variant]
        if of_groups and widths.notna().any(axis=None):
            notes.append(_extremes(widths))
        if missing:
            notes.append(f"{missing} of {len(widths)} replicates have a loss that does not fall")
        return Evidence.of(widths.max(axis=1, skipna=False).tolist(), "; ".join(notes))

    return measure


def spread_of_times(task: str) -> Measure:
    """Latest minus earliest phase change of a network's groups, in units of their mean time."""

    def measure(data: FigureData) -> Evidence:
        variant = plain_variant(data, task, finite=False)
        changes = _changes_of(data, variant, of_groups=True)
        times = changes.pivot(index="replicate", columns="group", values="t50")
        spread = np.ptp(times.to_numpy(), axis=1) / times.mean(axis=1, skipna=False)
        return Evidence.of(reached(spread), variant)

    return measure


def generalisation_gap(task: str) -> Measure:
    """Test minus train loss, the mean over all of training, as a share of the blind loss."""

    def measure(data: FigureData) -> Evidence:
        variant = plain_variant(data, task, finite=False)
        train, test = (networks.curves(data, "loss", split) for split in ("train", "test"))
        gaps = networks.series({key: (test[key] - train[key]).mean() for key in test})
        shares = gaps / outcomes.references(data, "blind")
        return Evidence.of(shares.loc[variant].tolist(), variant)

    return measure


def grokking_delay(task: str) -> Measure:
    """Steps until the test examples are learnt, in units of those for the train examples."""

    def measure(data: FigureData) -> Evidence:
        variant = plain_variant(data, task, finite=True)
        times = networks.select(outcomes.grokking_times(data), variant=variant)
        steps = data.config(variant).training.steps
        n = len(times)
        for split in ("train", "test"):
            if times[f"{split}_step"].isna().all():
                raise NotRunError(
                    f"{variant}: no replicate learns the {split} examples within {steps} steps"
                )
        never = int(times["test_step"].isna().sum())
        note = f"{variant}: train examples learnt at {cell(float(times['train_step'].mean()))}"
        if never:
            note += f"; {never} of {n} never learn the test examples within {steps} steps"
        return Evidence.of_positive((times["test_step"] / times["train_step"]).tolist(), note)

    return measure


def loss_without_second_layer(data: FigureData) -> Evidence:
    """Final test loss of a one-layer model, in units of what can be told by positions alone."""
    variant = _control(data)
    final = networks.final_values(data, "loss", "test").loc[variant]
    plateau = outcomes.references(data, "positional").loc[variant]
    note = f"{variant}; {cell(float(final.mean()))} against {cell(float(plateau.mean()))} nats"
    return Evidence.of((final / plateau).tolist(), note)


def fall_by_second_layer(data: FigureData) -> Evidence:
    """By how much more of the way to the best loss the matching model of two layers comes."""
    deep, flat = plain_variant(data, "induction", finite=False), _control(data)
    sections = ("data", "model", "training")
    other = configurations.differing_keys(data, deep, flat, sections) - {"model.n_layers"}
    if other:
        raise NotComparableError(f"{deep} and {flat} also differ in {', '.join(sorted(other))}")
    fall = _fall(data)
    return Evidence(difference_interval(fall.loc[deep], fall.loc[flat]), (), f"{deep}, {flat}")


def at_published_scale(published: Mapping[str, Any], measure: OfVariant) -> Measure:
    """A measure of the variant that has exactly the published values, by dotted key."""

    def checked(data: FigureData) -> Evidence:
        candidates = variants.of_task(data, published["data.task"])
        if not candidates:
            raise NotRunError(f"no variant on {published['data.task']} is run")
        found = {name: configurations.departures(data, name, published) for name in candidates}
        nearest = min(candidates, key=lambda name: len(found[name]))
        if found[nearest]:
            raise NotRunError(f"{nearest} has {'; '.join(found[nearest])}")
        return measure(data, nearest)

    return checked


def initial_train_loss(data: FigureData, variant: str) -> Evidence:
    """Train loss before the first update."""
    initial = networks.initial_values(data, "loss", "train").loc[variant]
    return Evidence.of(initial.tolist(), variant)


def final_train_loss(data: FigureData, variant: str) -> Evidence:
    """Train loss at the end, the median over the last tenth of training."""
    final = networks.final_values(data, "loss", "train").loc[variant]
    return Evidence.of_positive(final.tolist(), variant)


def step_of_loss(bound: float) -> OfVariant:
    """Step at which the smoothed train loss falls to a bound, interpolated between evaluations."""

    def measure(data: FigureData, variant: str) -> Evidence:
        curves = networks.curves(data, "loss", "train")
        steps = networks.series(
            {
                key: _first_time_below(_smoothed(curve), bound)
                for key, curve in curves.items()
                if key[0] == variant
            }
        )
        return Evidence.of_positive(reached(steps), variant)

    return measure


def loss_at(step: float) -> OfVariant:
    """Smoothed train loss at a step, interpolated between evaluations."""

    def measure(data: FigureData, variant: str) -> Evidence:
        values = [
            float(np.interp(step, curve.index, _smoothed(curve)))
            for key, curve in networks.curves(data, "loss", "train").items()
            if key[0] == variant
        ]
        return Evidence.of_positive(values, variant)

    return measure


def plain_variant(data: FigureData, task: str, *, finite: bool) -> str:
    """The first of `variants.plain`.

    Raises:
        NotRunError: there is none.
    """
    found = variants.plain(data, task, finite=finite)
    if not found:
        raise NotRunError(f"no variant on {task} with {'' if finite else 'in'}finite data is run")
    return found[0]


@lru_cache(maxsize=1)
def phase_changes(data: FigureData) -> pd.DataFrame:
    """`outcomes.phase_changes`, which several claims need, computed once."""
    return outcomes.phase_changes(data)


def reached(values: pd.Series) -> list[float]:
    """Values of all replicates.

    Raises:
        NotComparableError: some are missing, as something never happened.
    """
    if values.isna().any():
        raise NotComparableError(f"{values.isna().sum()} of {len(values)} never got there")
    return [float(value) for value in values]


def _changes_of(data: FigureData, variant: str, *, of_groups: bool) -> pd.DataFrame:
    changes = networks.select(phase_changes(data), variant=variant)
    return changes[(changes["group"] != outcomes.ALL) == of_groups]


def _extremes(widths: pd.DataFrame) -> str:
    """Which groups change most and least gradually, on average over replicates."""
    means = widths.mean(axis=0)
    widest, narrowest = (
        f"{group} {cell(round(float(means.loc[group]), 2))}"
        for group in (str(means.idxmax()), str(means.idxmin()))
    )
    return f"from {narrowest} to {widest}"


def _control(data: FigureData) -> str:
    for name in variants.of_task(data, "induction", finite=False):
        if variants.is_negative_control(data, name):
            return name
    raise NotRunError("no variant on induction with one layer is run")


def _fall(data: FigureData) -> pd.Series:
    """Share of the way from the blind to the best loss, at the end of training."""
    blind, optimal = (outcomes.references(data, kind) for kind in ("blind", "optimal"))
    return (blind - networks.final_values(data, "loss", "test")) / (blind - optimal)


def _smoothed(curve: pd.Series) -> pd.Series:
    return outcomes.above_zero(curve.rolling(SMOOTHED, center=True, min_periods=1).median())


def _first_time_below(curve: pd.Series, bound: float) -> float:
    """Half of a drop from twice the bound to nothing is the bound."""
    return drop_times(curve.index, curve, 2 * bound, end=0.0, sustained=1).t50
