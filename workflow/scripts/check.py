"""Checks whether a language model allows what a variant does with it."""

from typing import TYPE_CHECKING

from mechflow import job, stage

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job.start(snakemake) as task:
    stage.run(task)
