"""Snakemake's own objects, as a script of a toy study gets them, and artefacts of that study."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from snakemake.iocontainers import (
    InputFiles,
    Log,
    Namedlist,
    OutputFiles,
    Params,
    ResourceList,
    Snakemake,
    Wildcards,
)

from mechflow.artifacts import Owner, collect, write_table

SPEC = {
    "study": "toy",
    "variant": "full",
    "stage": "train",
    "values": {"model": {"widths": [1, 2]}, "training.steps": 3},
    "seed": 5,
}
WILDCARDS = {"study": "toy", "variant": "full", "block": "r002-003"}


def named(container: type[Namedlist], items: Mapping[str, object]) -> Namedlist:
    """Fills one of Snakemake's containers; a list of values shares one name."""
    made = container()
    for name, value in items.items():
        start = len(made)
        if isinstance(value, list):
            made.extend(value)
            made._set_name(name, start, end=len(made))
        else:
            made.append(value)
            made._set_name(name, start)
    return made


def snakemake_object(
    folder: Path,
    *,
    inputs: Mapping[str, object] | None = None,
    outputs: Sequence[str] = ("curves.parquet",),
    spec: Mapping[str, object] = SPEC,
    wildcards: Mapping[str, str] = WILDCARDS,
    device: str | None = None,
) -> Snakemake:
    params = {"spec": json.dumps(spec), "code": "c0de"}
    if device is not None:
        params["device"] = device
    block = folder / "results" / "toy" / "full" / "r002-003"
    return Snakemake(
        named(InputFiles, inputs or {}),
        named(OutputFiles, {Path(name).stem: str(block / name) for name in outputs}),
        named(Params, params),
        named(Wildcards, wildcards),
        1,
        ResourceList(),
        named(Log, {"log": str(folder / "job.log")}),
        {},
        "train",
        None,
    )


def curves(rows: int = 2) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "replicate": np.arange(rows),
            "step": np.zeros(rows, dtype=np.int64),
            "split": "train",
            "metric": "loss",
            "value": np.ones(rows),
        }
    )


def write_curves(path: Path, variant: str, block: str | None, study: str = "toy") -> str:
    owner = Owner(study, variant, block)
    origin = collect(kind="curves", owner=owner, stage="train", spec={}, code="", seed=None)
    write_table(path, curves(), "curves", origin)
    return str(path)
