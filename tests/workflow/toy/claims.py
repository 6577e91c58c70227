"""Claims of the toy study."""

import pandas as pd

from mechflow.figures.data import FigureData


def judge(data: FigureData) -> pd.DataFrame:
    """One claim: scores are positive."""
    scores = data.table("probes")["value"]
    verdict = "replicated" if (scores > 0).all() else "not replicated"
    row = ("scores are positive", "nowhere", 0.0, scores.mean(), scores.min(), scores.max(), len(scores), verdict, "")
    columns = ["claim", "source", "published", "ours", "low", "high", "n", "verdict", "why"]
    return pd.DataFrame([row], columns=columns)
