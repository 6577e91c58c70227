"""Declaration of the modular addition study."""

from mechflow.studies.declaration import Figure, Stage, Study, Table
from mechflow.studies.modular_addition.config import ModularAddition, Variant

STAGES = (
    Stage("dataset", uses=("dataset",), seeded=True),
    Stage("train", reads=("dataset",), uses=("model", "training"), seeded=True),
    Stage(
        "activations",
        reads=("dataset", "weights", "checkpoints"),
        uses=("model", "activations"),
    ),
    Stage("probe", reads=("dataset", "activations"), uses=("probe",), seeded=True),
    Stage(
        "spectra",
        reads=("dataset", "weights", "checkpoints", "activations"),
        uses=("model", "spectra"),
        seeded=True,
    ),
    Stage(
        "progress",
        reads=("dataset", "checkpoints", "spectra"),
        uses=("model", "dataset.task", "progress"),
        seeded=True,
    ),
    Stage(
        "interventions",
        reads=("dataset", "weights", "spectra"),
        uses=("model", "interventions"),
        seeded=True,
    ),
)

FIGURES: tuple[Figure, ...] = ()
TABLES: tuple[Table, ...] = ()

STUDY = Study(
    name="modular_addition",
    title="Binarised modular addition",
    config=ModularAddition,
    variant_config=Variant,
    stages=STAGES,
    figures=FIGURES,
    tables=TABLES,
    claim_reads=("dataset", "curves", "spectra", "progress", "interventions"),
)
