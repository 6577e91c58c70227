"""Declaration of the phase changes study."""

from mechflow.studies.declaration import Stage, Study
from mechflow.studies.phase_changes import (
    figure_texts_circuits,
    figure_texts_curves,
    figure_texts_digits,
)
from mechflow.studies.phase_changes.config import PhaseChanges, Variant

STAGES = (
    Stage("dataset", uses=("data", "finite"), seeded=True),
    Stage("train", reads=("dataset",), uses=("data", "model", "training"), seeded=True),
    Stage(
        "probe",
        reads=("weights", "checkpoints"),
        uses=("data", "model", "probe"),
        seeded=True,
    ),
    Stage(
        "spectra",
        reads=("dataset", "weights", "checkpoints"),
        uses=("data", "model", "spectra"),
        seeded=True,
    ),
    Stage(
        "progress",
        reads=("dataset", "checkpoints"),
        uses=("data", "model", "training.loss_factor", "progress"),
        seeded=True,
    ),
    Stage(
        "interventions",
        reads=("dataset", "checkpoints", "progress"),
        uses=("data", "model", "training.loss_factor", "interventions"),
        seeded=True,
    ),
)

STUDY = Study(
    name="phase_changes",
    title="Phase changes: digit addition, skip trigrams, induction",
    config=PhaseChanges,
    variant_config=Variant,
    stages=STAGES,
    figures=figure_texts_curves.FIGURES
    + figure_texts_circuits.FIGURES
    + figure_texts_digits.FIGURES,
    tables=figure_texts_curves.TABLES,
    claim_reads=("curves", "progress", "interventions", "probes", "spectra"),
)
