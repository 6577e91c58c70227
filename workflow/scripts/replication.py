"""Collates the verdicts of all studies."""

from typing import TYPE_CHECKING

from mechflow import job, tabular

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job.start(snakemake) as task:
    verdicts = task.read_tables_of_studies("claims")
    task.write_table("parquet", verdicts, kind="replication")
    task.write_text("tex", tabular.latex(verdicts))
    task.write_text("md", tabular.markdown(verdicts))
