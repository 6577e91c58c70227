"""Least-squares probes of every layer: the number, its logarithm and its digits."""

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechflow.artifacts import Shards
from mechflow.probes.folded_ridge import folded_ridge_scores
from mechflow.probes.gaussian import gaussian_features
from mechflow.probes.number_split import NumberSplit
from mechflow.seeds import Seeds
from mechflow.studies.number_probes import config
from mechflow.studies.number_probes.layers import each_layer
from mechflow.studies.number_probes.splits import number_splits

COLUMNS = [
    *("replicate", "site", "target", "control", "split", "metric", "value"),
    *("layer", "fold", "probe"),
]
PUBLISHED_INVERSE = "log_published"


def run(
    *,
    prompts: pd.DataFrame,
    states: Shards,
    folds: pd.DataFrame,
    probe: config.LeastSquares,
    seeds: Seeds,
    replicates: range,
) -> dict[str, pd.DataFrame]:
    """Scores of all folds of all replicates."""
    labels = torch.tensor(prompts["label"].to_numpy())
    splits = number_splits(folds)
    frames = []
    for layer, site, features in each_layer(states):
        for replicate in replicates:
            own = [split for (owner, _), split in splits.items() if owner == replicate]
            for control in ("none", *probe.controls):
                streams = (seeds, replicate, layer)
                subject = _controlled(control, features, labels, own, streams)
                scores = folded_ridge_scores(*subject)
                frames.append(
                    scores.assign(replicate=replicate, site=site, layer=layer, control=control)
                )
    table = pd.concat(frames, ignore_index=True)
    if not probe.published_inverse:
        table = table[table["probe"] != PUBLISHED_INVERSE].reset_index(drop=True)
    return {"probes": table[COLUMNS]}


def _controlled(
    control: str,
    features: Float[Tensor, "prompts d_model"],
    labels: Int[Tensor, " prompts"],
    splits: list[NumberSplit],
    streams: tuple[Seeds, int, int],
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Features, labels and splits [folds, numbers] of a control.

    Shuffled values give every number another one's target; the numbers that are held out stay the
    same ones. Shuffled labels deal the prompts' labels out again.
    """
    seeds, replicate, layer = streams
    masks = {name: torch.stack([split.masks()[name] for split in splits]) for name in _SPLITS}
    if control == "shuffled_values":
        generator = seeds.torch(replicate, "shuffled values")
        order = torch.randperm(masks["train"].shape[1], generator=generator)
        back = order.argsort()
        return features, order[labels], {name: mask[:, back] for name, mask in masks.items()}
    if control == "shuffled_labels":
        generator = seeds.torch(replicate, "shuffled labels")
        return features, labels[torch.randperm(len(labels), generator=generator)], masks
    if control == "gaussian":
        generator = seeds.torch(replicate, f"Gaussian features at layer {layer}")
        return gaussian_features(features, labels, generator), labels, masks
    return features, labels, masks


_SPLITS = ("train", "valid", "test")
