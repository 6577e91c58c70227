"""Pairs of sums whose second operands can be exchanged, on tokenizers of several kinds."""

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from tokenizers import Regex, Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mechflow.language_models.errors import TokenisationError
from mechflow.studies.number_probes.pairs import (
    Possible,
    draw_pairs,
    encode_pairs,
    possible_pairs,
)

TEMPLATE = "{a} + {b} ="
DIGITS = r"\d| |\+|="
UNEVEN = r"1\d|[2-9]0|\d| |\+|="
"""10 to 19 and 20, 30 .. 90 are one token, the other numbers one token a digit."""


def splitting(pattern: str, special: str = "$A") -> PreTrainedTokenizerBase:
    """A tokenizer whose tokens are the matches of a pattern, with special tokens around a text."""
    words = ["?", "<s>", "</s>", *" +=", "+ ", *map(str, range(100))]
    ids = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(ids, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    tokenizer.post_processor = TemplateProcessing(
        single=special, special_tokens=[(token, ids[token]) for token in ("<s>", "</s>")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="?", bos_token="<s>", eos_token="</s>"
    )


def naive(
    digits: int, limit: int, tokens: Callable[[int], int]
) -> tuple[list[tuple[int, int, int]], int]:
    """Pairs of sums with operands of as many tokens, and the number of the other pairs."""
    operands = range(10 ** (digits - 1), min(10**digits, limit))
    pairs = [
        (a, b, other)
        for b in operands for a in operands for other in operands
        if b != other and a + b < limit and a + other < limit
    ]  # fmt: skip
    alike = [(a, b, other) for a, b, other in pairs if tokens(b) == tokens(other)]
    return alike, len(pairs) - len(alike)


def triples(possible: Possible) -> list[tuple[int, ...]]:
    return [tuple(row) for row in possible.operands.tolist()]


@pytest.mark.parametrize("special", ["$A", "$A </s>", "<s> $A </s>"])
@pytest.mark.parametrize(("digits", "limit"), [(2, 60), (1, 12)])
def test_all_pairs_are_possible_where_numbers_have_equally_many_tokens(
    digits: int, limit: int, special: str
) -> None:
    possible = possible_pairs(splitting(DIGITS, special), TEMPLATE, digits, limit)
    assert (triples(possible), possible.left_out) == naive(digits, limit, lambda _: 1)
    assert possible.left_out == 0


@pytest.mark.parametrize("special", ["$A", "$A </s>", "<s> $A </s>"])
@pytest.mark.parametrize("limit", [35, 70])
def test_pairs_of_unequally_many_tokens_are_left_out_and_counted(limit: int, special: str) -> None:
    possible = possible_pairs(splitting(UNEVEN, special), TEMPLATE, 2, limit)
    expected = naive(2, limit, lambda number: 1 if number < 20 or number % 10 == 0 else 2)
    assert (triples(possible), possible.left_out) == expected
    assert 0 < possible.left_out < len(possible.operands)


def test_pairs_that_change_the_tokens_around_the_operand_are_left_out() -> None:
    """A plus sign takes the space behind it along, but only before 10 to 19."""
    tokenizer = splitting(r"\+ (?=1)|\d| |\+|=")
    possible = possible_pairs(tokenizer, TEMPLATE, 2, 50)
    expected = naive(2, 50, lambda number: 1 if number < 20 else 2)
    assert (triples(possible), possible.left_out) == expected


def test_no_pair_at_all_is_refused() -> None:
    # 10 + 10, 10 + 11 and 11 + 10: the only two pairs exchange 10, one token, and 11, two.
    said = "with 2 digits, no two .* interventions.operand_digits .* or interventions.pairs to 0"
    with pytest.raises(TokenisationError, match=said):
        possible_pairs(splitting(r"10|\d| |\+|="), TEMPLATE, 2, 22)
    assert triples(possible_pairs(splitting(DIGITS), TEMPLATE, 2, 22)) == [
        (10, 10, 11),
        (10, 11, 10),
    ]


def test_answers_without_a_token_of_their_own_are_refused() -> None:
    tokenizer = splitting(r"\d+|= ?\d*| |\+")
    operands = draw_pairs(possible_pairs(tokenizer, TEMPLATE, 2, 30), 3, np.random.default_rng(0))
    with pytest.raises(TokenisationError, match="end the template otherwise"):
        encode_pairs(tokenizer, operands, TEMPLATE)


@pytest.mark.parametrize("wanted", [1, 50, 10**6])
@pytest.mark.parametrize(("digits", "limit"), [(2, 40), (1, 10)])
def test_draws_are_those_of_all_pairs_where_none_is_left_out(
    digits: int, limit: int, wanted: int
) -> None:
    """Published numbers depend on which pairs a seed draws."""
    operands = np.arange(10 ** (digits - 1), min(10**digits, limit))
    a, b, other = (grid.ravel() for grid in np.meshgrid(operands, operands, operands))
    possible = np.flatnonzero((b != other) & (a + np.maximum(b, other) < limit))
    chosen = np.random.default_rng(3).choice(possible, min(wanted, len(possible)), replace=False)
    expected = pd.DataFrame({"a": a[chosen], "b": b[chosen], "other": other[chosen]})
    pd.testing.assert_frame_equal(drawn(wanted, digits, limit, seed=3), expected)


def drawn(wanted: int, digits: int = 2, limit: int = 100, seed: int = 0) -> pd.DataFrame:
    possible = possible_pairs(splitting(DIGITS), TEMPLATE, digits, limit)
    return draw_pairs(possible, wanted, np.random.default_rng(seed))


@pytest.mark.parametrize(("digits", "limit"), [(2, 100), (2, 150), (2, 1000), (1, 10), (1, 1000)])
def test_pairs_differ_in_an_operand_of_as_many_digits(digits: int, limit: int) -> None:
    pairs = drawn(100, digits, limit)
    assert len(pairs) == 100
    a, b, other = (pairs[name] for name in ("a", "b", "other"))
    assert (b != other).all()
    for operand in (a, b, other):
        assert (operand.astype(str).str.len() == digits).all()
    assert (a + b < limit).all()
    assert (a + other < limit).all()
    assert not pairs.duplicated().any()


def test_pairs_are_drawn_by_the_generator_alone() -> None:
    pd.testing.assert_frame_equal(drawn(50, limit=60), drawn(50, limit=60))
    assert not drawn(50, limit=60).equals(drawn(50, limit=60, seed=1))


def test_all_pairs_are_drawn_if_as_many_are_wanted() -> None:
    pairs = drawn(10**6, 2, 25)
    assert sorted(pairs.itertuples(index=False, name=None)) == sorted(naive(2, 25, lambda _: 1)[0])


@pytest.mark.parametrize("special", ["$A", "$A </s>", "<s> $A </s>"])
def test_prompts_of_pairs_end_with_their_last_character(special: str) -> None:
    operands = pd.DataFrame([(12, 30, 40), (25, 31, 69)], columns=["a", "b", "other"])
    tokenizer = splitting(UNEVEN, special)
    pairs = encode_pairs(tokenizer, operands, TEMPLATE)
    front = re.findall("<s>", special)
    for side, seconds in ((pairs.base, ("30", "3 1")), (pairs.source, ("40", "6 9"))):
        for ids, first, second in zip(side.ids, ("12", "2 5"), seconds, strict=True):
            tokens = [*front, *first.split(), " ", "+", " ", *second.split(), " ", "="]
            assert tokenizer.convert_ids_to_tokens(list(ids)) == tokens
        assert side.operand_tokens["b"] == tuple(
            (first + len(front), stop + len(front)) for first, stop in ((4, 5), (5, 7))
        )
    # 42 and 52, 56 and 94, by their first digits.
    right = [["4", "5"], ["5", "9"]]
    assert [tokenizer.convert_ids_to_tokens(row) for row in pairs.right_tokens.tolist()] == right
    assert pairs.base_numbers.tolist() == [30, 31]
    assert pairs.source_numbers.tolist() == [40, 69]
