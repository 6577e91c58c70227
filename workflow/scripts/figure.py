"""Draws one figure of a study, and writes the data drawn in it."""

from typing import TYPE_CHECKING

from mechflow import job
from mechflow.figures.data import FigureData, figures_section, style

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job.start(snakemake) as task:
    # Not before: the frame has set the backend with which matplotlib is imported.
    from mechflow.figures.save import save_figure

    name, module = task.spec["figure"]["name"], task.spec["figure"]["module"]
    draw = getattr(task.module(f"figures.{module}"), f"draw_{name}")
    look = style(task.spec)
    figure, source = draw(FigureData.of(task), figures_section(task.spec), look)
    pdf, png = save_figure(figure, look)
    task.write_bytes("pdf", pdf)
    task.write_bytes("png", png)
    task.write_table("source", source, kind="figure_data")
