"""How heads of an induction circuit are called and coloured, and told from others."""

from collections.abc import Mapping

import pandas as pd

from mechflow.figures.style import NOTE_COLOUR
from mechflow.studies.phase_changes.roles import INDUCTION, PREVIOUS_TOKEN

ROLE_NAMES: Mapping[str, str] = {
    PREVIOUS_TOKEN: "previous-token head",
    INDUCTION: "induction head",
}
ROLE_COLOURS: Mapping[str, str] = {PREVIOUS_TOKEN: "#5e3c99", INDUCTION: "#d6409f"}
"""Colours of the two parts of an induction circuit, the same in every figure."""

OTHER_COLOUR = NOTE_COLOUR
"""Colour of heads that play no part."""


def chosen(rows: pd.DataFrame, columns: Mapping[int, str]) -> "pd.Series[bool]":
    """Which rows belong to the column that is chosen for their replicate."""
    return rows["column"] == rows["replicate"].map(columns)
