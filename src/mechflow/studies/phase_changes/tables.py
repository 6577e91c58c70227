"""Tables of the phase changes study; a number x has its interval in x_low and x_high."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from mechflow.curves import censored_summary
from mechflow.figures.data import FigureData
from mechflow.statistics import Interval, clipped, geometric_mean_interval, mean_interval
from mechflow.studies import networks
from mechflow.studies.phase_changes import outcomes, variants

SPLITS = ("train", "test")
COUNTED = ("steepest_step", "t75", "t50", "t25", "width", "relative_width")
"""Numbers of a phase change that are averaged over replicates."""


def make_phase_times(data: FigureData) -> pd.DataFrame:
    """When, and how sharply, the test loss of each group of answers falls."""
    changes = outcomes.phase_changes(data)
    rows = []
    for task, variant in _by_task(data):
        for group in (outcomes.ALL, *outcomes.groups(data, variant)):
            found = networks.select(changes, variant=variant, group=group)
            row: dict[str, Any] = {
                "task": task,
                "variant": variant,
                "group": group,
                "n": len(found),
                "changed": int(found["t25"].notna().sum()),
            }
            for name in COUNTED:
                row |= _columns(name, clipped(mean_interval(found[name]), 0.0, math.inf))
            rows.append(row)
    return pd.DataFrame(rows)


def make_final_losses(data: FigureData) -> pd.DataFrame:
    """Where training ends on each split, beside what guessing and the best answer would give."""
    losses, accuracies = (
        {split: networks.final_values(data, metric, split) for split in SPLITS}
        for metric in ("loss", "accuracy")
    )
    references = {kind: outcomes.references(data, kind) for kind in ("uniform", "blind", "optimal")}
    rows = []
    for task, variant in _by_task(data):
        for split in SPLITS:
            loss, accuracy = losses[split].loc[variant], accuracies[split].loc[variant]
            rows.append(
                {
                    "task": task,
                    "variant": variant,
                    "split": split,
                    "n": len(loss),
                    **_columns("loss", geometric_mean_interval(loss)),
                    **_columns("accuracy", clipped(mean_interval(accuracy), 0.0, 1.0)),
                    **{
                        f"{kind}_loss": float(values.loc[variant].mean())
                        for kind, values in references.items()
                    },
                }
            )
    return pd.DataFrame(rows)


def make_grokking(data: FigureData) -> pd.DataFrame:
    """When networks with a finite train set learn it, and how much later the test set."""
    times = outcomes.grokking_times(data)
    rows = []
    for variant in variants.finite(data):
        found = networks.select(times, variant=variant)
        row: dict[str, Any] = {
            "task": variants.task_of(data, variant),
            "variant": variant,
            "examples": int(data.config(variant).finite.examples),
            "n": len(found),
        }
        for split in SPLITS:
            row[f"{split}_learnt"] = int(found[f"{split}_step"].notna().sum())
            row |= _columns(f"{split}_step", _censored(found[f"{split}_step"]))
        rows.append({**row, **_columns("delay", _censored(found["delay"]))})
    return pd.DataFrame(rows, columns=GROKKING_COLUMNS)


GROKKING_COLUMNS = [
    *("task", "variant", "examples", "n"),
    *("train_learnt", "train_step", "train_step_low", "train_step_high"),
    *("test_learnt", "test_step", "test_step_low", "test_step_high"),
    *("delay", "delay_low", "delay_high"),
]


def _by_task(data: FigureData) -> Iterator[tuple[str, str]]:
    """Tasks with their variants, those on infinite data first."""
    for task in variants.TASKS:
        for finite in (False, True):
            for variant in variants.of_task(data, task, finite=finite):
                yield task, variant


def _censored(steps: pd.Series) -> Interval:
    """The median, from the earliest to the latest; what never happened comes after all others."""
    found = censored_summary(steps)
    earliest = found.earliest if found.reached else math.inf
    latest = found.latest if found.reached == found.n else math.inf
    return Interval(found.median, earliest, latest, found.n)


def _columns(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.centre, f"{name}_low": interval.low, f"{name}_high": interval.high}
