"""Declaration of the phase changes study."""

from mechflow.studies.declaration import Stage, Study
from mechflow.studies.phase_changes.config import PhaseChanges, Variant

STAGES = (
    Stage("dataset", uses=("data", "finite"), seeded=True),
    Stage("train", reads=("dataset",), uses=("data", "model", "training"), seeded=True),
)

STUDY = Study(
    name="phase_changes",
    title="Phase changes: digit addition, skip trigrams, induction",
    config=PhaseChanges,
    variant_config=Variant,
    stages=STAGES,
    figures=(),
    tables=(),
    claim_reads=("curves",),
)
