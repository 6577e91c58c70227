"""Tables for people: LaTeX and Markdown, with as many digits as can be read."""

from collections.abc import Iterable

import pandas as pd

_DIGITS = 4
_LARGE = 1e7


def latex(table: pd.DataFrame) -> str:
    """The table as a LaTeX ``tabular`` with rules of the booktabs package."""
    table = readable(table)
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
    table = readable(table)
    marks = ["---:" if pd.api.types.is_numeric_dtype(t) else "---" for t in table.dtypes]
    rows = [_markdown_row(row) for row in table.itertuples(index=False)]
    return "\n".join([_markdown_row(table.columns), "| " + " | ".join(marks) + " |", *rows]) + "\n"


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table with each number and its interval in one column of text, ``1.2 [1.1, 1.3]``.

    A column x has an interval if x_low and x_high, or low and high, come right after it.
    """
    columns = list(table.columns)
    merged: dict[str, pd.Series] = {}
    while columns:
        name = columns.pop(0)
        if columns[:2] in ([f"{name}_low", f"{name}_high"], ["low", "high"]):
            low, high = columns.pop(0), columns.pop(0)
            values = zip(table[name], table[low], table[high], strict=True)
            texts = [with_interval(*value) for value in values]
            merged[name] = pd.Series(texts, index=table.index, dtype="str")
        else:
            merged[name] = table[name]
    return pd.DataFrame(merged)


def cell(value: object) -> str:
    """A value as text: floats to four significant digits, a missing value as nothing."""
    if value is None or value is pd.NA or value != value:
        return ""
    return _number(value) if isinstance(value, float) else str(value)


def with_interval(value: float, low: float, high: float) -> str:
    """A number with its interval in brackets, if it has one."""
    return cell(value) if low != low else f"{cell(value)} [{cell(low)}, {cell(high)}]"


def _number(value: float) -> str:
    """Four significant digits; whole numbers in full and, such as steps, without an exponent."""
    if value.is_integer() and abs(value) < _LARGE:
        return f"{value:.0f}"
    text = f"{value:.{_DIGITS}g}"
    return f"{float(text):.0f}" if "e+" in text and abs(value) < _LARGE else text


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
