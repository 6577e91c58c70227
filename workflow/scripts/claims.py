"""Judges the published claims of a study."""

from typing import TYPE_CHECKING

from mechflow import job
from mechflow.figures.data import FigureData

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job.start(snakemake) as task:
    task.write_table("claims", task.module("claims").judge(FigureData.of(task)))
