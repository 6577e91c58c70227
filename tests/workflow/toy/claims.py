"""Claims of the toy study."""

import pandas as pd

from mechflow.figures.data import FigureData
from mechflow.verdicts import COLUMNS


def judge(data: FigureData) -> pd.DataFrame:
    """One claim: scores are positive."""
    scores = data.table("probes")["value"]
    verdict = "replicated" if (scores > 0).all() else "not replicated"
    row = (
        "positive",
        "scores are positive",
        "nowhere",
        "score",
        "every score above 0",
        0.0,
        scores.mean(),
        scores.min(),
        scores.max(),
        len(scores),
        verdict,
        "",
    )
    return pd.DataFrame([row], columns=list(COLUMNS))
