"""What claims, tables and figures compare, measured for every fold of every replicate."""

from typing import Any

import pandas as pd

from mechflow.figures.data import FigureData
from mechflow.figures.errors import FigureError

FIT = ["replicate", "fold"]
"""What one fit is: intervals are over these."""
READ = "accuracy_macro"
"""The score that is compared: the mean over held-out numbers of the share read rightly."""
LEAST_SQUARES = ("linear", "log", "log_published", "digits")
"""Probes of the table ``probes``; all others are bases of the table ``readout``."""


def accuracies(
    data: FigureData,
    variant: str,
    probe: str,
    *,
    control: str = "none",
    split: str = "test",
    metric: str = READ,
    target: str = "value",
) -> pd.DataFrame:
    """Scores of one probe: a row for each fit, a column for each layer; empty if it was not run.

    Args:
        data: the study's artefacts.
        variant: the variant.
        probe: a basis of the trained probes, or a least-squares probe as ``least_squares.<name>``.
        control: what the probe was trained on.
        split: train, valid or test numbers.
        metric: a metric of the table.
        target: for digits by least squares: all of them (value), or one place.
    """
    family, _, name = probe.rpartition(".")
    if family:
        wanted: dict[str, Any] = {"probe": name, "target": target}
        table = data.table("probes")
    else:
        wanted = {"basis": name}
        table = data.table("readout")
    wanted |= {"variant": variant, "control": control, "split": split, "metric": metric}
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table.pivot(index=FIT, columns="layer", values="value")


def above_control(scores: pd.DataFrame, control: pd.DataFrame) -> pd.DataFrame:
    """Scores of each fit minus those of the control in the same fold (selectivity).

    A fit whose fold has no control is set against the mean of those that there are.
    """
    beside = control.reindex(scores.index).fillna(control.mean())
    return (scores - beside).dropna(how="all")


def at_best_layer(
    data: FigureData, variant: str, probe: str, *, control: str = "none", metric: str = READ
) -> pd.Series:
    """Test score of each fit at the layer where its valid numbers are read best.

    The layer is chosen without the test numbers, so that the best of many layers is not the
    luckiest one. A control is looked at where the probe itself is best; where a fit's fold has
    none, it is the mean of those that there are.
    """
    valid = accuracies(data, variant, probe, split="valid", metric=metric)
    test = accuracies(data, variant, probe, control=control, metric=metric)
    if valid.empty or test.empty:
        return pd.Series(dtype="float64")
    layers = valid.idxmax(axis=1)
    beside = test.reindex(valid.index).fillna(test.mean())
    return pd.Series([beside.at[fit, layer] for fit, layer in layers.items()], index=valid.index)


def best_layer(data: FigureData, variant: str, probe: str) -> int:
    """The layer where a probe reads most on valid numbers, on average over fits."""
    mean = accuracies(data, variant, probe, split="valid").mean()
    return int(mean.index.to_numpy()[mean.to_numpy().argmax()])


def last_layer(data: FigureData, variant: str) -> int:
    """Number of the layer after the final norm."""
    table = data.table("probes")
    return int(table.loc[table["variant"] == variant, "layer"].max())


def existing_layer(wanted: int, last: int) -> int:
    """The layer that figures are to show.

    Raises:
        FigureError: the model has no such layer.
    """
    if wanted > last:
        raise FigureError(
            f"figures.layer is {wanted}, but the layers of the model are 0 to {last}: set it to "
            "one of them, or to null for the one where most numbers are read"
        )
    return wanted
