"""Measures what the study's claims about circuits are about, or says why it cannot."""

from typing import TypeAlias

import numpy as np
import pandas as pd

from mechflow.claims import Evidence, NotComparableError, NotRunError
from mechflow.figures.data import FigureData
from mechflow.phase import drop_times
from mechflow.studies import networks
from mechflow.studies.phase_changes import induction_circuit, outcomes, roles
from mechflow.studies.phase_changes.evidence import Measure, phase_changes, plain_variant, reached
from mechflow.tabular import cell

Scores: TypeAlias = dict[int, pd.DataFrame]
"""For each replicate a score by step (rows) and by head or trigger (columns)."""
Curve: TypeAlias = tuple[pd.Series, float]
"""A score by step, and what uniform attention scores."""


def induction_head_lag(data: FigureData) -> Evidence:
    """Time between the drop of the loss and the rise of the best head's prefix matching."""
    variant = plain_variant(data, "induction", finite=False)
    scores, uniform = (
        _scores(data, variant, "prefix_matching", control=control)
        for control in ("none", "uniform")
    )
    best = induction_circuit.best_heads(data, variant, roles.INDUCTION)
    curves = {
        replicate: (scores[replicate][head.name], float(uniform[replicate][head.name].iloc[0]))
        for replicate, head in best.items()
    }
    return _lag(data, variant, curves)


def trigger_attention_lag(data: FigureData) -> Evidence:
    """Time between the drop of the loss and the rise of the mean attention to the triggers."""
    variant = plain_variant(data, "skip_trigram", finite=False)
    scores, uniform = (
        _scores(data, variant, "trigger_attention", control=control)
        for control in ("none", "uniform")
    )
    curves = {
        replicate: (frame.mean(axis=1), float(uniform[replicate].to_numpy().mean()))
        for replicate, frame in scores.items()
    }
    return _lag(data, variant, curves)


def previous_token_score(data: FigureData) -> Evidence:
    """Previous-token score of the best head of the first layer, after training."""
    variant = plain_variant(data, "induction", finite=False)
    scores = _scores(data, variant, "previous_token")
    best = [float(frame.filter(regex="^L0H").iloc[-1].max()) for frame in scores.values()]
    uniform = _scores(data, variant, "previous_token", control="uniform")
    expected = np.mean([frame.to_numpy().mean() for frame in uniform.values()])
    return Evidence.of_shares(best, f"{variant}; {cell(float(expected))} if uniform")


def trigger_attention(data: FigureData) -> Evidence:
    """Attention from the query to the trigger after training, the mean over triggers."""
    variant = plain_variant(data, "skip_trigram", finite=False)
    means = [frame.mean(axis=1) for frame in _scores(data, variant, "trigger_attention").values()]
    uniform = _scores(data, variant, "trigger_attention", control="uniform")
    expected = np.mean([frame.to_numpy().mean() for frame in uniform.values()])
    start = np.mean([float(mean.iloc[0]) for mean in means])
    note = f"{variant}; {cell(float(start))} before training, {cell(float(expected))} if uniform"
    return Evidence.of_shares([float(mean.iloc[-1]) for mean in means], note)


def composition_above_random(data: FigureData) -> Evidence:
    """K-composition of the circuit's two heads minus the 95 % quantile of random heads."""
    variant = plain_variant(data, "induction", finite=False)
    composition = _scores(data, variant, "k_composition")
    random = outcomes.scores(data, variant, "k_composition", "random").groupby("replicate")["value"]
    quantiles = random.quantile(0.95)
    values = [
        float(composition[replicate][circuit.pair].iloc[-1]) - float(quantiles[replicate])
        for replicate, circuit in induction_circuit.circuits(data, variant).items()
    ]
    return Evidence.of(values, f"{variant}; quantile {cell(float(quantiles.mean()))}")


def drop_undone(role: str) -> Measure:
    """Share of the drop of the test loss that is lost without the heads of a role."""

    def measure(data: FigureData) -> Evidence:
        variant = plain_variant(data, "induction", finite=False)
        own, random = (
            _undone(data, variant, role, control) for control in ("none", "random_heads")
        )
        crowded = int(random.isna().sum())
        note = f"{variant}; in {crowded} of {len(own)} most heads of a layer have this role"
        return Evidence.of(reached(own), note if crowded else variant)

    return measure


def drop_undone_over_random(role: str) -> Measure:
    """The same minus that of as many other heads of the same layers."""

    def measure(data: FigureData) -> Evidence:
        variant = plain_variant(data, "induction", finite=False)
        own, random = (
            _undone(data, variant, role, control) for control in ("none", "random_heads")
        )
        if random.isna().all():
            raise NotComparableError(f"{variant}: too few other heads to compare with")
        kept = (own - random).dropna()
        note = f"{variant}; other heads {cell(float(random.mean()))}"
        if len(kept) < len(own):
            note += f"; on {len(kept)} of {len(own)} replicates that have other heads"
        return Evidence.of(kept.tolist(), note)

    return measure


