"""One number for each trained network, out of its training curves, whatever the study.

Every measure gives a series indexed by variant and replicate.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import pandas as pd

from mechflow.curves import final_value, first_step_reaching
from mechflow.figures.data import FigureData

LAST_PART = 0.1
"""Share of training at its end over which the median of a spiky curve is taken."""

KEY = ["variant", "replicate"]
Network: TypeAlias = tuple[str, int]


def final_values(data: FigureData, metric: str, split: str) -> pd.Series:
    """Median of a training curve over the last tenth of training."""
    return _of_curves(data, metric, split, _final)


def extreme_values(data: FigureData, metric: str, split: str) -> pd.Series:
    """The largest value of a training curve."""
    return _of_curves(data, metric, split, lambda curve: curve.max())


def extreme_steps(data: FigureData, metric: str, split: str) -> pd.Series:
    """The step at which a training curve is largest."""
    return _of_curves(
        data, metric, split, lambda curve: float(curve.index.to_numpy()[curve.argmax()])
    )


def initial_values(data: FigureData, metric: str, split: str) -> pd.Series:
    """A training curve before the first update."""
    return _of_curves(data, metric, split, lambda curve: curve.loc[0])


def steps_below(data: FigureData, metric: str, split: str, bound: float) -> pd.Series:
    """The first step at which a training curve is at a bound or below, NaN if it never is."""
    return _of_curves(
        data, metric, split, lambda curve: first_step_reaching(curve.index, -curve, -bound)
    )


def curves(data: FigureData, metric: str, split: str) -> dict[Network, pd.Series]:
    """The training curve of each network, indexed by step."""
    rows = select(data.table("curves"), metric=metric, split=split)
    groups = rows.groupby(KEY, sort=False)
    return {network(key): curve.set_index("step")["value"] for key, curve in groups}


def select(table: pd.DataFrame, **values: str | int) -> pd.DataFrame:
    """The rows in which columns have the given values."""
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def means(rows: pd.DataFrame) -> pd.Series:
    """The mean ``value`` of each network's rows."""
    return rows.groupby(KEY, sort=False)["value"].mean()


def series(values: Mapping[Network, float]) -> pd.Series:
    """Numbers of networks, indexed by variant and replicate."""
    index = pd.MultiIndex.from_tuples(values, names=KEY) if values else _NO_NETWORK
    return pd.Series(list(values.values()), index=index, dtype=float)


def network(key: Any) -> Network:
    """A group's key as variant and replicate."""
    variant, replicate = key
    return str(variant), int(replicate)


def _final(curve: pd.Series) -> float:
    last = max(1, round(LAST_PART * float(curve.index[-1])))
    return final_value(curve.index, curve, last)


def _of_curves(
    data: FigureData, metric: str, split: str, measure: Callable[[pd.Series], float]
) -> pd.Series:
    found = curves(data, metric, split)
    return series({key: float(measure(curve)) for key, curve in found.items()})


_NO_NETWORK = pd.MultiIndex.from_arrays([[], []], names=KEY)
