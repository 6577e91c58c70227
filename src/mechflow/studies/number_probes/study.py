"""Declaration of the number probes study."""

from mechflow.studies.declaration import Stage, Study
from mechflow.studies.number_probes import figure_texts_probes, figure_texts_spectra
from mechflow.studies.number_probes.config import NumberProbes, Variant

STAGES = (
    Stage("prompts", uses=("prompts",), seeded=True),
    Stage(
        "check",
        reads=("model", "prompts"),
        uses=(
            "model.weights",
            "prompts.template",
            "prompts.limit",
            "extraction.position",
            "interventions.pairs",
            "interventions.operand_digits",
        ),
        seeded=True,
    ),
    Stage(
        "extract",
        reads=("model", "prompts"),
        after=("check",),
        uses=("model.weights", "prompts.template", "extraction"),
        seeded=True,
    ),
    Stage(
        "behaviour",
        reads=("model", "prompts"),
        after=("check",),
        uses=("model.weights", "prompts.template", "extraction.dtype", "behaviour"),
        seeded=True,
    ),
    Stage("folds", uses=("prompts.limit", "folds"), seeded=True),
    Stage(
        "readout",
        reads=("prompts", "states", "folds"),
        uses=("prompts.limit", "readout"),
        seeded=True,
    ),
    Stage(
        "probe",
        reads=("prompts", "states", "folds"),
        uses=("probe",),
        seeded=True,
    ),
    Stage(
        "geometry",
        reads=("prompts", "states"),
        uses=("prompts.limit", "geometry"),
        seeded=True,
    ),
    Stage("spectra", reads=("readout_weights",), uses=("spectra", "geometry.periods")),
    Stage(
        "interventions",
        reads=("model", "readout_weights"),
        after=("check",),
        uses=(
            "model.weights",
            "prompts.template",
            "prompts.limit",
            "extraction.dtype",
            "interventions",
        ),
        seeded=True,
    ),
)

STUDY = Study(
    name="number_probes",
    title="Number probes on a language model",
    config=NumberProbes,
    variant_config=Variant,
    stages=STAGES,
    figures=figure_texts_probes.FIGURES + figure_texts_spectra.FIGURES,
    tables=figure_texts_probes.TABLES,
    claim_reads=("readout", "probes", "geometry", "interventions", "behaviour"),
)
