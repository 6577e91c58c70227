import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mechflow.artifacts import (
    SCHEMAS,
    ArtifactForeignError,
    ArtifactVersionError,
    ArtifactWriteError,
    Owner,
    Provenance,
    read_provenance,
    read_table,
    write_table,
)


def test_round_trip(tmp_path: Path, curves: pd.DataFrame, origin: Provenance, owner: Owner) -> None:
    path = tmp_path / "curves.parquet"
    write_table(path, curves, "curves", origin)
    pd.testing.assert_frame_equal(read_table(path, "curves", owner), curves)
    assert read_provenance(path) == origin


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=True), st.text()),
        max_size=8,
    )
)
def test_free_form_tables_keep_every_value(
    tmp_path: Path, origin: Provenance, rows: list[tuple[int, float, str]]
) -> None:
    frame = pd.DataFrame(
        {
            "n": np.array([row[0] for row in rows], dtype=np.int64),
            "x": np.array([row[1] for row in rows], dtype=np.float64),
            "s": pd.array([_encodable(row[2]) for row in rows], dtype="str"),
        }
    )
    path = tmp_path / "source.parquet"
    write_table(path, frame, "figure_data", origin)
    pd.testing.assert_frame_equal(read_table(path, "figure_data"), frame, check_exact=True)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def test_equal_tables_are_equal_files_in_every_process(
    tmp_path: Path, curves: pd.DataFrame, origin: Provenance
) -> None:
    script = (
        "import sys, json, pandas as pd\n"
        "from mechflow.artifacts import Provenance, write_table\n"
        "rows, record = json.load(sys.stdin)\n"
        "write_table(sys.argv[1], pd.DataFrame(rows), 'curves', Provenance(**record))\n"
    )
    record = {**origin.__dict__, "inputs": dict(reversed(origin.inputs.items()))}
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    write_table(first, curves, "curves", origin)
    subprocess.run(
        [sys.executable, "-c", script, str(second)],
        input=json.dumps([curves.to_dict("list"), record]),
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )
    assert first.read_bytes() == second.read_bytes()


def test_any_difference_in_origin_changes_the_file(
    tmp_path: Path, curves: pd.DataFrame, origin: Provenance
) -> None:
    path = tmp_path / "curves.parquet"
    contents = set()
    for provenance in (origin, replace(origin, code="other"), replace(origin, seed=8)):
        write_table(path, curves, "curves", provenance)
        contents.add(path.read_bytes())
    assert len(contents) == 3


def test_descriptions_stand_in_the_file_and_provenance_once(
    tmp_path: Path, curves: pd.DataFrame, origin: Provenance
) -> None:
    path = tmp_path / "curves.parquet"
    write_table(path, curves, "curves", origin)
    pairs = pq.read_metadata(path).metadata
    assert list(pairs) == [b"mechflow"]
    descriptions = json.loads(pairs[b"mechflow"])["columns"]
    assert list(descriptions) == sorted(curves.columns)
    assert "[updates]" in descriptions["step"]


def test_every_declared_column_is_described() -> None:
    for kind, columns in SCHEMAS.items():
        names = [column.name for column in columns]
        assert len(set(names)) == len(names), kind
        assert all(column.description for column in columns)
        assert {column.dtype for column in columns} <= {"int64", "float64", "string"}


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_an_empty_table_of_every_kind_is_written_and_read(
    tmp_path: Path, origin: Provenance, kind: str
) -> None:
    dtypes = {"string": "str"}
    frame = pd.DataFrame(
        {
            column.name: pd.Series([], dtype=dtypes.get(column.dtype, column.dtype))
            for column in SCHEMAS[kind]
        }
    )
    write_table(tmp_path / "x.parquet", frame, kind, origin)
    pd.testing.assert_frame_equal(read_table(tmp_path / "x.parquet", kind), frame)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda f: f.drop(columns="split"), "has the columns"),
        (lambda f: f.assign(note="x"), "has the columns"),
        (lambda f: f[["step", "replicate", "split", "metric", "value"]], "has the columns"),
        (lambda f: f.astype({"step": "int32"}), "'step' .* must be int64, not int32"),
        (lambda f: f.astype({"value": "float32"}), "'value' .* must be float64"),
        (lambda f: f.assign(step="0"), "'step' .* must be int64"),
        (lambda f: f.assign(metric=[None, *f["metric"][1:]]), "'metric' lacks 1"),
    ],
)
def test_undeclared_columns_are_not_written(
    tmp_path: Path, curves: pd.DataFrame, origin: Provenance, change: object, complaint: str
) -> None:
    with pytest.raises(ArtifactWriteError, match=complaint):
        write_table(tmp_path / "x.parquet", change(curves), "curves", origin)  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


def test_categories_are_stored_as_text(
    tmp_path: Path, curves: pd.DataFrame, origin: Provenance
) -> None:
    write_table(tmp_path / "x.parquet", curves.astype({"split": "category"}), "curves", origin)
    pd.testing.assert_frame_equal(read_table(tmp_path / "x.parquet", "curves"), curves)


def test_an_undefined_value_stays_undefined(
    tmp_path: Path, curves: pd.DataFrame, origin: Provenance
) -> None:
    curves.loc[3, "value"] = np.nan
    write_table(tmp_path / "x.parquet", curves, "curves", origin)
    pd.testing.assert_frame_equal(read_table(tmp_path / "x.parquet", "curves"), curves)


def test_foreign_files_are_refused(
    tmp_path: Path, curves: pd.DataFrame, origin: Provenance, owner: Owner
) -> None:
    path = tmp_path / "curves.parquet"
    write_table(path, curves, "curves", origin)
    with pytest.raises(ArtifactForeignError, match=r"holds curves .* expected probes"):
        read_table(path, "probes")
    others = [
        owner._replace(study="backward_chaining"),
        owner._replace(variant="binary"),
        owner._replace(block="r002-003"),
        owner._replace(block=None),
    ]
    for other in others:
        with pytest.raises(ArtifactForeignError, match=r"modular_addition/full/r000-001"):
            read_table(path, "curves", other)


def test_another_layout_version_is_refused(
    tmp_path: Path, curves: pd.DataFrame, origin: Provenance
) -> None:
    path = tmp_path / "curves.parquet"
    write_table(path, curves, "curves", replace(origin, schema_version=0))
    for read in (lambda: read_table(path, "curves"), lambda: read_provenance(path)):
        with pytest.raises(ArtifactVersionError, match=r"version 0.*reads version 1"):
            read()


def test_columns_that_were_declared_otherwise_are_refused(
    tmp_path: Path, curves: pd.DataFrame, origin: Provenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "curves.parquet"
    write_table(path, curves, "curves", origin)
    monkeypatch.setitem(SCHEMAS, "curves", SCHEMAS["curves"][:-1])
    with pytest.raises(ArtifactVersionError, match="columns"):
        read_table(path, "curves")
