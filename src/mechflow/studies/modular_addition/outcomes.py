"""One number for each trained network, out of the tidy tables: what tables and claims compare.

Every function returns a series indexed by variant and replicate.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mechflow.curves import final_value, first_step_reaching
from mechflow.figures.data import FigureData

GENERALISED = 0.99
"""Test accuracy from which a network counts as having generalised."""

SUSTAINED = 2
"""Evaluations in a row that must reach it, unless training stopped early by its own rule. Curves
are spiky: more in a row would ask how calm training is rather than when a network generalises."""

LAST_PART = 0.1
"""Share of training at its end over which the median of a spiky curve is taken."""

KEY = ["variant", "replicate"]
Network: TypeAlias = tuple[str, int]
BoolArray: TypeAlias = NDArray[np.bool_]


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


def generalisation_steps(data: FigureData) -> pd.Series:
    """The first step from which test accuracy stays at 99 % for a while; NaN if it never does.

    That is for two evaluations in a row, or for as many as the variant's early stop asks for.
    """
    return _series(
        {
            key: first_step_reaching(curve.index, curve, GENERALISED, _sustained(data, key[0]))
            for key, curve in _curves(data, "accuracy", "test").items()
        }
    )


def spectral(
    data: FigureData, quantity: str, matrix: str, model: str = "trained", weights: str = "latent"
) -> pd.Series:
    """A number of the spectra table that each network has once, such as a Gini coefficient.

    With ``weights`` "forward" it is that of the weights as the forward pass uses them: quantised
    where there are quantised weights, otherwise latent.
    """
    rows = _select(data.table("spectra"), quantity=quantity, matrix=matrix, model=model)
    if weights != "forward":
        return _by_network(rows[rows["weights"] == weights])
    quantised = _by_network(rows[rows["weights"] == "quantised"])
    return quantised.combine_first(_by_network(rows[rows["weights"] == "latent"]))


def key_frequencies(data: FigureData) -> pd.Series:
    """The key frequencies of each network, as a tuple in ascending order."""
    spectra = data.table("spectra")
    rows = _select(spectra, quantity="key_frequency").sort_values("index")
    found = {_network(key): tuple(group) for key, group in rows.groupby(KEY)["index"]}
    networks = [_network(key) for key, _ in spectra.groupby(KEY, sort=False)]
    index = pd.MultiIndex.from_tuples(networks, names=KEY)
    return pd.Series([found.get(network, ()) for network in networks], index=index, dtype=object)


def key_frequency_counts(data: FigureData) -> pd.Series:
    """The number of key frequencies of each network."""
    return key_frequencies(data).map(len).astype(float)


def neurons_explained(data: FigureData) -> pd.Series:
    """Share of neurons of which one frequency explains more than the configured share."""
    rows = _select(data.table("spectra"), quantity="neuron_fraction_explained", model="trained")
    thresholds = {
        variant: data.config(variant).spectra.key_frequencies.neuron_fraction
        for variant in rows["variant"].unique()
    }
    above = rows["value"] > rows["variant"].map(thresholds)
    return _by_network(rows.assign(value=above.astype(float)))


def accuracy_after(
    data: FigureData, intervention: str, control: str = "none", site: str = "W_E"
) -> pd.Series:
    """Test accuracy after an intervention, the mean over the draws of a random control."""
    rows = _select(
        data.table("interventions"),
        intervention=intervention,
        control=control,
        site="" if intervention == "none" else site,
        split="test",
        metric="accuracy",
    )
    return _by_network(rows)


def restricted_gap(data: FigureData) -> pd.Series:
    """Test loss of the final logits restricted to the key frequencies, minus their own [nats]."""
    rows = _select(data.table("progress"), split="test", control="none")
    rows = rows[rows["step"] == rows.groupby(KEY)["step"].transform("max")]
    restricted = _select(rows, metric="restricted_loss", definition="sum_directions")
    return _by_network(restricted) - _by_network(_select(rows, metric="loss"))


def mirrored_test_pairs(data: FigureData) -> pd.Series:
    """Share of the test pairs whose mirror image (b, a) is a train pair."""
    return _of_splits(data, lambda train: (train.T & ~train).sum() / (~train).sum())


def unordered_pairs_seen(data: FigureData) -> pd.Series:
    """Share of the unordered pairs of which at least one order is a train pair."""
    return _of_splits(data, lambda train: (train | train.T)[np.triu_indices(len(train))].mean())


def _final(curve: pd.Series) -> float:
    last = max(1, round(LAST_PART * float(curve.index[-1])))
    return final_value(curve.index, curve, last)


def _sustained(data: FigureData, variant: str) -> int:
    stop = data.config(variant).training.stop
    return stop.sustained if stop else SUSTAINED


def _of_curves(
    data: FigureData, metric: str, split: str, measure: Callable[[pd.Series], float]
) -> pd.Series:
    curves = _curves(data, metric, split)
    return _series({key: float(measure(curve)) for key, curve in curves.items()})


def _curves(data: FigureData, metric: str, split: str) -> dict[Network, pd.Series]:
    """Curves by network, each indexed by step."""
    rows = _select(data.table("curves"), metric=metric, split=split)
    groups = rows.groupby(KEY, sort=False)
    return {_network(key): curve.set_index("step")["value"] for key, curve in groups}


def _of_splits(data: FigureData, measure: Callable[[BoolArray], float]) -> pd.Series:
    """A number of each network's train mask over (a, b)."""
    found = {}
    for key, rows in data.table("dataset").groupby(KEY, sort=False):
        train = rows.pivot(index="a", columns="b", values="split") == "train"
        found[_network(key)] = float(measure(train.to_numpy()))
    return _series(found)


def _select(table: pd.DataFrame, **values: str) -> pd.DataFrame:
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def _by_network(rows: pd.DataFrame) -> pd.Series:
    """The mean value of each network's rows."""
    return rows.groupby(KEY, sort=False)["value"].mean()


def _series(values: dict[Network, float]) -> pd.Series:
    index = pd.MultiIndex.from_tuples(values, names=KEY) if values else _NO_NETWORK
    return pd.Series(list(values.values()), index=index, dtype=float)


def _network(key: Any) -> Network:
    variant, replicate = key
    return str(variant), int(replicate)


_NO_NETWORK = pd.MultiIndex.from_arrays([[], []], names=KEY)
