"""How two files of the same artefact differ: tables, verdicts and tensors.

Rows and values count from 0. Of what a file says about its origin nothing is compared.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from bench.gaps import Tolerance, gap_of_columns, gap_of_tensors, number_or_text, shortened
from mechflow.artifacts import SHARDED, ArtifactError
from mechflow.artifacts.digest import verify
from mechflow.layout import ARTEFACTS

FORMATS = (".parquet", ".safetensors")
"""Files whose values are compared."""

_SHOWN = 3
"""Columns or tensors of an artefact that are told in full."""


def differences(a: Path, b: Path, tolerance: Tolerance) -> list[str]:
    """How a file of A and the same file of B differ, as lines of text; none if they do not.

    A line tells all, except that each claim with another verdict has its own. A damaged file is a
    difference.
    """
    digests, problems = [], []
    for side, path in (("A", a), ("B", b)):
        try:
            digests.append(verify(path))
        except ArtifactError as error:
            problems.append(f"in {side}: {error.problem}")
    if problems:
        return ["; ".join(problems)]
    if digests[0] == digests[1]:
        return []
    try:
        if a.suffix == ".parquet":
            return _of_tables(_table(a), _table(b), tolerance)
        return _in_short(_of_tensors(a, b, tolerance), "tensors")
    except (pa.ArrowException, SafetensorError, OSError) as error:
        return [f"cannot be compared: {error}"]


# Tables


def _table(path: Path) -> pa.Table:
    """A table with all columns that it has, except digests of shards.

    `read_table` would refuse columns that this state of the package does not declare, and those
    are to be told. A shard has another digest wherever its provenance is another; its tensors are
    compared as a file of their own.
    """
    with pq.ParquetFile(path) as file:
        table = file.read()
    is_index = any(path.match(ARTEFACTS[kind].file) for kind in SHARDED)
    return table.select(
        [name for name in table.column_names if not (is_index and name == "digest")]
    )


def _of_tables(a: pa.Table, b: pa.Table, tolerance: Tolerance) -> list[str]:
    if _is_scoreboard(a) and _is_scoreboard(b):
        return _of_scoreboards(a, b, tolerance)
    return _in_short(_of_columns(a, b, tolerance), "columns")


def _is_scoreboard(table: pa.Table) -> bool:
    """Whether a table has a verdict on each of several claims."""
    return {"id", "verdict"} <= set(table.column_names) and len(set(_claims(table))) == len(table)


def _claims(table: pa.Table) -> list[str]:
    """Names of claims; where those of all studies are together, with the study before them."""
    parts = [table[name].to_pylist() for name in ("study", "id") if name in table.column_names]
    return ["/".join(map(str, names)) for names in zip(*parts, strict=True)]


def _of_scoreboards(a: pa.Table, b: pa.Table, tolerance: Tolerance) -> list[str]:
    """Claims go by their names, so that one more does not hide what became of the others."""
    old, new = ({claim: row for row, claim in enumerate(_claims(table))} for table in (a, b))
    lines = _on_one_side("claim", old, new)
    common = [claim for claim in old if claim in new]
    if common != [claim for claim in new if claim in old]:
        lines.append("the claims are in another order")
    a, b = (
        table.take(pa.array([rows[claim] for claim in common], pa.int64()))
        for table, rows in ((a, old), (b, new))
    )
    verdicts = zip(common, a["verdict"].to_pylist(), b["verdict"].to_pylist(), strict=True)
    lines += [f"{claim}: {ours} -> {theirs}" for claim, ours, theirs in verdicts if ours != theirs]
    a, b = (table.drop_columns("verdict") for table in (a, b))
    return lines + _in_short(_of_columns(a, b, tolerance), "columns")


def _of_columns(a: pa.Table, b: pa.Table, tolerance: Tolerance) -> Iterator[str]:
    """What differs between two tables: which columns and rows they have, then values."""
    yield from _on_one_side("column", a.column_names, b.column_names)
    comparable = []
    for name in (name for name in a.column_names if name in b.column_names):
        if a[name].type == b[name].type:
            comparable.append(name)
        else:
            yield f"{name}: {a[name].type} -> {b[name].type}"
    rows = min(len(a), len(b))
    head, other = a.slice(0, rows), b.slice(0, rows)
    gaps = {name: gap_of_columns(head[name], other[name], tolerance) for name in comparable}
    keys = [name for name, gap in gaps.items() if not gap.count]
    differing = {name: gap for name, gap in gaps.items() if gap.count}
    if len(a) != len(b):
        # After a row that was put in all others differ, which tells nothing.
        first = min((gap.first for gap in differing.values()), default=rows)
        where = f"unlike from {_row(head, first, keys)} on" if differing else "otherwise alike"
        yield f"{len(a)} -> {len(b)} rows, {where}"
        return
    for name, gap in differing.items():
        values = (number_or_text(table[name][gap.widest]) for table in (a, b))
        yield f"{name}: {gap.told(rows, 'rows', _row(a, gap.widest, keys), *values)}"


def _row(table: pa.Table, row: int, keys: Iterable[str]) -> str:
    """A row by its number, and by as few of the key columns as tell it from all others."""
    parts, alike = [], np.ones(len(table), dtype=bool)
    for name in keys:
        value = table[name][row]
        if pa.types.is_floating(value.type) or not value.is_valid:
            continue
        narrowed = alike & pc.fill_null(pc.equal(table[name], value), False).to_numpy()
        if narrowed.sum() < alike.sum():
            parts.append(f"{name}={shortened(str(value.as_py()))}")
            alike = narrowed
    return f"row {row}" + (f" ({', '.join(parts)})" if parts else "")


# Tensors


def _of_tensors(a: Path, b: Path, tolerance: Tolerance) -> Iterator[str]:
    """What differs between two tensor files: names and shapes, then values, one at a time."""
    with safe_open(a, framework="pt") as old, safe_open(b, framework="pt") as new:
        yield from _on_one_side("tensor", old.keys(), new.keys())
        comparable = []
        for name in sorted(set(old.keys()) & set(new.keys())):
            before, after = (_form(file.get_slice(name)) for file in (old, new))
            if before == after:
                comparable.append(name)
            else:
                yield f"{name}: {before} -> {after}"
        for name in comparable:
            x, y = (file.get_tensor(name) for file in (old, new))
            gap = gap_of_tensors(x, y, tolerance)
            if gap.count:
                where = [int(i) for i in np.unravel_index(gap.widest, x.shape)]
                values = (tensor.flatten()[gap.widest].item() for tensor in (x, y))
                yield f"{name}: {gap.told(x.numel(), 'values', str(where), *values)}"


def _form(tensor: Any) -> str:
    """Number format and shape, such as ``F32 [5, 37, 128]``."""
    return f"{tensor.get_dtype()} {tensor.get_shape()}"


# Lines


def _on_one_side(noun: str, a: Iterable[str], b: Iterable[str]) -> list[str]:
    """Names that only one side has."""
    old, new = list(a), list(b)
    missing = [f"{noun} {name} only in A" for name in old if name not in new]
    return missing + [f"{noun} {name} only in B" for name in new if name not in old]


def _in_short(parts: Iterable[str], noun: str) -> list[str]:
    """One line, or none: the first parts in full, of the others only how many there are."""
    told = list(parts)
    if len(told) > _SHOWN + 1:
        told = [*told[:_SHOWN], f"and {len(told) - _SHOWN} more {noun}"]
    return ["; ".join(told)] if told else []
