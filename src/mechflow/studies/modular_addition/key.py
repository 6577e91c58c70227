"""Key frequencies and neuron clusters, read back from the spectra table."""

import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor


def key_mask(spectra: pd.DataFrame, replicates: range, p: int) -> Bool[Tensor, "R n_freq"]:
    """Which frequencies 1 .. p // 2 are key for each replicate."""
    rows = spectra[spectra["quantity"] == "key_frequency"]
    mask = torch.zeros(len(replicates), p // 2, dtype=torch.bool)
    for replicate, frequency in zip(rows["replicate"], rows["index"], strict=True):
        mask[replicates.index(replicate), frequency - 1] = True
    return mask


def neuron_frequency(spectra: pd.DataFrame, replicates: range) -> Int[Tensor, "R d_mlp"]:
    """Frequency of the cluster to which each neuron of the trained models belongs, or 0."""
    rows = spectra[(spectra["quantity"] == "neuron_frequency") & (spectra["model"] == "trained")]
    wide = rows.pivot(index="replicate", columns="index", values="value")
    return torch.from_numpy(wide.loc[list(replicates)].to_numpy().astype("int64"))
