"""Makes one table of a study, in full precision and for reading."""

from typing import TYPE_CHECKING

from mechflow import job, tabular
from mechflow.figures.data import FigureData

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job.start(snakemake) as task:
    make = getattr(task.module("tables"), f"make_{task.spec['table']}")
    table = make(FigureData.of(task))
    task.write_table("parquet", table, kind="table")
    task.write_text("tex", tabular.latex(table))
    task.write_text("md", tabular.markdown(table))
