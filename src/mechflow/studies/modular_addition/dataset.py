"""All pairs of residues with their labels, split into train and test.

Sequences are ``a b =``; the token "=" has index p.
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mechflow.seeds import Seeds
from mechflow.studies.modular_addition.config import Dataset


def run(*, dataset: Dataset, seeds: Seeds, replicates: range) -> dict[str, pd.DataFrame]:
    """The dataset of one block: p squared rows for each replicate."""
    frames = [one_replicate(dataset, seeds, replicate) for replicate in replicates]
    return {"dataset": pd.concat(frames, ignore_index=True)}


def one_replicate(cfg: Dataset, seeds: Seeds, replicate: int) -> pd.DataFrame:
    """Pairs in order of a p + b, their labels and their split."""
    a, b = pairs(cfg.p)
    if cfg.task == "random_labels":
        generator = seeds.torch(replicate, "labels")
        label = torch.randint(cfg.p, (cfg.p**2,), generator=generator)
    else:
        label = labels(a, b, cfg.p, cfg.task)
    if cfg.split_seed is None:
        generator = seeds.torch(replicate, "split")
    else:
        generator = torch.Generator().manual_seed(cfg.split_seed)
    in_train = train_mask(cfg.p, cfg.train_fraction, cfg.split, generator)
    return pd.DataFrame(
        {
            "replicate": np.int64(replicate),
            "example": np.arange(cfg.p**2),
            "split": np.where(in_train.numpy(), "train", "test"),
            "a": a.numpy(),
            "b": b.numpy(),
            "label": label.numpy(),
        }
    )


def pairs(p: int) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """All ordered pairs (a, b), b fastest."""
    residues = torch.arange(p)
    return residues.repeat_interleave(p), residues.repeat(p)


def labels(
    a: Int[Tensor, " n"],
    b: Int[Tensor, " n"],
    p: int,
    task: str,
) -> Int[Tensor, " n"]:
    """The result of the task on each pair, mod p."""
    match task:
        case "add":
            return (a + b) % p
        case "subtract":
            return (a - b) % p
        case "quadratic":
            return (a * a + a * b + b * b) % p
    raise ValueError(f"task '{task}' has no formula; add, subtract and quadratic have one")


def train_mask(
    p: int, fraction: float, split: str, generator: torch.Generator
) -> Bool[Tensor, " pairs"]:
    """Which pairs are trained on.

    ordered: the first floor(fraction p^2) of a random permutation of all ordered pairs, as the
    notebook drew them with ``torch.randperm``. unordered: a pair and its mirror image fall on the
    same side; diagonal and off-diagonal pairs are drawn apart in proportion, so that every
    replicate trains on the same number of examples.
    """
    mask = torch.zeros(p, p, dtype=torch.bool)
    if split == "ordered":
        mask.view(-1)[torch.randperm(p * p, generator=generator)[: int(p * p * fraction)]] = True
        return mask.view(-1)
    low, high = torch.triu_indices(p, p, offset=1)
    kept = torch.randperm(len(low), generator=generator)[: round(len(low) * fraction)]
    mask[low[kept], high[kept]] = True
    mask[high[kept], low[kept]] = True
    diagonal = torch.randperm(p, generator=generator)[: round(p * fraction)]
    mask[diagonal, diagonal] = True
    return mask.view(-1)
