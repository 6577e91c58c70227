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
TABLES: tuple[Table, ...] = (
    Table(
        "training",
        ("curves",),
        "When the networks generalise",
        "For each variant: replicates (n), how many of them generalised, and the epoch from which "
        "test accuracy stays at 99 % or above for five evaluations (or for as many as an early "
        "stop asks for): the median, from the earliest to the latest replicate. A replicate that "
        "never gets there counts as later than all others (inf). Final losses and accuracy are "
        "medians over the last tenth of training, because late curves are spiky. Losses: geometric "
        "mean over replicates, accuracy: mean, each with its 95 % interval (Student's t).",
    ),
    Table(
        "spectra",
        ("spectra",),
        "Key frequencies and what they explain",
        "Number of key frequencies, by the configured rule; share of the neurons of which one "
        "frequency explains more than the configured share of the variance; share of the logits' "
        "variance in the key frequencies; Gini coefficients of the Fourier norms of W_E and W_L, "
        "the latter for latent and for quantised weights. Means over replicates with 95 % "
        "intervals (Student's t). Last column: the key frequencies of each replicate.",
    ),
    Table(
        "effective_ranks",
        ("spectra",),
        "Effective rank of W_E and W_L",
        "Trained networks (latent and quantised weights) beside a Gaussian matrix of equal norm "
        "and the untrained network. Means over replicates with 95 % intervals (Student's t).",
    ),
    Table(
        "comparison",
        ("curves", "spectra", "progress", "interventions"),
        "Quantised against full-precision networks",
        "Variants that differ from the full-precision one in nothing but the precision of their "
        "weights: difference of means with Welch's 95 % interval, Cliff's delta, and the p value "
        "of a Mann-Whitney test, corrected by Holm's method over the variants compared by one "
        "quantity, not over quantities. Empty where a replicate never reaches 99 % test accuracy. "
        "Five against five replicates cannot give a p value below 0.008.",
    ),
)

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
