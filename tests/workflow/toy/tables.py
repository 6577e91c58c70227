"""Tables of the toy study."""

import pandas as pd

from mechflow.figures.data import FigureData


def make_losses(data: FigureData) -> pd.DataFrame:
    """Mean last loss of each variant."""
    return data.table("curves").groupby("variant", sort=False)["value"].mean().reset_index()
