"""What trained probes answer for every number: how often they are right, and how far off."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mechflow.figures.data import FigureData
from mechflow.statistics import Interval, clipped, mean_interval, share_interval
from mechflow.studies.number_probes import outcomes

PLACES = ("ones", "tens", "hundreds", "thousands", "ten thousands", "hundred thousands")
"""Decimal places, the last digit first."""


def by_number(data: FigureData, variant: str, basis: str, layer: int) -> pd.DataFrame:
    """How often each number is read rightly: columns number, share, prompts.

    A number is tested once in each replicate; its share is the mean over replicates.
    """
    rows = _rows(data, variant, basis, layer)
    rows = rows.assign(share=rows["correct"] / rows["prompts"])
    groups = rows.groupby("number", sort=True)
    return groups.agg(share=("share", "mean"), prompts=("prompts", "sum")).reset_index()


def single_errors(data: FigureData, variant: str, basis: str, layer: int) -> pd.DataFrame:
    """Numbers with exactly one wrong answer, which is therefore known: columns number, error."""
    rows = _rows(data, variant, basis, layer)
    rows = rows[rows["prompts"] - rows["correct"] == 1]
    error = (rows["mean_error"] * rows["prompts"]).round().astype("int64")
    return pd.DataFrame({"number": rows["number"], "error": error}).reset_index(drop=True)


def error_sizes(data: FigureData, variant: str, basis: str, layer: int) -> pd.DataFrame:
    """Mean error of the wrong answers to each number that has any: columns number, error."""
    rows = _rows(data, variant, basis, layer)
    wrong = rows["prompts"] - rows["correct"]
    rows, wrong = rows[wrong > 0], wrong[wrong > 0]
    error = rows["mean_error"] * rows["prompts"] / wrong
    return pd.DataFrame({"number": rows["number"], "error": error}).reset_index(drop=True)


def wrong_places(errors: pd.DataFrame, places: int) -> list[Interval]:
    """Share of wrong answers in which each decimal place is wrong, with Wilson's interval.

    Args:
        errors: columns number and error, of known answers.
        places: how many places numbers have; shorter numbers count as having zeros there.
    """
    answers = (errors["number"] + errors["error"]).to_numpy()
    numbers = errors["number"].to_numpy()
    found = []
    for place in range(places):
        differ = numbers // 10**place % 10 != answers // 10**place % 10
        found.append(share_interval(int(np.count_nonzero(differ)), len(errors)))
    return found


def in_groups(shares: pd.DataFrame, group: pd.Series) -> list[tuple[int, Interval]]:
    """Mean share of the numbers in each group, with its interval over numbers (Student's t)."""
    names, members = np.unique(group.to_numpy(dtype=np.int64), return_inverse=True)
    values = shares["share"].to_numpy(dtype=np.float64)
    return [
        (int(name), clipped(mean_interval(values[members == index]), 0.0, 1.0))
        for index, name in enumerate(names)
    ]


def digits_of(numbers: pd.Series) -> pd.Series:
    """How many decimal digits each number has."""
    return numbers.astype(str).str.len()


def size_class(numbers: pd.Series) -> pd.Series:
    """0 for one digit, 1 for two digits, then a class for each further hundred (100s are 2)."""
    hundreds = numbers // 100
    return hundreds.where(hundreds > 0, (numbers >= 10).astype("int64") - 1) + 1


def size_class_names(classes: Sequence[int]) -> list[str]:
    """``0–9``, ``10–99``, then ``1xx``, ``2xx`` for the hundreds."""
    return [{0: "0–9", 1: "10–99"}.get(c, f"{c - 1}xx") for c in classes]


def shown_layer(data: FigureData, variant: str, probe: str, wanted: int | None) -> int:
    """The configured layer, or the one where most of the valid numbers is read.

    Raises:
        FigureError: the model has no such layer.
    """
    if wanted is None:
        return outcomes.best_layer(data, variant, probe)
    return outcomes.existing_layer(wanted, outcomes.last_layer(data, variant))


def _rows(data: FigureData, variant: str, basis: str, layer: int) -> pd.DataFrame:
    table = data.table("readout_values")
    kept = (table["variant"] == variant) & (table["basis"] == basis) & (table["layer"] == layer)
    return table[kept]
