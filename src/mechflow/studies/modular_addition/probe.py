"""Linear probes at every site: which numbers can be read there, against two controls.

The untrained model tells what the architecture gives away, the shuffled labels what a probe of
this size can score without information.
"""

import math

import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from mechflow.probes.controls import permute_labels
from mechflow.probes.scores import linear_probe_scores
from mechflow.seeds import Seeds
from mechflow.studies.modular_addition.config import Probe
from mechflow.studies.modular_addition.inputs import column, modulus, train_masks

COLUMNS = [
    *("replicate", "site", "target", "control", "split", "metric", "value"),
    *("model", "frequency"),
]


def run(
    *,
    dataset: pd.DataFrame,
    activations: dict[str, Tensor],
    probe: Probe,
    seeds: Seeds,
    replicates: range,
) -> dict[str, pd.DataFrame]:
    """Scores of all probes of one block."""
    targets = {"none": labels(dataset), "shuffled_labels": {}}
    for name, values in targets["none"].items():
        generators = [seeds.torch(r, f"shuffled labels of {name}") for r in replicates]
        targets["shuffled_labels"][name] = permute_labels(values, generators)
    train = train_masks(dataset)
    p = modulus(dataset)
    frames = []
    for model in ("trained", "untrained"):
        for site in probe.sites:
            for control, categorical in targets.items():
                scores = linear_probe_scores(
                    activations[f"{model}/{site}"],
                    train,
                    categorical,
                    waves(categorical["sum"], p),
                    penalties=probe.penalties,
                    classifier=probe.classifier,
                    replicates=replicates,
                )
                frames.append(scores.assign(model=model, site=site, control=control))
    return {"probes": pd.concat(frames, ignore_index=True)[COLUMNS]}


def labels(dataset: pd.DataFrame) -> dict[str, Int[Tensor, "R pairs"]]:
    """What is read as a class: both operands, and their sum mod p whatever the task is."""
    a, b = column(dataset, "a"), column(dataset, "b")
    return {"a": a, "b": b, "sum": (a + b) % modulus(dataset)}


def waves(total: Int[Tensor, "R pairs"], p: int) -> dict[tuple[str, int], Float[Tensor, "R pairs"]]:
    """Cosine and sine of 2 pi k (a + b) / p for every frequency k."""
    found = {}
    for k in range(1, (p - 1) // 2 + 1):
        angle = 2 * math.pi * k * total.double() / p
        found["cos", k] = angle.cos()
        found["sin", k] = angle.sin()
    return found
