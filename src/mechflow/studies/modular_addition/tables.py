"""Tables of the modular addition study; a number x has its interval in x_low and x_high."""

import math

import numpy as np
import pandas as pd

from mechflow.curves import censored_summary
from mechflow.figures.data import FigureData
from mechflow.statistics import (
    Interval,
    clipped,
    compare_groups,
    difference_interval,
    geometric_mean_interval,
    mean_interval,
)
from mechflow.studies import networks
from mechflow.studies.modular_addition import outcomes
from mechflow.studies.modular_addition.variants import matched_to

REFERENCE = "full"
"""The full-precision variant that quantised ones of the same architecture are compared with."""


def make_training(data: FigureData) -> pd.DataFrame:
    """When each variant generalised and where its training ended."""
    steps = outcomes.generalisation_steps(data)
    columns = {
        "train_loss": networks.final_values(data, "loss", "train"),
        "test_loss": networks.final_values(data, "loss", "test"),
    }
    accuracy = networks.final_values(data, "accuracy", "test")
    rows = []
    for variant in data.variants:
        reached = censored_summary(steps.loc[variant])
        latest = reached.latest if reached.reached == reached.n else math.inf
        earliest = reached.earliest if reached.reached else math.inf
        epoch = Interval(reached.median, earliest, latest, reached.n)
        rows.append(
            {
                "variant": variant,
                "n": reached.n,
                "generalised": reached.reached,
                **_columns("epoch_99", epoch),
                **{
                    key: value
                    for name, losses in columns.items()
                    for key, value in _columns(
                        name, geometric_mean_interval(losses.loc[variant])
                    ).items()
                },
                **_columns("test_accuracy", _share(accuracy.loc[variant])),
            }
        )
    return pd.DataFrame(rows)


def make_spectra(data: FigureData) -> pd.DataFrame:
    """Key frequencies of each variant, and how well they explain neurons and logits."""
    keys = outcomes.key_frequencies(data)
    counts = outcomes.key_frequency_counts(data)
    shares = {
        "neurons_explained": outcomes.neurons_explained(data),
        "logit_variance_explained": outcomes.spectral(
            data, "logit_variance_explained", "logits", weights=""
        ),
        "gini_W_E": outcomes.spectral(data, "gini", "W_E"),
        "gini_W_L": outcomes.spectral(data, "gini", "W_L"),
        "gini_W_L_quantised": outcomes.spectral(data, "gini", "W_L", weights="quantised"),
    }
    rows = []
    for variant in data.variants:
        row = {
            "variant": variant,
            "n": len(counts.loc[variant]),
            **_columns(
                "key_frequencies", clipped(mean_interval(counts.loc[variant]), 0.0, math.inf)
            ),
        }
        for name, values in shares.items():
            row |= _columns(name, _share(_of(values, variant)))
        rows.append({**row, "frequencies": _listed(keys.loc[variant])})
    return pd.DataFrame(rows)


def make_effective_ranks(data: FigureData) -> pd.DataFrame:
    """Effective rank of W_E and W_L, beside a Gaussian matrix and the untrained network's."""
    rows = []
    for matrix in ("W_E", "W_L"):
        columns = {
            "trained": _rank(data, matrix, "trained", "latent"),
            "quantised": _rank(data, matrix, "trained", "quantised"),
            "gaussian": _rank(data, matrix, "gaussian", "latent"),
            "untrained": _rank(data, matrix, "untrained", "latent"),
        }
        for variant in data.variants:
            row: dict[str, object] = {
                "matrix": matrix,
                "variant": variant,
                "n": len(columns["trained"].loc[variant]),
            }
            for name, values in columns.items():
                row |= _columns(name, mean_interval(_of(values, variant)))
            rows.append(row)
    return pd.DataFrame(rows)


def make_comparison(data: FigureData) -> pd.DataFrame:
    """Quantised variants against the full-precision one of the same architecture.

    P values are those of Mann-Whitney tests, corrected by Holm's method over the variants that one
    quantity compares.
    """
    pairs = [(variant, REFERENCE) for variant in matched_to(data, REFERENCE)]
    tables = []
    for quantity, values in compared_quantities(data).items():
        frame = values.rename("value").reset_index()
        table = compare_groups(frame, "variant", pairs)
        intervals = [_difference(values, one, other) for one, other in pairs]
        table["difference_low"] = [interval.low for interval in intervals]
        table["difference_high"] = [interval.high for interval in intervals]
        tables.append(table.assign(quantity=quantity))
    renamed = {"first": "variant", "second": "reference"}
    return pd.concat(tables, ignore_index=True).rename(columns=renamed)[COMPARISON_COLUMNS]


COMPARISON_COLUMNS = [
    *("quantity", "variant", "reference", "difference", "difference_low", "difference_high"),
    *("cliffs_delta", "p_value", "p_holm", "n_first", "n_second"),
]


def compared_quantities(data: FigureData) -> dict[str, pd.Series]:
    """What networks are compared by: one number for each of them, by name."""
    return {
        "epoch_99": outcomes.generalisation_steps(data),
        "log10_test_loss": _log10(networks.final_values(data, "loss", "test")),
        "test_accuracy": networks.final_values(data, "accuracy", "test"),
        "key_frequencies": outcomes.key_frequency_counts(data),
        "neurons_explained": outcomes.neurons_explained(data),
        "logit_variance_explained": outcomes.spectral(
            data, "logit_variance_explained", "logits", weights=""
        ),
        "gini_W_E": outcomes.spectral(data, "gini", "W_E"),
        "gini_W_L": outcomes.spectral(data, "gini", "W_L", weights="forward"),
        "effective_rank_W_E": outcomes.spectral(data, "effective_rank", "W_E"),
        "effective_rank_W_L": outcomes.spectral(data, "effective_rank", "W_L", weights="forward"),
        "restricted_loss_minus_loss": outcomes.restricted_gap(data),
        "accuracy_without_key_frequencies": outcomes.accuracy_after(data, "remove_key"),
        "accuracy_with_key_frequencies_only": outcomes.accuracy_after(data, "keep_key"),
    }


def _rank(data: FigureData, matrix: str, model: str, weights: str) -> pd.Series:
    return outcomes.spectral(data, "effective_rank", matrix, model, weights)


def _of(values: pd.Series, variant: str) -> pd.Series:
    """Values of a variant; none if it has no such number."""
    return values[values.index.get_level_values("variant") == variant]


def _difference(values: pd.Series, first: str, second: str) -> Interval:
    return difference_interval(_of(values, first), _of(values, second))


def _share(values: pd.Series) -> Interval:
    return clipped(mean_interval(values), 0.0, 1.0)


def _columns(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.centre, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _log10(values: pd.Series) -> pd.Series:
    """Logarithms; a loss that underflowed to 0 counts as the smallest positive number."""
    return np.log10(values.clip(lower=np.finfo(np.float64).tiny))


def _listed(keys: pd.Series) -> str:
    """Key frequencies of each replicate: ``r0: 3 7 11; r1: 2 9``."""
    return "; ".join(f"r{replicate}: {' '.join(map(str, k))}" for replicate, k in keys.items())
