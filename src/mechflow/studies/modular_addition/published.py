"""Numbers of published runs at p = 113, to be judged where the same configuration is run."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from mechflow.claims import Claim, Evidence, OneMoreRun
from mechflow.figures.data import FigureData
from mechflow.studies import networks
from mechflow.studies.modular_addition import evidence, outcomes
from mechflow.studies.modular_addition.variants import DEMONSTRATION, NOTEBOOK

NOTEBOOK_TEXT = "notebook of arXiv 2405.17703"
DEMONSTRATION_TEXT = "TransformerLens grokking demonstration"
NANDA = "Nanda et al. 2023"

FINAL = "median over the last tenth of training"


def _number(
    claim_id: str,
    statement: str,
    published: float,
    measure: str,
    outcome: evidence.Outcome,
    *,
    variant: str,
    source: str,
    configuration: Mapping[str, Any],
    summary: evidence.Summary = Evidence.of,
) -> Claim[FigureData]:
    """A published number of one run at p = 113, trained for 25000 epochs."""
    return Claim(
        claim_id,
        statement,
        source,
        f"{measure}, of {variant}",
        OneMoreRun(),
        evidence.at_published_scale(
            variant, configuration, evidence.replicates(variant, outcome, summary)
        ),
        published,
    )


_notebook = partial(
    _number, variant="binary_published", source=NOTEBOOK_TEXT, configuration=NOTEBOOK
)
_demo = partial(
    _number, variant="full_published", source=DEMONSTRATION_TEXT, configuration=DEMONSTRATION
)
_nanda = partial(_number, variant="full_published", source=NANDA, configuration=DEMONSTRATION)

NUMBERS = (
    _notebook(
        "notebook_initial_train_loss",
        "Before training, the binarised network's train loss is just above that of a uniform guess "
        "(ln 113 = 4.727).",
        4.9126,
        "train loss before the first update [nats]",
        lambda data: networks.initial_values(data, "loss", "train"),
    ),
    _notebook(
        "notebook_initial_test_loss",
        "Before training, the binarised network's test loss is just above that of a uniform guess "
        "(ln 113 = 4.727).",
        4.9016,
        "test loss before the first update [nats]",
        lambda data: networks.initial_values(data, "loss", "test"),
    ),
    _notebook(
        "notebook_epoch_of_grokking",
        "The published binarised network groks at about 2000 epochs.",
        2099.0,
        "first evaluated epoch with test loss below 0.35",
        lambda data: networks.steps_below(data, "loss", "test", 0.35),
        summary=Evidence.of_positive,
    ),
    _notebook(
        "notebook_final_train_loss",
        "The train loss of the published binarised network ends at 0.00343.",
        0.00343,
        f"train loss [nats], {FINAL} (published: the last epoch)",
        lambda data: networks.final_values(data, "loss", "train"),
        summary=Evidence.of_positive,
    ),
    _notebook(
        "notebook_final_test_loss",
        "The test loss of the published binarised network ends at 0.00716.",
        0.00716,
        f"test loss [nats], {FINAL} (published: the last epoch)",
        lambda data: networks.final_values(data, "loss", "test"),
        summary=Evidence.of_positive,
    ),
    _notebook(
        "notebook_key_frequencies",
        "The published binarised network has 7 key frequencies.",
        7.0,
        "number of key frequencies, by the configured rule (published: by a threshold on the norm "
        "in a basis that holds one frequency twice)",
        outcomes.key_frequency_counts,
    ),
    _demo(
        "demo_peak_test_loss",
        "Before it generalises, the test loss of the full-precision network peaks at 34.1.",
        34.1,
        "highest test loss of training [nats]",
        lambda data: networks.extreme_values(data, "loss", "test"),
    ),
    _demo(
        "demo_epoch_of_peak",
        "The test loss of the full-precision network peaks at epoch 1399.",
        1399.0,
        "epoch of the highest test loss",
        lambda data: networks.extreme_steps(data, "loss", "test"),
    ),
    _demo(
        "demo_epoch_of_grokking",
        "The test loss of the full-precision network falls to 0.114 at epoch 14099.",
        14_099.0,
        "first evaluated epoch with test loss of 0.114 or less",
        lambda data: networks.steps_below(data, "loss", "test", 0.114),
        summary=Evidence.of_positive,
    ),
    _demo(
        "demo_final_train_loss",
        "The train loss of the full-precision network ends at 9.45e-8.",
        9.45e-8,
        f"train loss [nats], {FINAL} (published: the last epoch)",
        lambda data: networks.final_values(data, "loss", "train"),
        summary=Evidence.of_positive,
    ),
    _demo(
        "demo_final_test_loss",
        "The test loss of the full-precision network ends at 2.03e-7.",
        2.03e-7,
        f"test loss [nats], {FINAL} (published: the last epoch)",
        lambda data: networks.final_values(data, "loss", "test"),
        summary=Evidence.of_positive,
    ),
    _demo(
        "demo_key_frequencies",
        "The full-precision network has 4 key frequencies.",
        4.0,
        "number of key frequencies",
        outcomes.key_frequency_counts,
    ),
    _nanda(
        "nanda_neurons_explained",
        "One frequency explains more than 85 % of the variance of 84.6 % of the neurons.",
        0.846,
        "share of neurons explained by one frequency (published: an architecture with biases "
        "trained for 40000 epochs)",
        outcomes.neurons_explained,
    ),
    _nanda(
        "nanda_logit_variance",
        "Cosines of the key frequencies explain 95 % of the variance of the logits.",
        0.95,
        "share of the logits' variance in cos and sin of w(a + b) of the key frequencies "
        "(published: in cos w(a + b - c), after 40000 epochs)",
        lambda data: outcomes.spectral(data, "logit_variance_explained", "logits", weights=""),
    ),
)
"""All published numbers, in the order of the scoreboard."""
