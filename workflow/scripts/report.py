"""Puts all figures, tables and verdicts on one page."""

from typing import TYPE_CHECKING

from mechflow import job
from mechflow.artifacts import read_provenance
from mechflow.report import render

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job.start(snakemake) as task:
    studies = task.spec["studies"]
    figures = [
        {
            **studies[png.parent.name]["figures"][png.stem],
            "study": png.parent.name,
            "png": png,
            "provenance": read_provenance(source, "figure_data"),
        }
        for png, source in zip(task.inputs("figures"), task.inputs("sources"), strict=True)
    ]
    tables = [
        {
            **studies[path.parent.name]["tables"][path.stem],
            "study": path.parent.name,
            "data": task.read_table_of_study("tables", path, kind="table"),
        }
        for path in task.inputs("tables")
    ]
    task.write_text("html", render(figures, tables, task.read_table("replication"), task.spec))
