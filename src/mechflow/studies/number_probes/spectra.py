"""Singular values of the trained probes' maps from states to numbers."""

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from mechflow.periods import number_spectrum
from mechflow.studies.number_probes.config import ReadoutSpectra
from mechflow.svd import effective_rank, principal_directions

COLUMNS = ["replicate", "matrix", "quantity", "index", "value", "layer"]


def run(
    *,
    readout_weights: dict[str, Tensor],
    spectra: ReadoutSpectra,
    periods: tuple[int, ...],
    replicates: range,
) -> dict[str, pd.DataFrame | dict[str, Tensor]]:
    """Singular values, effective ranks, and the periods of what the probes tell apart."""
    rows: list[dict[str, object]] = []
    functions: dict[str, Tensor] = {}
    for basis in spectra.bases:
        W_in, W_out, codes = (
            readout_weights[f"{basis}.{name}"] for name in ("W_in", "W_out", "basis")
        )
        left, values = readout_svd(W_in, W_out, codes.unsqueeze(1))
        functions[f"singular_functions.{basis}"] = (
            left[..., : spectra.singular_functions].transpose(-1, -2).float().contiguous()
        )
        for index, replicate in enumerate(replicates):
            for layer in range(values.shape[1]):
                names = {"replicate": replicate, "matrix": f"readout.{basis}", "layer": layer}
                found = _observations(left[index, layer], values[index, layer], periods)
                rows += [names | row for row in found]
    return {"spectra": pd.DataFrame(rows)[COLUMNS], "spectra_arrays": functions}


def readout_svd(
    W_in: Float[Tensor, "*stack hidden d_model"],
    W_out: Float[Tensor, "*stack hidden width"],
    basis: Float[Tensor, "*bases numbers width"],
) -> tuple[Float[Tensor, "*stack numbers rank"], Float[Tensor, "*stack rank"]]:
    """Left singular vectors and singular values of the map from states to logits.

    The map is C W_in with C = S W_outᵀ the codes of the numbers, S their basis. Codes are centred
    over the numbers, since what is added to all logits alike decides nothing. The rank is at most
    the hidden width, so both factors are reduced first and no [numbers, d_model] matrix is made.

    Args:
        W_in: [R, L, hidden, d_model].
        W_out: [R, L, hidden, width].
        basis: [R, L, numbers, width], or what broadcasts to it.
    """
    codes = basis.double() @ W_out.double().mT
    _, r_in = torch.linalg.qr(W_in.double().mT)
    left, values, _ = principal_directions((codes - codes.mean(dim=-2, keepdim=True)) @ r_in.mT)
    return left, values


def _observations(
    left: Float[Tensor, "numbers rank"], values: Float[Tensor, " rank"], periods: tuple[int, ...]
) -> list[dict[str, object]]:
    found: list[dict[str, object]] = [
        {"quantity": "singular_value", "index": rank, "value": float(value)}
        for rank, value in enumerate(values)
    ]
    found.append({"quantity": "effective_rank", "index": 0, "value": float(effective_rank(values))})
    spectrum = number_spectrum(left * values)
    found += [
        {"quantity": "period_share", "index": period, "value": spectrum.at(period)}
        for period in periods
    ]
    return found
