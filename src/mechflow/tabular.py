"""Tables for people: LaTeX and Markdown, with as many digits as can be read."""

from collections.abc import Iterable

import pandas as pd

_DIGITS = 4


def latex(table: pd.DataFrame) -> str:
    """The table as a LaTeX ``tabular`` with rules of the booktabs package."""
    columns = "".join("r" if pd.api.types.is_numeric_dtype(t) else "l" for t in table.dtypes)
    lines = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _latex_row(table.columns),
        r"\midrule",
        *(_latex_row(row) for row in table.itertuples(index=False)),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def markdown(table: pd.DataFrame) -> str:
    """The table in the pipe syntax of GitHub."""
    marks = ["---:" if pd.api.types.is_numeric_dtype(t) else "---" for t in table.dtypes]
    rows = [_markdown_row(row) for row in table.itertuples(index=False)]
    return "\n".join([_markdown_row(table.columns), "| " + " | ".join(marks) + " |", *rows]) + "\n"


def cell(value: object) -> str:
    """A value as text: floats to four significant digits, a missing value as nothing."""
    if value is None or value is pd.NA or value != value:
        return ""
    return f"{value:.{_DIGITS}g}" if isinstance(value, float) else str(value)


def _latex_row(values: Iterable[object]) -> str:
    return " & ".join(_escaped(cell(value)) for value in values) + r" \\"


def _markdown_row(values: Iterable[object]) -> str:
    cells = (cell(value).replace("|", r"\|").replace("\n", " ") for value in values)
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    """Text with the characters that LaTeX would take for commands escaped."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
    return "".join(special.get(sign, sign) for sign in text)
