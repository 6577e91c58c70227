"""The made-up language model of the number probes study: its sizes, and what a variant is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mechflow.config.language_models import LanguageModelSource, LanguageModelUse
from mechflow.studies.number_probes.config import (
    Behaviour,
    Extraction,
    Folds,
    Geometry,
    Interchange,
    LeastSquares,
    Prompts,
    Readout,
    ReadoutSpectra,
)

LIMIT = 100
N_LAYERS = 4
LAST = N_LAYERS + 1
LAYERS = range(LAST + 1)
SITES = (
    "hook_embed",
    *(f"blocks.{i}.hook_resid_post" for i in range(N_LAYERS)),
    "ln_final.hook_normalized",
)
FOLDS = 3
D_MODEL = 12
HIDDEN = 5
PERIODS = (2, 5, 10, 100)
GROUPS = 4
PERMUTATIONS = 5
COMPONENTS = 4
FUNCTIONS = 3
WIDTHS = {"sinusoidal": 12, "random_fourier": 12, "random_code": 12, "digits": 20, "binary": 7}
ALL_CONTROLS = ("shuffled_values", "shuffled_labels", "gaussian")
SMOLLM2 = LanguageModelSource(package="smollm2-135m-instruct")


@dataclass(frozen=True)
class Subject:
    """One variant."""

    best: float = 0.9
    """What the best probe reads at its best layer."""
    label: str = "b"
    weights: str = "pretrained"
    bases: Sequence[str] = tuple(WIDTHS)
    controls: Sequence[str] = ALL_CONTROLS
    controlled: Sequence[str] = ("sinusoidal", "digits")
    answers: int = 0
    """Prompts that the model was let to complete."""
    pairs: int = 0
    """Pairs of interchange."""
    replicates: int = 1
    control_folds: int = FOLDS
    split: str = "folds"

    def sections(self) -> dict[str, Any]:
        """The configuration that artefacts of the variant depend on."""
        return {
            "model": LanguageModelUse(weights=self.weights),
            "prompts": Prompts(limit=LIMIT, label=self.label, sample=400),
            "extraction": Extraction(position="last" if self.label == "sum" else "b"),
            "folds": Folds(folds=FOLDS, split=self.split),
            "readout": Readout(
                bases=tuple(self.bases),
                controls=tuple(self.controls),
                controlled_bases=tuple(self.controlled),
                control_folds=self.control_folds,
                hidden_dim=HIDDEN,
            ),
            "probe": LeastSquares(),
            "geometry": Geometry(
                periods=PERIODS,
                permutations=PERMUTATIONS,
                jackknife_groups=GROUPS,
                components=COMPONENTS,
            ),
            "spectra": ReadoutSpectra(singular_functions=FUNCTIONS),
            "behaviour": Behaviour(prompts=self.answers),
            "interventions": Interchange(pairs=self.pairs),
        }


def rise(layer: int) -> float:
    """How much of the best score there is at a layer."""
    return (0.1, 0.5, 0.9, 1.0, 0.95, 0.85)[layer]
