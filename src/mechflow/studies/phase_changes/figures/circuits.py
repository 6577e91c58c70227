"""Heads of a circuit through training: which they are, what they score, how they are drawn."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes

from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import band
from mechflow.figures.source import Label, Source
from mechflow.figures.style import NOTE_COLOUR
from mechflow.studies import networks
from mechflow.studies.phase_changes import roles, variants
from mechflow.studies.phase_changes.heads import Head, all_heads

PREVIOUS_TOKEN, INDUCTION = "previous_token_heads", "induction_heads"

ROLE_NAMES: Mapping[str, str] = {
    PREVIOUS_TOKEN: "previous-token head",
    INDUCTION: "induction head",
}
ROLE_COLOURS: Mapping[str, str] = {PREVIOUS_TOKEN: "#5e3c99", INDUCTION: "#d6409f"}
"""Colours of the two parts of an induction circuit, the same in every figure."""

OTHER_COLOUR = NOTE_COLOUR
"""Colour of heads that play no part."""


class Circuit(NamedTuple):
    """The two heads of one replicate that play the parts of an induction circuit best."""

    previous_token: Head
    induction: Head

    @property
    def pair(self) -> str:
        """Their names, as tables of composition write them."""
        return f"{self.previous_token.name}-{self.induction.name}"


def main_variant(data: FigureData, task: str) -> str | None:
    """The variant that stands for a task; None if none ran.

    The first one that has enough layers, counts the residual stream once and sees infinite data,
    as far as there is such.
    """

    def departures(name: str) -> tuple[bool, bool, bool]:
        doubled = data.config(name).model.residual_gain != 1.0
        control = variants.is_negative_control(data, name)
        return control, doubled, variants.is_finite(data, name)

    return min(variants.of_task(data, task), key=departures, default=None)


def scores(data: FigureData, variant: str, name: str, control: str = "none") -> pd.DataFrame:
    """Rows of the table of progress called ``<name>.<column>``, with that column of their own."""
    rows = networks.select(data.table("progress"), variant=variant, control=control, split="test")
    rows = rows[rows["metric"].str.startswith(f"{name}.")]
    return rows.assign(column=rows["metric"].str.removeprefix(f"{name}."))


def best_heads(data: FigureData, variant: str, role: str) -> dict[int, Head]:
    """For each replicate the head that plays a role best after training.

    Where no head is in the right layer, as in models of one layer, any head counts: the best of
    them shows what there is without a circuit.
    """
    cfg = data.config(variant).model
    candidates = roles.candidates_for(role, cfg) or all_heads(cfg)
    return {
        replicate: _best(rows, role, replicate, candidates)
        for replicate, rows in _progress(data, variant).items()
    }


def circuits(data: FigureData, variant: str) -> dict[int, Circuit]:
    """For each replicate the best induction head, and the best previous-token head before it.

    Empty for models of one layer.
    """
    cfg = data.config(variant).model
    if cfg.n_layers == 1:
        return {}
    found = {}
    for replicate, rows in _progress(data, variant).items():
        later = _best(rows, INDUCTION, replicate, roles.candidates_for(INDUCTION, cfg))
        before = [head for head in all_heads(cfg) if head.layer < later.layer]
        found[replicate] = Circuit(_best(rows, PREVIOUS_TOKEN, replicate, before), later)
    return found


def chosen(rows: pd.DataFrame, columns: Mapping[int, str]) -> "pd.Series[bool]":
    """Which rows belong to the column that is chosen for their replicate."""
    return rows["column"] == rows["replicate"].map(columns)


def draw_mean(
    axes: Axes,
    rows: pd.DataFrame,
    colour: str,
    source: Source,
    labels: Mapping[str, Label],
    *,
    line: Any = "-",
    bounds: tuple[float, float] | None = None,
) -> pd.DataFrame:
    """Each replicate, their mean and its interval, cut at what can occur; returns the mean."""
    mean = band(rows, "step")
    if bounds is not None:
        mean[["low", "high"]] = mean[["low", "high"]].clip(*bounds)
    panels.replicate_lines(axes, rows, "step", colour, line)
    panels.mean_line(axes, mean, colour, line)
    source.add(_singles(rows), **labels, kind="replicate")
    source.add(mean.rename(columns={"mean": "y"}), **labels, kind="mean")
    return mean


def draw_others(
    axes: Axes, rows: pd.DataFrame, source: Source, labels: Mapping[str, Label]
) -> None:
    """A thin line for every head, or pair of heads, of every replicate."""
    for _, one in rows.groupby("column", sort=True):
        panels.replicate_lines(axes, one, "step", OTHER_COLOUR)
    source.add(_singles(rows), **labels, kind="replicate")


def _singles(rows: pd.DataFrame) -> pd.DataFrame:
    kept = [name for name in ("replicate", "column", "step", "value") if name in rows]
    return rows[kept].rename(columns={"column": "head", "step": "x", "value": "y"})


def _progress(data: FigureData, variant: str) -> dict[int, pd.DataFrame]:
    rows = networks.select(data.table("progress"), variant=variant)
    return {int(str(replicate)): own for replicate, own in rows.groupby("replicate", sort=True)}


def _best(rows: pd.DataFrame, role: str, replicate: int, candidates: list[Head]) -> Head:
    found = roles.final_scores(rows, roles.SCORES[role], replicate)
    return max(candidates, key=lambda head: found[head])
