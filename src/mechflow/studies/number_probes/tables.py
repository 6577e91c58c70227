"""Tables of the number probes study; a number x has its interval in x_low and x_high."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from mechflow.figures.data import FigureData
from mechflow.statistics import (
    Interval,
    clipped,
    jackknife_interval,
    mean_interval,
    share_interval,
)
from mechflow.studies.number_probes import answers, outcomes

PREFIX = "least_squares."
DIGITS = f"{PREFIX}digits"
CONTROLS = ("shuffled_values", "shuffled_labels", "gaussian")
SELECTIVE_TO = "shuffled_values"
"""The control task of selectivity: every number keeps one wrong code (Hewitt and Liang 2019)."""
ALL = "all"
PERCENT = 100.0


def make_accuracy(data: FigureData) -> pd.DataFrame:
    """Accuracy over test prompts of every probe at every layer, in per cent."""
    rows = []
    for variant, probe in _probes(data):
        scores = PERCENT * outcomes.accuracies(data, variant, probe, metric="accuracy")
        best = PERCENT * outcomes.at_best_layer(data, variant, probe, metric="accuracy")
        rows.append(
            {
                "variant": variant,
                "probe": probe,
                "n": len(scores),
                **_columns("best", clipped(mean_interval(best), 0.0, PERCENT)),
                **{str(layer): float(scores[layer].mean()) for layer in sorted(scores.columns)},
            }
        )
    return pd.DataFrame(rows)


def make_best(data: FigureData) -> pd.DataFrame:
    """Every probe at the layer that valid numbers choose, beside its controls."""
    rows = []
    for variant, probe in _probes(data):
        real = outcomes.at_best_layer(data, variant, probe)
        row: dict[str, Any] = {
            "variant": variant,
            "probe": probe,
            "width": _width(data, variant, probe),
            "layer": outcomes.best_layer(data, variant, probe),
            "n": len(real),
            **_columns("accuracy", _share(real)),
        }
        for control in CONTROLS:
            scores = outcomes.at_best_layer(data, variant, probe, control=control)
            row[control] = float(scores.mean())
        rows.append({**row, **_columns("selectivity", _gained(data, variant, probe, real))})
    return pd.DataFrame(rows)


def _gained(data: FigureData, variant: str, probe: str, real: pd.Series) -> Interval:
    """Selectivity, fold by fold; NaN without the control."""
    against = outcomes.at_best_layer(data, variant, probe, control=SELECTIVE_TO)
    differences = [] if against.empty else (real - against).to_list()
    return clipped(mean_interval(differences), -1.0, 1.0)


def make_addition(data: FigureData) -> pd.DataFrame:
    """The model's own answers, and what probes read, by number of digits."""
    rows = [*_own_answers(data), *_read_by_size(data)]
    return pd.DataFrame(rows, columns=ADDITION_COLUMNS)


ADDITION_COLUMNS = [
    *("variant", "reader", "number", "layer", "digits", "share", "share_low", "share_high"),
    *("n", "counted"),
]


def make_periods(data: FigureData) -> pd.DataFrame:
    """Share of power at each period where most digits are read, against permuted numbers."""
    geometry = data.table("geometry")
    rows = []
    for variant in data.variants:
        layer = outcomes.best_layer(data, variant, DIGITS)
        kept = (geometry["variant"] == variant) & (geometry["layer"] == layer)
        table = geometry[kept & (geometry["quantity"] == "period_share")]
        for period, part in table.groupby("index", sort=True):
            own, null = (
                part[part["control"] == control].set_index("draw")["value"]
                for control in ("none", "permuted")
            )
            share = jackknife_interval(float(own.loc[0]), own.drop(0).to_numpy())
            rows.append(
                {
                    "variant": variant,
                    "layer": layer,
                    "period": int(str(period)),
                    **_columns("share", clipped(share, 0.0, 1.0)),
                    "permuted_mean": float(null.mean()),
                    "permuted_max": float(null.max()),
                    "above_permuted": f"{int((null < own.loc[0]).sum())} of {len(null)}",
                }
            )
    return pd.DataFrame(rows, columns=PERIOD_COLUMNS)


PERIOD_COLUMNS = [
    *("variant", "layer", "period", "share", "share_low", "share_high"),
    *("permuted_mean", "permuted_max", "above_permuted"),
]


def _probes(data: FigureData) -> Iterator[tuple[str, str]]:
    """Every variant with each of its probes: trained codes, then least squares."""
    readout = data.table("readout")
    names = [f"{PREFIX}{name}" for name in outcomes.LEAST_SQUARES]
    for variant in data.variants:
        codes = dict.fromkeys(readout.loc[readout["variant"] == variant, "basis"])
        for probe in (*codes, *names):
            if not outcomes.accuracies(data, variant, probe).empty:
                yield variant, probe


def _width(data: FigureData, variant: str, probe: str) -> int:
    """How many numbers the probe predicts from a state."""
    if not probe.startswith(PREFIX):
        table = data.table("readout")
        kept = (table["variant"] == variant) & (table["basis"] == probe)
        return int(table.loc[kept, "width"].iloc[0])
    if probe != DIGITS:
        return 1
    table = data.table("probes")
    targets = table.loc[(table["variant"] == variant) & (table["probe"] == "digits"), "target"]
    return 10 * targets[targets.str.startswith("digit.")].nunique()


def _own_answers(data: FigureData) -> Iterator[dict[str, Any]]:
    """Right answers of the model itself, with Wilson's intervals over prompts."""
    behaviour = data.table("behaviour")
    for variant in data.variants:
        asked = behaviour[behaviour["variant"] == variant]
        labels = {"variant": variant, "reader": "model", "number": "sum", "counted": "answers"}
        for digits, part in _by_digits(asked, "expected"):
            found = share_interval(int(part["correct"].sum()), len(part))
            yield {**labels, "digits": digits, **_columns("share", found), "n": found.n}


def _read_by_size(data: FigureData) -> Iterator[dict[str, Any]]:
    """Numbers that each trained code reads at its best layer, with intervals over numbers."""
    readout = data.table("readout")
    for variant in data.variants:
        number = data.config(variant).prompts.label
        for basis in dict.fromkeys(readout.loc[readout["variant"] == variant, "basis"]):
            layer = outcomes.best_layer(data, variant, basis)
            labels = {"variant": variant, "reader": basis, "number": number, "layer": layer}
            shares = answers.by_number(data, variant, basis, layer)
            for digits, part in _by_digits(shares, "number"):
                found = _share(part["share"])
                yield {
                    **labels,
                    "digits": digits,
                    **_columns("share", found),
                    "n": found.n,
                    "counted": "numbers",
                }


def _by_digits(frame: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows by the number of digits of a column, then all of them; nothing if there are none."""
    if frame.empty:
        return
    for digits, part in frame.groupby(answers.digits_of(frame[column])):
        yield str(digits), part
    yield ALL, frame


def _share(values: pd.Series) -> Interval:
    return clipped(mean_interval(values), 0.0, 1.0)


def _columns(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.centre, f"{name}_low": interval.low, f"{name}_high": interval.high}
