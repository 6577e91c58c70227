import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechflow.blocks import BLOCK_PATTERN, format_block, parse_block


def test_names() -> None:
    assert format_block(range(5)) == "r000-004"
    assert format_block(range(7, 8)) == "r007-007"
    assert parse_block("r998-1003") == range(998, 1004)


@given(first=st.integers(0, 5000), length=st.integers(1, 500))
def test_parsing_undoes_formatting(first: int, length: int) -> None:
    replicates = range(first, first + length)
    name = format_block(replicates)
    assert parse_block(name) == replicates
    assert re.fullmatch(BLOCK_PATTERN, name)


@pytest.mark.parametrize(
    "name", ["", "r0-4", "000-004", "r004-000", "r0000-0004", "r000-004x", "r-01-004", "r000_004"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"does not name a block: expected"):
        parse_block(name)


@pytest.mark.parametrize("replicates", [range(0), range(-1, 3), range(0, 6, 2), range(3, 1)])
def test_other_ranges_are_refused(replicates: range) -> None:
    with pytest.raises(ValueError, match="consecutive"):
        format_block(replicates)
