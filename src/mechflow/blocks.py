"""Names of blocks: runs of consecutive replicates that one job computes together."""

import re

_BLOCK = re.compile(r"r(\d{3,})-(\d{3,})")

BLOCK_PATTERN = r"r\d\d\d+-\d\d\d+"
"""What a block's name looks like; without braces, which Snakemake takes for wildcards."""


def format_block(replicates: range) -> str:
    """The name of a block, such as ``r000-004`` for the replicates 0 to 4.

    Raises:
        ValueError: the range is empty, starts below 0 or leaves out replicates.
    """
    if not replicates or replicates.start < 0 or replicates.step != 1:
        raise ValueError(f"a block is a run of consecutive replicates from 0 on, not {replicates}")
    return f"r{replicates.start:03d}-{replicates.stop - 1:03d}"


def parse_block(name: str) -> range:
    """The replicates of a block, such as ``range(0, 5)`` for ``r000-004``.

    Raises:
        ValueError: the name is not one that `format_block` gives.
    """
    match = _BLOCK.fullmatch(name)
    if match is not None:
        replicates = range(int(match[1]), int(match[2]) + 1)
        if replicates and format_block(replicates) == name:
            return replicates
    raise ValueError(
        f"'{name}' does not name a block: expected r<first>-<last> with at least three digits "
        "each, such as r000-004"
    )
