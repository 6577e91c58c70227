"""Interchange interventions: does the model use the operand that probes read?"""

from pathlib import Path
from typing import Any, Literal

import pandas as pd
from torch import Tensor

from mechflow.seeds import Seeds
from mechflow.studies.number_probes.config import Interchange

COLUMNS = [
    *("replicate", "intervention", "site", "control", "draw", "split", "metric", "value"),
    *("layer", "read_layer", "tokens", "n"),
]


def run(
    *,
    model: Path,
    readout_weights: dict[str, Tensor],
    weights: Literal["pretrained", "random"],
    template: str,
    limit: int,
    dtype: str,
    interventions: Interchange,
    seeds: Seeds,
    replicates: range,
    device: str,
) -> dict[str, pd.DataFrame]:
    """Whose number and whose next token patched runs give, by layer."""
    if not interventions.pairs:
        return {"interventions": _frame([])}
    # It imports transformers, which takes seconds: only where there is something to do.
    from mechflow.studies.number_probes.exchange import exchange

    rows = exchange(
        model=model,
        readout_weights=readout_weights,
        weights=weights,
        template=template,
        limit=limit,
        dtype=dtype,
        interventions=interventions,
        seeds=seeds,
        replicates=replicates,
        device=device,
    )
    return {"interventions": _frame(rows)}


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows as a table of declared types, even if there are none."""
    frame = pd.DataFrame(rows, columns=COLUMNS).assign(draw=0, split="all")
    whole = dict.fromkeys(("replicate", "draw", "layer", "read_layer", "n"), "int64")
    text = dict.fromkeys(("intervention", "site", "control", "split", "metric", "tokens"), "str")
    return frame.astype(whole | text | {"value": "float64"})[COLUMNS]
