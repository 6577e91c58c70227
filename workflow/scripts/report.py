"""Puts all figures, tables and verdicts on one page."""

from pathlib import Path
from typing import TYPE_CHECKING

from mechflow import job
from mechflow.artifacts import read_provenance
from mechflow.report import Figure, Table, render

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job.start(snakemake) as task:
    studies = task.spec["studies"]
    results = Path(snakemake.output.html).parent

    def links(file: Path, **suffixes: str) -> dict[str, str]:
        """The same result in other formats, relative to the report."""
        base = file.relative_to(results)
        return {what: base.with_suffix(suffix).as_posix() for what, suffix in suffixes.items()}

    figures = [
        Figure(
            study=png.parent.name,
            name=png.stem,
            **studies[png.parent.name]["figures"][png.stem],
            png=png.read_bytes(),
            provenance=read_provenance(source, "figure_data"),
            links=links(png, PDF=".pdf", Data=".parquet"),
        )
        for png, source in zip(task.inputs("figures"), task.inputs("sources"), strict=True)
    ]
    tables = [
        Table(
            study=path.parent.name,
            name=path.stem,
            **studies[path.parent.name]["tables"][path.stem],
            data=task.read_table_of_study("tables", path, kind="table"),
            provenance=read_provenance(path, "table"),
            links=links(path, LaTeX=".tex", Markdown=".md", Data=".parquet"),
        )
        for path in task.inputs("tables")
    ]
    task.write_text("html", render(figures, tables, task.read_table("replication"), task.spec))
