"""What a probe's score is set against: chance, shuffled labels, and the difference from them."""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

SELECTIVITY_KEYS = ["replicate", "model", "site", "target", "frequency", "split", "metric"]


def chance_accuracy(
    labels: Int[Tensor, "replicate n"],
    train_mask: Bool[Tensor, "replicate n"],
) -> pd.DataFrame:
    """Accuracy without looking at the activations.

    Returns:
        Columns replicate (position in the stack), split (train|test), chance, value. `majority`
        always answers the commonest train class (of equals, the smallest), `uniform` is one over
        the number of classes among the replicate's train rows.

    Raises:
        ValueError: if a replicate has an empty split.
    """
    records = []
    for replicate, (row, mask) in enumerate(zip(labels, train_mask, strict=True)):
        if not mask.any() or mask.all():
            raise ValueError(f"replicate {replicate} has an empty split")
        counts = torch.bincount(row[mask])
        hit = (row == counts.argmax()).double()
        for split, rows in (("train", mask), ("test", ~mask)):
            records.append((replicate, split, "majority", float(hit[rows].mean())))
            records.append((replicate, split, "uniform", 1 / int((counts > 0).sum())))
    return pd.DataFrame(records, columns=["replicate", "split", "chance", "value"])


def permute_labels(
    labels: Int[Tensor, "replicate n"], generators: Sequence[torch.Generator]
) -> Int[Tensor, "replicate n"]:
    """Deal each replicate's labels out again at random, train and test rows together.

    This is the control task of Hewitt and Liang 2019 for inputs that occur once each: the label is
    a fixed random function of the input. The permuted labels are used for fitting *and* scoring,
    so the train score is what the probe can memorise and the test score is what it gets from the
    class frequencies alone. Values derived from a label (its cosines and sines) are to be derived
    from the permuted label, which keeps all targets of one label on one permutation.

    Raises:
        ValueError: if there is not one generator for each replicate.
    """
    if len(generators) != len(labels):
        raise ValueError(f"{len(generators)} generators for {len(labels)} replicates")
    order = [torch.randperm(labels.shape[1], generator=generator) for generator in generators]
    return labels.gather(1, torch.stack(order).to(labels.device))


def selectivity(scores: pd.DataFrame) -> pd.DataFrame:
    """Score minus the score of the same probe on shuffled labels (Hewitt and Liang 2019).

    Args:
        scores: columns replicate, model, site, target, frequency, control, split, metric, value.

    Returns:
        A row for each score of control `none` that has its partner of control `shuffled_labels`, in
        the order given: the identifying columns, then value, control_value and selectivity.

    Raises:
        ValueError: if a column is missing or a score occurs twice.
    """
    missing = [c for c in [*SELECTIVITY_KEYS, "control", "value"] if c not in scores.columns]
    if missing:
        raise ValueError(f"the scores lack the columns {', '.join(missing)}")
    repeated = scores.duplicated([*SELECTIVITY_KEYS, "control"])
    if repeated.any():
        first = scores.loc[repeated, [*SELECTIVITY_KEYS, "control"]].iloc[0].to_dict()
        raise ValueError(f"more than one score for {first}")
    real = scores.loc[scores["control"] == "none", [*SELECTIVITY_KEYS, "value"]]
    shuffled = scores.loc[scores["control"] == "shuffled_labels", [*SELECTIVITY_KEYS, "value"]]
    shuffled = shuffled.rename(columns={"value": "control_value"})
    joined = real.merge(shuffled, on=SELECTIVITY_KEYS, how="inner")
    return joined.assign(selectivity=joined["value"] - joined["control_value"])
