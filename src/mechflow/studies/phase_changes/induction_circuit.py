"""Which heads of each trained network play the two parts of an induction circuit best."""

from typing import NamedTuple

import pandas as pd

from mechflow.figures.data import FigureData
from mechflow.studies import networks
from mechflow.studies.phase_changes import roles
from mechflow.studies.phase_changes.head_names import Head, all_heads
from mechflow.studies.phase_changes.roles import INDUCTION, PREVIOUS_TOKEN


class Circuit(NamedTuple):
    """The two heads of one replicate that play the parts of an induction circuit best."""

    previous_token: Head
    induction: Head

    @property
    def pair(self) -> str:
        """Their names, as tables of composition write them."""
        return f"{self.previous_token.name}-{self.induction.name}"


def best_heads(data: FigureData, variant: str, role: str) -> dict[int, Head]:
    """For each replicate the head that plays a role best after training.

    Where no head is in the right layer, as in models of one layer, any head counts: the best of
    them shows what there is without a circuit.
    """
    cfg = data.config(variant).model
    candidates = roles.candidates_for(role, cfg) or all_heads(cfg)
    return {
        replicate: best(rows, role, replicate, candidates)
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
        later = best(rows, INDUCTION, replicate, roles.candidates_for(INDUCTION, cfg))
        before = [head for head in all_heads(cfg) if head.layer < later.layer]
        found[replicate] = Circuit(best(rows, PREVIOUS_TOKEN, replicate, before), later)
    return found


def best(progress: pd.DataFrame, role: str, replicate: int, candidates: list[Head]) -> Head:
    """The candidate with the highest score for a role after training."""
    scores = roles.final_scores(progress, roles.SCORES[role], replicate)
    return max(candidates, key=lambda head: scores[head])


def _progress(data: FigureData, variant: str) -> dict[int, pd.DataFrame]:
    rows = networks.select(data.table("progress"), variant=variant)
    return {int(str(replicate)): own for replicate, own in rows.groupby("replicate", sort=True)}
