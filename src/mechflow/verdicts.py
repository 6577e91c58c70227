"""The verdicts on published claims, and the columns of the scoreboard that lists them."""

from typing import Literal, get_args

Verdict = Literal["replicated", "not replicated", "not comparable", "not run at this scale"]

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

COLUMNS = (
    *("id", "claim", "source", "measure", "criterion"),
    *("published", "ours", "low", "high", "n", "verdict", "why"),
)
"""Columns of a study's verdicts: ``published`` is NaN for a claim without a number; ``low`` and
``high`` bound the 95 % confidence interval of ``ours``, which is taken over ``n`` values."""