def carries_over(*, model: str = "trained", control: str = "none") -> Measure:
    """How much better carries are read than by the same probe of something else.

    Accuracy of a linear probe of the last residual stream where a digit is predicted, for the
    carry into it; the mean over digits.
    """

    def measure(data: FigureData) -> Evidence:
        variant = plain_variant(data, "addition", finite=False)
        own, other = _carries(data, variant), _carries(data, variant, model, control)
        note = f"{variant}; {cell(float(own.mean()))} against {cell(float(other.mean()))}"
        return Evidence.of(reached(own - other), note)

    return measure


def cascade_delay(data: FigureData) -> Evidence:
    """Steps to half of the blind loss, of sums with a cascade minus those without a carry."""
    variant = plain_variant(data, "addition", finite=False)
    blind = outcomes.references(data, "blind").loc[variant]
    losses = _scores(data, variant, "loss.carries")
    times = {
        subset: pd.Series(
            {
                replicate: drop_times(
                    frame.index,
                    outcomes.above_zero(frame[subset]),
                    float(blind[replicate]),
                    end=0.0,
                    sustained=1,
                ).t50
                for replicate, frame in losses.items()
            }
        )
        for subset in ("none", "cascade")
    }
    note = ", ".join(f"{name} at {cell(float(t.mean()))}" for name, t in times.items())
    return Evidence.of(reached(times["cascade"] - times["none"]), f"{variant}; {note}")


def over_untrained(matrix: str, quantity: str) -> Measure:
    """A spectral quantity of trained minus untrained weights, the mean over matrices and rows.

    Args:
        matrix: how names of the matrices begin.
        quantity: such as gini.
    """

    def measure(data: FigureData) -> Evidence:
        variant = plain_variant(data, "addition", finite=False)
        rows = networks.select(data.table("spectra"), variant=variant, quantity=quantity)
        rows = rows[rows["matrix"].str.startswith(matrix)]
        if rows.empty:
            raise NotRunError(f"{variant} has no {quantity} of {matrix}")
        trained, untrained = (
            networks.means(networks.select(rows, model=model)) for model in ("trained", "untrained")
        )
        note = f"{variant}; {cell(float(trained.mean()))} against {cell(float(untrained.mean()))}"
        return Evidence.of(reached(trained - untrained), note)

    return measure


def _lag(data: FigureData, variant: str, curves: dict[int, Curve]) -> Evidence:
    """Distance between half of the rise of a score and half of the drop of the loss, in widths."""
    changes = networks.select(phase_changes(data), variant=variant, group=outcomes.ALL)
    changes = changes.set_index("replicate")
    rises = pd.Series({replicate: _half_rise(*curve) for replicate, curve in curves.items()})
    lags = rises - changes["t50"]
    values = reached(lags.abs() / changes["width"])
    note = f"{variant}; on average {cell(round(float(lags.mean()), 1))} steps after the drop"
    return Evidence.of(values, note)


def _half_rise(score: pd.Series, uniform: float) -> float:
    """When attention is halfway from uniform to what it is in the end: `drop_times` of the rest."""
    rest = outcomes.above_zero(1 - score)
    return drop_times(score.index, rest, 1 - uniform, end=float(rest.iloc[-1]), sustained=1).t50


def _undone(data: FigureData, variant: str, role: str, control: str) -> pd.Series:
    """Share of the drop of the loss that is undone at the last step, by replicate."""
    rows = networks.select(
        data.table("interventions"), variant=variant, metric="loss", split="test"
    )
    rows = rows[rows["step"] == rows["step"].max()]
    plain = _by_replicate(networks.select(rows, intervention="none"))
    without = _by_replicate(networks.select(rows, site=role, control=control))
    blind = outcomes.references(data, "blind").loc[variant]
    return (without.reindex(plain.index) - plain) / (blind - plain)


def _carries(
    data: FigureData, variant: str, model: str = "trained", control: str = "none"
) -> pd.Series:
    """Accuracy for the carry into a digit where that digit is predicted, by replicate."""
    config = data.config(variant)
    n = config.data.addition.n_digits
    rows = networks.select(
        data.table("probes"),
        variant=variant,
        model=model,
        control=control,
        split="test",
        metric="accuracy",
        site=f"blocks.{config.model.n_layers - 1}.hook_resid_post",
    )
    # Digit k of the answer is predicted at position 3 n + 1 - k, and column k carries into k + 1.
    needed = {f"carry.{column}": 3 * n - column for column in range(n)}
    return _by_replicate(rows[rows["target"].map(needed) == rows["position"]])


def _scores(data: FigureData, variant: str, name: str, *, control: str = "none") -> Scores:
    """Everything called ``<name>.<column>`` in the table of progress."""
    rows = outcomes.scores(data, variant, name, control)
    if rows.empty:
        raise NotRunError(f"{variant} has no {name}")
    return {
        int(str(replicate)): frame.pivot(index="step", columns="column", values="value")
        for replicate, frame in rows.groupby("replicate")
    }


def _by_replicate(rows: pd.DataFrame) -> pd.Series:
    return rows.groupby("replicate")["value"].mean()
