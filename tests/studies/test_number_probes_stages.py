"""Stages of the number probes study against planted structure and direct computation."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from mechflow.artifacts import SCHEMAS, Owner, Shards, ShardWriter, collect
from mechflow.periods import number_spectrum
from mechflow.seeds import Seeds
from mechflow.statistics import jackknife_interval
from mechflow.studies.number_probes import geometry, interventions, spectra
from mechflow.studies.number_probes.config import Geometry, Interchange, ReadoutSpectra
from mechflow.svd import effective_rank
from tests.studies.test_modular_addition_figures import of
from tests.tiny_llamas import save_digit_llama

LIMIT = 100
D_MODEL = 8
SEEDS = Seeds(0, "number_probes", "operand")
SETTINGS = Geometry(
    periods=(2, 5, 10, 100), permutations=6, jackknife_groups=4, components=3
)  # fmt: skip
COPIES = 8
"""Prompts of each number."""


# Geometry


def planted(period: int, noise: float) -> Tensor:
    """States on a circle that turns once in a period, with noise of their own."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.arange(LIMIT).repeat_interleave(COPIES)
    angle = 2 * math.pi * numbers / period
    plane = torch.linalg.qr(torch.randn(D_MODEL, 2, generator=generator))[0]
    circle = torch.stack([angle.cos(), angle.sin()], dim=1) @ plane.T
    return circle + noise * torch.randn(circle.shape, generator=generator)


@pytest.fixture(scope="module")
def prompts() -> pd.DataFrame:
    numbers = np.repeat(np.arange(LIMIT), COPIES)
    return pd.DataFrame({"example": np.arange(len(numbers)), "label": numbers})


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, prompts: pd.DataFrame) -> dict:
    """What the stage measures: digits at the embedding, a slow circle later."""
    folder = tmp_path_factory.mktemp("states")
    owner = Owner("number_probes", "operand")
    origin = collect(kind="states", owner=owner, stage="extract", spec={}, code="0", seed=0)
    writer = ShardWriter(folder, "states", origin)
    states = {"hook_embed": planted(10, 0.3), "blocks.0.hook_resid_post": planted(100, 0.3)}
    writer.write(0, {name: rows.float() for name, rows in states.items()})
    index = writer.finish()
    return geometry.run(
        prompts=prompts,
        states=Shards(folder, "states", index, owner),
        limit=LIMIT,
        geometry=SETTINGS,
        seeds=SEEDS,
    )


def test_planted_periods_are_found_above_the_permutations(found: dict) -> None:
    table = found["geometry"]
    for layer, planted_period in ((0, 10), (1, 100)):
        shares = of(table, layer=layer, quantity="period_share")
        for period in SETTINGS.periods:
            rows = of(shares, index=period)
            whole = of(rows, control="none", draw=0)["value"].item()
            null = of(rows, control="permuted")["value"]
            assert len(null) == SETTINGS.permutations
            if period == planted_period:
                assert whole > 5 * null.max()
                assert whole > 0.5
            else:
                assert whole < 0.1


def test_every_group_of_prompts_is_left_out_once(found: dict) -> None:
    rows = of(found["geometry"], layer=0, quantity="period_share", control="none", index=10)
    assert sorted(rows["draw"]) == list(range(SETTINGS.jackknife_groups + 1))
    draws = rows.set_index("draw")["value"]
    interval = jackknife_interval(draws[0], draws[1:])
    assert 0 < interval.high - interval.low < 0.1
    assert draws[1:].nunique() == SETTINGS.jackknife_groups
    # With fewer prompts there is more noise, and all of it is at other periods.
    assert (draws[1:] < draws[0]).all()


def test_a_helix_fits_the_slow_circle_and_both_fit_the_last_digit(found: dict) -> None:
    table = of(found["geometry"], control="none")
    means = table.groupby(["layer", "quantity"])["value"].mean()
    assert means[0, "helix_r2"] == pytest.approx(means[0, "digit_circles_r2"], abs=0.01)
    assert means[1, "helix_r2"] > means[1, "digit_circles_r2"] + 0.005
    null = of(found["geometry"], control="permuted", quantity="helix_r2")
    assert null["value"].mean() < 0


def test_arrays_are_those_of_the_table(found: dict, prompts: pd.DataFrame) -> None:
    table, arrays = found["geometry"], found["geometry_arrays"]
    shares = of(table, quantity="period_share", control="none", draw=0)
    for _, row in shares.iterrows():
        frequency = LIMIT // row["index"]
        observed = arrays["spectrum"][row["layer"], frequency - 1]
        assert float(observed) == pytest.approx(row["value"])
    means = planted(10, 0.3).float().double().unflatten(0, (LIMIT, COPIES)).mean(dim=1)
    torch.testing.assert_close(arrays["spectrum"][0], number_spectrum(means).share)
    centred = means - means.mean(dim=0)
    share = of(table, quantity="component_share", layer=0).sort_values("index")["value"]
    scores = arrays["pc_scores"][0].double()
    held = scores.square().sum(dim=0) / centred.square().sum()
    assert share.to_numpy() == pytest.approx(held.numpy(), rel=1e-5)
    assert arrays["pc_scores"].shape == (2, LIMIT, SETTINGS.components)


def test_the_table_of_geometry_has_its_columns_and_no_row_twice(found: dict) -> None:
    table = found["geometry"]
    assert list(table.columns) == [column.name for column in SCHEMAS["geometry"]]
    assert not table.duplicated([c for c in table.columns if c != "value"]).any()
    assert table["value"].notna().all()
    assert set(table["site"]) == {"hook_embed", "blocks.0.hook_resid_post"}


# Spectra of the probes


