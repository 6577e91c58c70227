"""Prompts that differ in their second operand only, so that one can be put into the other's run."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mechflow.language_models.answers import continuations
from mechflow.language_models.errors import TokenisationError
from mechflow.language_models.templates import render
from mechflow.language_models.tokens import Encoded
from mechflow.studies.number_probes.subject import encoded


class Possible(NamedTuple):
    """The pairs of sums a + b and a + b' that can be drawn."""

    operands: Int[np.ndarray, "pairs 3"]
    """a, b and b' of each, sorted by b, then a, then b'."""
    left_out: int
    """Pairs that cannot, because their prompts differ in more than the tokens of b."""


class Pairs(NamedTuple):
    """Pairs of prompts as tokens."""

    base: Encoded
    source: Encoded
    base_numbers: Int[Tensor, " pairs"]
    source_numbers: Int[Tensor, " pairs"]
    right_tokens: Int[Tensor, "two pairs"]
    """First tokens of both right sums."""


def possible_pairs(
    tokenizer: PreTrainedTokenizerBase, template: str, digits: int, limit: int
) -> Possible:
    """All pairs of sums below the limit, of operands with so many digits, that can be exchanged.

    States can be exchanged one for one where both operands have equally many tokens and all tokens
    around them are the same.

    Raises:
        TokenisationError: no pair is left, or an operand shares a token with the text around it.
    """
    operands, sums = _operands(digits, limit), all_sums(digits, limit)
    # Prompts of the same frame differ in the tokens of b alone.
    frames = np.full((10**digits, 10**digits), -1)
    frames[sums["a"], sums["b"]] = _frames(tokenizer, sums, template)
    a, b, other = (grid.ravel() for grid in np.meshgrid(operands, operands, operands))
    allowed = (b != other) & (a + np.maximum(b, other) < limit)
    alike = allowed & (frames[a, b] == frames[a, other])
    if not alike.any():
        raise TokenisationError(
            f"of the numbers with {digits} digits, no two have equally many tokens in the prompt "
            f"{template!r}, so none can be exchanged: set interventions.operand_digits to another "
            "number, or interventions.pairs to 0"
        )
    found = np.stack([a, b, other], axis=1)[alike]
    return Possible(found, int(allowed.sum() - alike.sum()))


def all_sums(digits: int, limit: int) -> pd.DataFrame:
    """The sums below the limit of operands with so many digits: columns a, b."""
    operands = _operands(digits, limit)
    pairs = [(a, b) for a in operands for b in operands if a + b < limit]
    return pd.DataFrame(pairs, columns=["a", "b"])


def draw_pairs(possible: Possible, wanted: int, generator: np.random.Generator) -> pd.DataFrame:
    """Sums a + b and a + b', in columns a, b, other.

    All possible ones are equally likely, and none is drawn twice; there are fewer than wanted if
    there are no more.
    """
    number = len(possible.operands)
    chosen = generator.choice(number, min(wanted, number), replace=False)
    return pd.DataFrame(possible.operands[chosen], columns=["a", "b", "other"])


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase, operands: pd.DataFrame, template: str
) -> Pairs:
    """Both prompts of every pair as tokens, and the tokens that begin the right sums."""
    sides, right = [], []
    for name in ("b", "other"):
        sums = operands[["a"]].assign(b=operands[name])
        prompts, answers = questions(sums, template)
        sides.append(encoded(tokenizer, sums.assign(text=prompts), template, ["b"]))
        right.append([ids[0] for ids in continuations(tokenizer, prompts, answers)])
    return Pairs(
        sides[0],
        sides[1],
        torch.tensor(operands["b"].to_numpy()),
        torch.tensor(operands["other"].to_numpy()),
        torch.tensor(right),
    )


def questions(sums: pd.DataFrame, template: str) -> tuple[list[str], list[str]]:
    """The prompt of each sum and its right answer."""
    numbers = list(zip(sums["a"].tolist(), sums["b"].tolist(), strict=True))
    return [render(template, a, b)[0] for a, b in numbers], [str(a + b) for a, b in numbers]


def _operands(digits: int, limit: int) -> NDArray[np.int64]:
    return np.arange(10 ** (digits - 1), min(10**digits, limit))


def _frames(
    tokenizer: PreTrainedTokenizerBase, sums: pd.DataFrame, template: str
) -> NDArray[np.int64]:
    """A number for each sum, the same for those that differ in the tokens of b alone."""
    prompts, _ = questions(sums, template)
    read = encoded(tokenizer, sums.assign(text=prompts), template, ["b"])
    around = [
        (ids[:first], stop - first, ids[stop:])
        for ids, (first, stop) in zip(read.ids, read.operand_tokens["b"], strict=True)
    ]
    return pd.factorize(pd.Series(around, dtype=object))[0]
