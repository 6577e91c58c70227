"""One number for each trained network, out of the tidy tables: what tables and claims compare.

Every function returns a series indexed by variant and replicate.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mechflow.curves import first_step_reaching
from mechflow.figures.data import FigureData
from mechflow.studies import networks

GENERALISED = 0.99
"""Test accuracy from which a network counts as having generalised."""

SUSTAINED = 2
"""Evaluations in a row that must reach it, unless training stopped early by its own rule. Curves
are spiky: more in a row would ask how calm training is rather than when a network generalises."""

BoolArray: TypeAlias = NDArray[np.bool_]


def generalisation_steps(data: FigureData) -> pd.Series:
    """The first step from which test accuracy stays at 99 % for a while; NaN if it never does.

    That is for two evaluations in a row, or for as many as the variant's early stop asks for.
    """
    return networks.series(
        {
            key: first_step_reaching(curve.index, curve, GENERALISED, _sustained(data, key[0]))
            for key, curve in networks.curves(data, "accuracy", "test").items()
        }
    )


def spectral(
    data: FigureData, quantity: str, matrix: str, model: str = "trained", weights: str = "latent"
) -> pd.Series:
    """A number of the spectra table that each network has once, such as a Gini coefficient.

    With ``weights`` "forward" it is that of the weights as the forward pass uses them: quantised
    where there are quantised weights, otherwise latent.
    """
    rows = networks.select(data.table("spectra"), quantity=quantity, matrix=matrix, model=model)
    if weights != "forward":
        return networks.means(rows[rows["weights"] == weights])
    quantised = networks.means(rows[rows["weights"] == "quantised"])
    return quantised.combine_first(networks.means(rows[rows["weights"] == "latent"]))


def key_frequencies(data: FigureData) -> pd.Series:
    """The key frequencies of each network, as a tuple in ascending order."""
    spectra = data.table("spectra")
    rows = networks.select(spectra, quantity="key_frequency").sort_values("index")
    found = {
        networks.network(key): tuple(group) for key, group in rows.groupby(networks.KEY)["index"]
    }
    trained = [networks.network(key) for key, _ in spectra.groupby(networks.KEY, sort=False)]
    index = pd.MultiIndex.from_tuples(trained, names=networks.KEY)
    return pd.Series([found.get(network, ()) for network in trained], index=index, dtype=object)


def key_frequency_counts(data: FigureData) -> pd.Series:
    """The number of key frequencies of each network."""
    return key_frequencies(data).map(len).astype(float)


def neurons_explained(data: FigureData) -> pd.Series:
    """Share of neurons of which one frequency explains more than the configured share."""
    rows = networks.select(
        data.table("spectra"), quantity="neuron_fraction_explained", model="trained"
    )
    thresholds = {
        variant: data.config(variant).spectra.key_frequencies.neuron_fraction
        for variant in rows["variant"].unique()
    }
    above = rows["value"] > rows["variant"].map(thresholds)
    return networks.means(rows.assign(value=above.astype(float)))


def accuracy_after(
    data: FigureData, intervention: str, control: str = "none", site: str = "W_E"
) -> pd.Series:
    """Test accuracy after an intervention, the mean over the draws of a random control."""
    rows = networks.select(
        data.table("interventions"),
        intervention=intervention,
        control=control,
        site="" if intervention == "none" else site,
        split="test",
        metric="accuracy",
    )
    return networks.means(rows)


def restricted_gap(data: FigureData) -> pd.Series:
    """Test loss of the final logits restricted to the key frequencies, minus their own [nats]."""
    rows = networks.select(data.table("progress"), split="test", control="none")
    rows = rows[rows["step"] == rows.groupby(networks.KEY)["step"].transform("max")]
    restricted = networks.select(rows, metric="restricted_loss", definition="sum_directions")
    return networks.means(restricted) - networks.means(networks.select(rows, metric="loss"))


def mirrored_test_pairs(data: FigureData) -> pd.Series:
    """Share of the test pairs whose mirror image (b, a) is a train pair."""
    return _of_splits(data, lambda train: (train.T & ~train).sum() / (~train).sum())


def unordered_pairs_seen(data: FigureData) -> pd.Series:
    """Share of the unordered pairs of which at least one order is a train pair."""
    return _of_splits(data, lambda train: (train | train.T)[np.triu_indices(len(train))].mean())


def _sustained(data: FigureData, variant: str) -> int:
    stop = data.config(variant).training.stop
    return stop.sustained if stop else SUSTAINED


def _of_splits(data: FigureData, measure: Callable[[BoolArray], float]) -> pd.Series:
    """A number of each network's train mask over (a, b)."""
    found = {}
    for key, rows in data.table("dataset").groupby(networks.KEY, sort=False):
        train = rows.pivot(index="a", columns="b", values="split") == "train"
        found[networks.network(key)] = float(measure(train.to_numpy()))
    return networks.series(found)