def weights(replicates: int, layers: int, hidden: int, width: int, d_model: int) -> dict:
    generator = torch.Generator().manual_seed(1)
    shapes = {
        "W_in": (replicates, layers, hidden, d_model),
        "W_out": (replicates, layers, hidden, width),
        "basis": (replicates, LIMIT, width),
    }
    return {
        f"digits.{name}": torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }


def full_map(parts: dict, replicate: int, layer: int) -> Tensor:
    """Logits of all numbers over states, without what is added to all of them: [numbers, d]."""
    W_in, W_out = (parts[f"digits.{name}"][replicate, layer] for name in ("W_in", "W_out"))
    logits = parts["digits.basis"][replicate] @ W_out.T @ W_in
    return logits - logits.mean(dim=0)


@pytest.mark.parametrize(("hidden", "width", "d_model"), [(4, 20, 8), (12, 20, 8), (5, 3, 8)])
def test_readout_svd_is_that_of_the_full_map(hidden: int, width: int, d_model: int) -> None:
    parts = weights(2, 3, hidden, width, d_model)
    left, values = spectra.readout_svd(
        parts["digits.W_in"], parts["digits.W_out"], parts["digits.basis"].unsqueeze(1)
    )
    rank = min(hidden, width, d_model)
    for replicate in range(2):
        for layer in range(3):
            direct = full_map(parts, replicate, layer)
            u, s, _ = torch.linalg.svd(direct, full_matrices=False)
            own = values[replicate, layer]
            torch.testing.assert_close(own[:rank], s[:rank])
            assert (own[rank:] < 1e-8).all()
            cosines = (left[replicate, layer, :, :rank] * u[:, :rank]).sum(dim=0).abs()
            torch.testing.assert_close(cosines, torch.ones(rank, dtype=torch.float64))


def test_spectra_list_every_replicate_layer_and_period_once() -> None:
    parts = weights(2, 3, 4, 20, 8)
    wanted = ReadoutSpectra(bases=("digits",), singular_functions=2)
    made = spectra.run(
        readout_weights=parts, spectra=wanted, periods=(5, 10), replicates=range(7, 9)
    )
    table, functions = made["spectra"], made["spectra_arrays"]["singular_functions.digits"]
    assert list(table.columns)[:5] == [column.name for column in SCHEMAS["spectra"]]
    assert not table.duplicated([c for c in table.columns if c != "value"]).any()
    assert set(table["replicate"]) == {7, 8}
    direct = full_map(parts, 1, 2)
    own = of(table, replicate=8, layer=2)
    assert of(own, quantity="effective_rank")["value"].item() == pytest.approx(
        float(effective_rank(torch.linalg.svdvals(direct)))
    )
    share = of(own, quantity="period_share", index=10)["value"].item()
    assert share == pytest.approx(number_spectrum(direct).at(10))
    assert functions.shape == (2, 3, 2, LIMIT)
    norms = functions.double().norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


# Interchange on a language model


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Patched runs of a tiny model that writes one digit a token."""
    folder: Path = save_digit_llama(tmp_path_factory.mktemp("llama"))
    return interventions.run(
        model=folder,
        readout_weights=probes(layers=5, d_model=32),
        weights="pretrained",
        template="{a} + {b} =",
        limit=LIMIT,
        dtype="float32",
        interventions=Interchange(pairs=24),
        seeds=SEEDS,
        replicates=range(1),
        device="cpu",
    )["interventions"]


def probes(layers: int, d_model: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    shapes = {
        "W_in": (1, layers, 6, d_model),
        "b_in": (1, layers, 6),
        "W_out": (1, layers, 6, 20),
        "b_out": (1, layers, 6),
        "basis": (1, LIMIT, 20),
    }
    return {
        f"digits.{name}": torch.randn(shape, generator=generator)
        for name, shape in shapes.items()
    }  # fmt: skip


def test_the_table_of_interventions_has_its_columns_and_no_row_twice(
    exchanged: pd.DataFrame,
) -> None:
    declared = [column.name for column in SCHEMAS["interventions"]]
    assert list(exchanged.columns)[: len(declared)] == declared
    assert not exchanged.duplicated([c for c in exchanged if c not in ("value", "n")]).any()
    assert set(exchanged["layer"]) == {-1, 0, 1, 2, 3}  # not after the final norm
    assert set(exchanged["read_layer"]) == {-1, 0, 1, 2, 3, 4}
    patched = of(exchanged, intervention="interchange", metric="decoded_source")
    assert (patched["read_layer"] >= patched["layer"]).all()
    assert (patched["n"] == 24).all()


def test_all_tokens_at_the_embedding_make_the_run_the_source(exchanged: pd.DataFrame) -> None:
    rows = of(exchanged, tokens="operand", control="none", layer=0)
    assert of(rows, metric="next_token_source")["value"].item() == 1
    assert of(rows, metric="next_token_base")["value"].item() == 0
    assert of(rows, metric="log_prob_change_source")["value"].item() > 0
    assert of(rows, metric="log_prob_change_base")["value"].item() < 0
    last = of(exchanged, tokens="last", control="none", layer=3)
    # After the last block nothing is read from the operand any more.
    assert of(last, metric="next_token_source")["value"].item() == 0
    assert of(last, metric="next_token_base")["value"].item() == 1


def test_without_pairs_no_model_is_loaded() -> None:
    found = interventions.run(
        model=Path("/nowhere"),
        readout_weights={},
        weights="pretrained",
        template="{a} + {b} =",
        limit=LIMIT,
        dtype="float32",
        interventions=Interchange(pairs=0),
        seeds=SEEDS,
        replicates=range(1),
        device="cpu",
    )["interventions"]
    assert found.empty
    assert found["n"].dtype == "int64"
