"""Progress measures on every checkpoint (Nanda et al. 2023), with random frequencies as control.

Key frequencies are those of the final weights, used for all checkpoints.
"""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechflow import progress as measures
from mechflow.config.sections import Transformer
from mechflow.models.factorised import StackedWeights
from mechflow.models.stacked import StackedTransformer
from mechflow.norms import squared_weights
from mechflow.seeds import Seeds
from mechflow.studies.modular_addition.config import Progress
from mechflow.studies.modular_addition.inputs import all_tokens, column, modulus, train_masks
from mechflow.studies.modular_addition.key import key_mask
from mechflow.studies.modular_addition.spectra import View
from mechflow.training.checkpoints import states

COLUMNS = ["replicate", "step", "metric", "definition", "split", "control", "draw", "value"]
SPLITS = ("all", "train", "test")


def run(
    *,
    dataset: pd.DataFrame,
    checkpoints: StackedWeights,
    spectra: pd.DataFrame,
    model: Transformer,
    task: str,
    progress: Progress,
    seeds: Seeds,
    replicates: range,
) -> dict[str, pd.DataFrame]:
    """All measures of one block at all of its checkpoints."""
    p = modulus(dataset)
    key = key_mask(spectra, replicates, p)
    draws = [
        measures.random_frequency_sets(
            k, progress.random_draws, seeds.torch(r, "random frequencies")
        )
        for r, k in zip(replicates, key, strict=True)
    ]
    sets = torch.cat([key[None], torch.stack(draws, 1)])
    train = train_masks(dataset)
    masks = torch.stack([torch.ones_like(train), train, ~train])
    labels = column(dataset, "label")
    sign = -1 if task == "subtract" else 1
    stacked = StackedTransformer(model, d_vocab=p + 1, d_vocab_out=p, n_ctx=3)
    tokens = all_tokens(p).expand(len(replicates), -1, -1)
    frames = []
    for step, weights in states(checkpoints):
        with torch.no_grad():
            logits = stacked.last_logits(weights, tokens)
        rows = [
            *_losses(logits, labels, masks),
            *_frequency_losses(logits, labels, masks, sets, progress, p, sign),
            *_norms(weights, model, p),
        ]
        frames += [_frame(values, replicates, step=step, **names) for values, names in rows]
    return {"progress": pd.concat(frames, ignore_index=True)[COLUMNS]}


Row = tuple[Float[Tensor, " R"], dict[str, str | int]]


def _losses(
    logits: Float[Tensor, "R pairs C"],
    labels: Int[Tensor, "R pairs"],
    masks: Bool[Tensor, "splits R pairs"],
) -> Iterator[Row]:
    losses = measures.split_mean(measures.cross_entropy(logits, labels), masks)
    for split, values in zip(SPLITS, losses, strict=True):
        yield values, {"metric": "loss", "split": split}


def _frequency_losses(
    logits: Float[Tensor, "R pairs C"],
    labels: Int[Tensor, "R pairs"],
    masks: Bool[Tensor, "splits R pairs"],
    sets: Bool[Tensor, "sets R n_freq"],
    cfg: Progress,
    p: int,
    sign: int,
) -> Iterator[Row]:
    """Restricted and excluded loss for the key frequencies (set 0) and for the random sets.

    Random sets are drawn for the first definition only: they are by far the most work.
    """
    for definition in cfg.definitions:
        compared = sets if definition == cfg.definitions[0] else sets[:1]
        losses = measures.frequency_set_losses(logits, labels, p, compared, definition, sign, masks)
        for metric, values in losses._asdict().items():
            for draw, by_split in enumerate(values):
                for split, value in zip(SPLITS, by_split, strict=True):
                    yield (
                        value,
                        {
                            "metric": f"{metric}_loss",
                            "definition": definition,
                            "split": split,
                            "control": "random_frequencies" if draw else "none",
                            "draw": max(0, draw - 1),
                        },
                    )


def _norms(weights: StackedWeights, cfg: Transformer, p: int) -> Iterator[Row]:
    view = View("", p, cfg, weights, {})
    yield measures.gini_of_components(view.W_E), {"metric": "gini.W_E"}
    W_L = view.neuron_logit_map(cfg.precision)
    yield measures.gini_of_components(W_L), {"metric": "gini.W_L"}
    yield squared_weights(weights), {"metric": "squared_weights"}


def _frame(values: Float[Tensor, " R"], replicates: range, **names: Any) -> pd.DataFrame:
    blank = {"definition": "", "split": "", "control": "none", "draw": 0}
    return pd.DataFrame({"replicate": list(replicates), "value": values.double().numpy()}).assign(
        **{**blank, **names}
    )
