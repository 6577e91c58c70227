"""Fetches a language model and lists its files."""

from pathlib import Path
from typing import TYPE_CHECKING

from mechflow import job
from mechflow.artifacts import list_files
from mechflow.language_models.sources import bring

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job.start(snakemake) as task:
    index = Path(snakemake.output.model)
    names = bring(task.spec["source"], index)
    task.write_table("model", list_files(index.parent, names))
