"""Where the artefacts of a study lie, which stage makes each, and what it depends on."""

from mechflow.blocks import format_block
from mechflow.studies.declaration import Study

ARTEFACTS: dict[str, tuple[str, str]] = {
    "dataset": ("dataset", "dataset.parquet"),
    "weights": ("train", "weights.safetensors"),
    "checkpoints": ("train", "checkpoints.safetensors"),
    "curves": ("train", "curves.parquet"),
    "activations": ("activations", "activations.safetensors"),
    "probes": ("probe", "probes.parquet"),
    "spectra": ("spectra", "spectra.parquet"),
    "spectra_arrays": ("spectra", "spectra.safetensors"),
    "progress": ("progress", "progress.parquet"),
    "interventions": ("interventions", "interventions.parquet"),
}
"""For each artefact of a block: the stage that makes it and the name of its file."""


def blocks(replicates: int, block_size: int) -> list[str]:
    """Names of the blocks of replicates, such as ``r000-004``.

    More replicates keep every full block. A last block that was not full is replaced by a larger
    one, so counts that are multiples of the block size waste nothing.
    """
    starts = range(0, replicates, block_size)
    return [format_block(range(start, min(start + block_size, replicates))) for start in starts]


def artefact_path(study: str, variant: str, block: str, artefact: str) -> str:
    """The file of one artefact of one block."""
    return f"results/{study}/{variant}/{block}/{ARTEFACTS[artefact][1]}"


def upstream_uses(study: Study, artefacts: tuple[str, ...]) -> tuple[str, ...]:
    """Keys that the given artefacts depend on, through all stages before them.

    A job that reads the artefacts may use these values without becoming stale any sooner.
    """
    stages = {stage.name: stage for stage in study.stages}
    waiting, seen, uses = list(artefacts), set[str](), set[str]()
    while waiting:
        maker = ARTEFACTS[waiting.pop()][0]
        if maker not in seen:
            seen.add(maker)
            waiting += stages[maker].reads
            uses.update(stages[maker].uses)
    return tuple(sorted(uses))
