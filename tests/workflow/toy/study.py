"""Declaration of the toy study."""

from mechflow.studies.declaration import Figure, Stage, Study, Table
from mechflow.studies.toy.config import Toy, Variant

STUDY = Study(
    name="toy",
    title="Toy",
    config=Toy,
    variant_config=Variant,
    stages=(
        Stage("dataset", uses=("dataset",), seeded=True),
        Stage("train", reads=("dataset",), uses=("training",), seeded=True),
        Stage("probe", reads=("dataset", "weights"), uses=("probe", "dataset.p")),
    ),
    figures=(
        Figure("curves", "curves", ("curves",), "Curves", "The loss of every replicate."),
        Figure("weights", "weights", ("weights", "probes"), "Weights", "Weights and scores."),
    ),
    tables=(Table("losses", ("curves",), "Losses", "The last loss of every variant."),),
    claim_reads=("probes",),
)
