"""Trains the replicates of a block, from the saved state if a job was interrupted."""

from typing import TYPE_CHECKING

from mechflow import job, stage

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job.start(snakemake) as task:
    stage.run(task)
