"""The dataset table as the tensors that models read."""

import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mechflow.training.examples import Examples


def modulus(dataset: pd.DataFrame) -> int:
    """p, from the largest residue."""
    return int(dataset["a"].max()) + 1


def column(dataset: pd.DataFrame, name: str) -> Int[Tensor, "R pairs"]:
    """One integer column as a replicate by example matrix."""
    wide = dataset.pivot(index="replicate", columns="example", values=name)
    return torch.from_numpy(wide.to_numpy(copy=True))


def train_masks(dataset: pd.DataFrame) -> Bool[Tensor, "R pairs"]:
    """Which examples each replicate is trained on."""
    wide = dataset.pivot(index="replicate", columns="example", values="split")
    return torch.from_numpy((wide == "train").to_numpy(copy=True))


def all_tokens(p: int) -> Int[Tensor, "pairs 3"]:
    """The sequences ``a b =`` of all ordered pairs, b fastest."""
    residues = torch.arange(p)
    return torch.cartesian_prod(residues, residues, torch.tensor([p]))


def split_examples(dataset: pd.DataFrame, split: str) -> Examples:
    """Tokens and labels of one split; every replicate has the same number of examples."""
    mask = train_masks(dataset) if split == "train" else ~train_masks(dataset)
    n_replicates = len(mask)
    tokens = all_tokens(modulus(dataset)).expand(n_replicates, -1, -1)
    labels = column(dataset, "label")
    return Examples(tokens[mask].view(n_replicates, -1, 3), labels[mask].view(n_replicates, -1))
