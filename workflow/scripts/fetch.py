"""Fetches a language model and lists its files."""

from typing import TYPE_CHECKING

from mechflow import job
from mechflow.artifacts import list_files
from mechflow.language_models.sources import bring

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job.start(snakemake) as task:
    folder = task.output_folder("model")
    names = bring(task.spec["source"], folder)
    task.write_table("model", list_files(folder, names))
