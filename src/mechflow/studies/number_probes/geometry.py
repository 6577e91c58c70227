"""Mean states over the number line: periods, principal components, helix against digits."""

from collections.abc import Iterator

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechflow.artifacts import Shards
from mechflow.helix import (
    basis_scores,
    circle_periods,
    digit_circle_basis,
    helix_basis,
    permuted_basis_scores,
)
from mechflow.mean_states import (
    MeanStates,
    grouped_sums,
    jackknife_groups,
    principal_components,
)
from mechflow.periods import number_spectrum, permuted_shares, shares_at
from mechflow.seeds import Seeds
from mechflow.studies.number_probes import config
from mechflow.studies.number_probes.layers import each_layer

COLUMNS = ["site", "layer", "quantity", "index", "control", "draw", "value"]
HELD_OUT_FOLDS = 5
"""Folds of the numbers on which the helix is fitted and scored."""
HELIX_PERMUTATIONS = 3
HARMONICS = 5
Row = tuple[str, int, str, int, float]
"""Quantity, index, control, draw and value."""


def run(
    *,
    prompts: pd.DataFrame,
    states: Shards,
    limit: int,
    geometry: config.Geometry,
    seeds: Seeds,
) -> dict[str, pd.DataFrame | dict[str, Tensor]]:
    """Spectra and components of every layer; intervals come from leaving out groups of prompts."""
    labels = torch.tensor(prompts["label"].to_numpy())
    groups = jackknife_groups(
        labels, geometry.jackknife_groups, seeds.torch(None, "jackknife groups")
    )
    frames, arrays = [], []
    for layer, site, features in each_layer(states):
        sums = grouped_sums(features, labels, limit, groups, geometry.jackknife_groups)
        whole = sums.overall()
        rows = [*_observed(whole, geometry, 0)]
        for group, without in enumerate(sums.leave_one_out(), start=1):
            rows += _observed(without, geometry, group)
        generator = seeds.torch(None, f"permutations at layer {layer}")
        null = permuted_shares(whole.means, geometry.permutations, generator)
        rows += _permuted(null, limit, geometry)
        rows += _helix(whole.means, generator)
        components = principal_components(whole.means, geometry.components)
        shares = components.variance_share.tolist()
        rows += [("component_share", rank, "none", 0, share) for rank, share in enumerate(shares)]
        frame = pd.DataFrame(rows, columns=COLUMNS[2:])
        frames.append(frame.assign(site=site, layer=layer))
        arrays.append(
            {
                "pc_scores": components.scores.float(),
                "spectrum": number_spectrum(whole.means).share,
                "spectrum_permuted": null.mean(dim=0),
            }
        )
    stacked = {name: torch.stack([found[name] for found in arrays]) for name in arrays[0]}
    table = pd.concat(frames, ignore_index=True)[COLUMNS]
    return {"geometry": table, "geometry_arrays": stacked}


def _observed(states: MeanStates, geometry: config.Geometry, draw: int) -> Iterator[Row]:
    """Shares of power at the periods, and of variance in the trend."""
    spectrum = number_spectrum(states.means)
    for period in geometry.periods:
        yield "period_share", period, "none", draw, spectrum.at(period)
    yield "trend_share", 0, "none", draw, spectrum.trend_share


def _permuted(
    null: Float[Tensor, "draws n_freq"], limit: int, geometry: config.Geometry
) -> Iterator[Row]:
    for draw, shares in enumerate(shares_at(null, limit, geometry.periods).tolist(), start=1):
        for period, share in zip(geometry.periods, shares, strict=True):
            yield "period_share", period, "permuted", draw, share


def _helix(means: Float[Tensor, "numbers d_model"], generator: torch.Generator) -> Iterator[Row]:
    """Held-out R² of a helix and of digit circles of nearly equal width, by fold."""
    numbers = len(means)
    places = range(len(str(numbers - 1)))
    bases = {
        "helix_r2": helix_basis(numbers, circle_periods(places, HARMONICS)),
        "digit_circles_r2": digit_circle_basis(numbers, places, HARMONICS),
    }
    test = _random_folds(numbers, generator)
    for quantity, basis in bases.items():
        found = basis_scores(means, basis, ~test, test).test.tolist()
        for fold, value in enumerate(found):
            yield quantity, fold, "none", 0, value
        # One fold tells what the null is like; each costs as much as an observed one.
        null = permuted_basis_scores(
            means, basis, ~test[:1], test[:1], HELIX_PERMUTATIONS, generator
        )
        for draw, values in enumerate(null.tolist(), start=1):
            for fold, value in enumerate(values):
                yield quantity, fold, "permuted", draw, value


def _random_folds(numbers: int, generator: torch.Generator) -> Bool[Tensor, "folds numbers"]:
    """Folds of the numbers, drawn at random, whose sizes differ by one at most."""
    order: Int[Tensor, " numbers"] = torch.randperm(numbers, generator=generator)
    fold = torch.empty_like(order)
    fold[order] = torch.arange(numbers) % HELD_OUT_FOLDS
    return fold == torch.arange(HELD_OUT_FOLDS)[:, None]
