"""Where the artefacts of a study lie, which stage makes each, and what it depends on."""

from typing import Literal, NamedTuple

from mechflow.blocks import format_block
from mechflow.studies.declaration import Study


class Artefact(NamedTuple):
    """One kind of result that other stages read."""

    stage: str
    """The stage, and rule, that makes it."""
    file: str
    """Name of its file."""
    scope: Literal["block", "variant", "model"] = "block"
    """What there is one of it for: each block of replicates of a variant; each variant, because
    it is the same for all replicates; or each language model, whatever study uses it."""


MODELS = "results/models"
"""The folder in which every language model gets one of its own."""

ARTEFACTS: dict[str, Artefact] = {
    "model": Artefact("fetch", "files.parquet", "model"),
    "dataset": Artefact("dataset", "dataset.parquet"),
    "weights": Artefact("train", "weights.safetensors"),
    "checkpoints": Artefact("train", "checkpoints.safetensors"),
    "curves": Artefact("train", "curves.parquet"),
    "activations": Artefact("activations", "activations.safetensors"),
    "prompts": Artefact("prompts", "prompts.parquet", "variant"),
    "check": Artefact("check", "check.parquet", "variant"),
    "states": Artefact("extract", "states/index.parquet", "variant"),
    "extraction": Artefact("extract", "extraction.parquet", "variant"),
    "behaviour": Artefact("behaviour", "behaviour.parquet", "variant"),
    "geometry": Artefact("geometry", "geometry.parquet", "variant"),
    "geometry_arrays": Artefact("geometry", "geometry.safetensors", "variant"),
    "folds": Artefact("folds", "folds.parquet"),
    "readout": Artefact("readout", "readout.parquet"),
    "readout_values": Artefact("readout", "readout_values.parquet"),
    "readout_weights": Artefact("readout", "readout.safetensors"),
    "probes": Artefact("probe", "probes.parquet"),
    "spectra": Artefact("spectra", "spectra.parquet"),
    "spectra_arrays": Artefact("spectra", "spectra.safetensors"),
    "progress": Artefact("progress", "progress.parquet"),
    "interventions": Artefact("interventions", "interventions.parquet"),
}
"""The artefacts that stages exchange, by name."""


def blocks(replicates: int, block_size: int) -> list[str]:
    """Names of the blocks of replicates, such as ``r000-004``.

    More replicates keep every full block. A last block that was not full is replaced by a larger
    one, so counts that are multiples of the block size waste nothing.
    """
    starts = range(0, replicates, block_size)
    return [format_block(range(start, min(start + block_size, replicates))) for start in starts]


def artefact_path(artefact: str, study: str, variant: str, block: str | None = None) -> str:
    """The file of an artefact of one variant, or of one of its blocks.

    Raises:
        ValueError: there is one for each block, and none was named.
    """
    place = ARTEFACTS[artefact]
    if place.scope == "variant":
        return f"results/{study}/{variant}/{place.file}"
    if block is None:
        raise ValueError(f"'{artefact}' belongs to a block of replicates, and none is given")
    return f"results/{study}/{variant}/{block}/{place.file}"


def model_path(model: str) -> str:
    """The list of the files of one language model; the files lie beside it."""
    return f"{MODELS}/{model}/{ARTEFACTS['model'].file}"


def upstream_uses(study: Study, artefacts: tuple[str, ...]) -> tuple[str, ...]:
    """Keys that the given artefacts depend on, through all stages before them.

    A job that reads the artefacts may use these values without becoming stale any sooner.
    """
    stages = {stage.name: stage for stage in study.stages}
    waiting, seen, uses = list(artefacts), set[str](), set[str]()
    while waiting:
        maker = ARTEFACTS[waiting.pop()].stage
        if maker not in seen and maker in stages:
            seen.add(maker)
            waiting += stages[maker].reads
            uses.update(stages[maker].uses)
    return tuple(sorted(uses))
