"""Tables on disk: tidy Parquet files, one observation a row, with declared columns."""

import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mechflow.artifacts.digest import seal, verify
from mechflow.artifacts.errors import (
    ArtifactDamagedError,
    ArtifactVersionError,
    ArtifactWriteError,
    how_to_remake,
)
from mechflow.artifacts.files import Batch, place
from mechflow.artifacts.provenance import (
    METADATA_KEY,
    Owner,
    Provenance,
    check_owner,
    pack,
    read_provenance,
)
from mechflow.artifacts.schemas import EXTENSIBLE, SCHEMAS

_ARROW_TYPES = {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}


def write_table(
    path: str | os.PathLike[str],
    frame: pd.DataFrame,
    kind: str,
    provenance: Provenance,
    batch: Batch | None = None,
) -> None:
    """Writes a data frame; equal frames with equal provenance give equal bytes.

    Missing values are allowed in columns of floats only. The frame's index is not kept.

    Args:
        path: Final name of the file.
        frame: The table; for the kinds in `SCHEMAS` its columns must be the declared ones.
        kind: What the table holds; replaces the kind in `provenance`.
        provenance: Where the table comes from.
        batch: Renames the file later, together with others.

    Raises:
        ArtifactWriteError: the columns are not the declared ones, or the system refused.
    """
    path = Path(path)
    arrow = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    table = _conform(arrow, kind, path)
    columns = {column.name: column.description for column in SCHEMAS.get(kind, ())}
    metadata = {METADATA_KEY: pack(replace(provenance, kind=kind), columns)}

    def fill(hidden: Path) -> None:
        # A stored Arrow schema would say twice what the declared columns say.
        with pq.ParquetWriter(
            hidden, table.schema, compression="zstd", store_schema=False
        ) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata(metadata)
        seal(hidden)

    place(path, fill, batch)


def read_table(path: str | os.PathLike[str], kind: str, owner: Owner | None = None) -> pd.DataFrame:
    """Reads a table after checking that it is intact and the one asked for.

    Raises:
        ArtifactMissingError: there is no such file.
        ArtifactDamagedError: it is not exactly what was written.
        ArtifactForeignError: it is of another kind, study, variant or block.
        ArtifactVersionError: it was written in another version of the layout.
    """
    path = Path(path)
    verify(path, kind)
    check_owner(path, read_provenance(path, kind), kind, owner)
    try:
        with pq.ParquetFile(path) as file:
            frame: pd.DataFrame = file.read().to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise ArtifactDamagedError(
            path, "damaged: it is not a table.", how_to_remake(kind)
        ) from error
    declared = [column.name for column in SCHEMAS.get(kind, ())]
    if declared and not _fits(list(frame.columns), declared, kind):
        raise ArtifactVersionError(
            path,
            f"written with the columns {', '.join(frame.columns)}; expected {', '.join(declared)}.",
            how_to_remake(kind),
        )
    return frame


def _conform(table: pa.Table, kind: str, path: Path) -> pa.Table:
    """Checks a table against its declared columns and brings text to one representation."""
    for position, present in enumerate(table.schema):
        if _is_text(present.type):
            text = table.column(position).cast(pa.string())
            table = table.set_column(position, pa.field(present.name, pa.string()), text)
    schema = SCHEMAS.get(kind)
    if schema is None:
        return table
    declared = [column.name for column in schema]
    if not _fits(table.column_names, declared, kind):
        raise ArtifactWriteError(
            path,
            f"not written: a table of kind '{kind}' has the columns {', '.join(declared)}; "
            f"this one has {', '.join(table.column_names) or 'none'}.",
        )
    for column in schema:
        values = table.column(column.name)
        if values.type != _ARROW_TYPES[column.dtype]:
            raise ArtifactWriteError(
                path,
                f"not written: column '{column.name}' of a table of kind '{kind}' must be "
                f"{column.dtype}, not {values.type}.",
            )
        if values.null_count and column.dtype != "float64":
            raise ArtifactWriteError(
                path, f"not written: column '{column.name}' lacks {values.null_count} values."
            )
    return table


def _fits(names: list[str], declared: list[str], kind: str) -> bool:
    """Whether a table has the declared columns, in their order, and others only if it may."""
    return names[: len(declared)] == declared if kind in EXTENSIBLE else names == declared


def _is_text(arrow_type: pa.DataType) -> bool:
    if pa.types.is_dictionary(arrow_type):
        return _is_text(arrow_type.value_type)
    return bool(pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type))
