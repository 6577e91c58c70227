import importlib
import inspect
import re
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from mechflow import fourier
from mechflow.artifacts import Owner, collect, read_table, write_table
from mechflow.config.study import Style
from mechflow.figures.save import save_figure
from mechflow.figures.style import context
from mechflow.statistics import clipped, mean_interval
from mechflow.studies.networks import select
from mechflow.studies.phase_changes import figures as package
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.figure_texts_digits import FIGURES
from mechflow.studies.phase_changes.figures import (
    carries,
    digit_basis,
    digit_neurons,
    probe_map,
    singular,
)
from tests.studies.fabricated_digits import (
    BLIND,
    DIGITS,
    MODELS,
    STEPS,
    VARIANTS,
    data,
    with_replicates,
)
from tests.studies.test_modular_addition_figures import check_text, texts

STYLE = Style(dpi=60)
NAMES = [figure.name for figure in FIGURES]
FEW = ("addition", "induction_one_layer", "skip_trigram")


def declared(name):
    (figure,) = (figure for figure in FIGURES if figure.name == name)
    return figure


def draw(name, networks=VARIANTS, shown=None, **options):
    """Draws a figure that may read nothing but what it declares."""
    figure = declared(name)
    module = importlib.import_module(f"{package.__name__}.{figure.module}")
    made = data(networks, reads=figure.reads, **options)
    drawn, source = getattr(module, f"draw_{name}")(made, shown or Figures(), STYLE)
    assert isinstance(drawn, Figure)
    return drawn, source


@cache
def default(name):
    """Figure and source data of all variants, drawn once for tests that only look."""
    return draw(name)


def table(name, **wanted):
    return select(data(VARIANTS).table(name), **wanted)


def summary(rows):
    return rows.iloc[0][["mean", "low", "high", "n"]].astype(float).tolist()


def all_text(figure):
    return " ".join(text.get_text() for text in texts(figure))


def test_every_figure_of_these_modules_is_declared():
    for module in {figure.module for figure in FIGURES}:
        names = vars(importlib.import_module(f"{package.__name__}.{module}"))
        found = {
            name.removeprefix("draw_")
            for name, function in names.items()
            if name.startswith("draw_")
            and list(inspect.signature(function).parameters) == ["data", "figures", "style"]
        }
        assert found == {figure.name for figure in FIGURES if figure.module == module}


@pytest.mark.parametrize("name", NAMES)
def test_captions_say_how_to_read_and_name_no_configured_number(name):
    figure = declared(name)
    assert figure.title
    assert figure.caption.endswith(".")
    assert len(figure.caption.split()) > 25
    # Intervals, and ends of scales.
    assert set(re.findall(r"\d+", figure.caption)) <= {"0", "1", "95"}


@pytest.mark.parametrize("name", NAMES)
def test_figures_have_source_data_that_can_be_stored(name, tmp_path):
    drawn, source = default(name)
    assert {"panel", "variant", "series", "kind"} <= set(source)
    assert "n = 3 training seeds" in drawn.get_supxlabel()
    provenance = collect(kind="figure_data", owner=Owner("x"), stage="f", spec={}, code="0", seed=0)
    write_table(tmp_path / "source.parquet", source, "figure_data", provenance)
    assert len(read_table(tmp_path / "source.parquet", "figure_data")) == len(source)


@pytest.mark.parametrize("name", NAMES)
def test_drawing_again_gives_the_same_bytes(name):
    two = {name: network for name, network in with_replicates(2).items() if name in FEW}
    first, second = (draw(name, two) for _ in range(2))
    assert save_figure(first[0], STYLE) == save_figure(second[0], STYLE)
    pd.testing.assert_frame_equal(first[1], second[1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("replicates", [1, 5])
def test_text_never_overlaps(name, replicates):
    drawn, source = draw(name, with_replicates(replicates))
    with context(STYLE):
        drawn.draw_without_rendering()
        check_text(drawn)
    if replicates == 1 and "low" in source:
        assert source["low"].isna().all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variant", ["addition_finite", "skip_trigram", "induction_one_layer"])
def test_figures_say_what_is_missing(name, variant):
    drawn, source = draw(name, {variant: VARIANTS[variant]})
    with context(STYLE):
        drawn.draw_without_rendering()
        check_text(drawn)
    of_task = {
        "task_probes": not variant.startswith("addition"),
        "circuit_singular_values": variant == "skip_trigram",
    }
    if of_task.get(name, variant.startswith("addition")):
        assert set(source["variant"].dropna()) == {variant}
    else:
        assert source.empty
        assert "was run" in all_text(drawn)


# Digits in the Fourier basis


def test_the_basis_is_orthonormal_as_drawn():
    drawn, source = default("fourier_basis")
    cells = select(source, panel="basis").pivot(index="component", columns="digit", values="value")
    basis = cells.to_numpy(dtype=float)
    assert basis @ basis.T == pytest.approx(np.eye(10), abs=1e-6)
    assert basis[-1] == pytest.approx((-1.0) ** np.arange(10) / np.sqrt(10))
    assert select(source, series="largest error")["value"].item() < 1e-14
    assert "identity" in all_text(drawn)


@pytest.mark.parametrize("model", MODELS)
def test_gram_matrices_are_those_of_the_shown_network(model):
    _, source = draw("fourier_basis", shown=Figures(replicate=1))
    arrays = VARIANTS["addition_finite"].spectra_arrays()
    ending = "" if model == "trained" else "_untrained"
    for basis, name in (("digits", "digit_gram"), ("Fourier basis", "digit_gram_fourier")):
        cells = select(source, variant="addition_finite", series=f"{model}, {basis}", kind="map")
        values = cells.pivot(index="row", columns="column", values="value")
        assert np.array_equal(values, arrays[f"{name}{ending}"][1])


def test_off_diagonal_shares_have_intervals_over_networks():
    _, source = default("fourier_basis")
    gram = VARIANTS["addition"].spectra_arrays()["digit_gram"].double().numpy()
    total = (gram**2).sum((1, 2))
    shares = 1 - (np.diagonal(gram, axis1=1, axis2=2) ** 2).sum(1) / total
    rows = select(source, variant="addition", series="trained", basis="digits")
    assert select(rows, kind="replicate")["value"].tolist() == pytest.approx(shares.tolist())
    wanted = clipped(mean_interval(shares), 0.0, 1.0)
    mean = select(rows, kind="mean").rename(columns={"value": "centre"})
    assert mean.iloc[0][["centre", "low", "high"]].tolist() == pytest.approx(wanted[:3])


def test_the_expected_share_in_random_bases_is_that_of_random_bases():
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    gram = torch.zeros(10, 10, dtype=torch.float64)
    gram[1:, 1:] = W @ W.T
    normal = torch.randn(4000, 9, 9, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(normal).Q
    turned = rotation.mT @ gram[1:, 1:] @ rotation
    sampled = digit_basis.off_diagonal(turned).mean()
    expected = digit_basis.off_diagonal_of_random_bases(gram)
    assert expected.item() == pytest.approx(sampled.item(), abs=3e-3)


@pytest.mark.parametrize("measure", ["off_diagonal", "off_diagonal_of_random_bases"])
def test_equal_directions_are_diagonal_in_every_basis(measure):
    gram = torch.diag(torch.tensor([0.0] + [2.0] * 9, dtype=torch.float64))
    both = torch.stack([gram, torch.zeros_like(gram)])
    assert getattr(digit_basis, measure)(both).tolist() == pytest.approx([0.0, 0.0])


def test_embeddings_that_only_know_differences_are_diagonal_in_the_fourier_basis():
    # Any function of the difference of two digits mod 10.
    gram = torch.tensor([3.0, 1.0, -0.5, 0.2, 0.1, -2.0, 0.1, 0.2, -0.5, 1.0]).double()
    digit = torch.arange(10)
    values = gram[(digit[:, None] - digit) % 10]
    basis = fourier.fourier_basis(10)
    assert digit_basis.off_diagonal(basis @ values @ basis.T).item() < 1e-12
    assert digit_basis.off_diagonal(values).item() > 0.3


def test_gram_matrices_that_are_not_stored_are_left_out():
    drawn, source = draw("fourier_basis", without="_untrained")
    assert "untrained: not stored" in all_text(drawn)
    assert not source["series"].fillna("").str.startswith("untrained").any()


def test_spectra_of_digits_are_those_of_the_table():
    drawn, source = default("digit_spectrum")
    for matrix, model in (("W_E", "trained"), ("W_U", "untrained")):
        rows = table("spectra", variant="addition_finite", matrix=matrix, model=model)
        values = select(rows, quantity="fourier_norm", index=7)["value"]
        drawn_rows = select(
            source, panel=matrix, variant="addition_finite", series=model, x=7
        )  # fmt: skip
        assert select(drawn_rows, kind="replicate")["value"].tolist() == values.tolist()
        mean = select(drawn_rows, kind="mean").iloc[0]
        wanted = clipped(mean_interval(values), 0.0, np.inf)
        assert mean[["value", "low", "high", "n"]].tolist() == pytest.approx(tuple(wanted))
    gini = table("spectra", variant="addition", matrix="W_E", quantity="gini", model="trained")
    assert f"Gini {gini['value'].mean():.2f}" in all_text(drawn)


# Neurons


def test_neurons_are_those_of_the_table_and_of_the_arrays():
    drawn, source = draw("digit_neurons", shown=Figures(replicate=2))
    rows = table("spectra", variant="addition", matrix="neurons.digit.1", model="untrained")
    values = select(rows, quantity="frequency_power", index=4)["value"]
    found = select(source, panel="neurons.digit.1", variant="addition", series="untrained", x=4)
    assert select(found, kind="replicate")["value"].tolist() == values.tolist()
    arrays = VARIANTS["addition"].spectra_arrays()
    number = int(arrays["pair_mean_neurons"][2, 3])
    cells = select(source, panel=f"neuron {number}", variant="addition")
    assert np.array_equal(
        cells.pivot(index="x", columns="y", values="value"), arrays["pair_means"][2, 3]
    )
    power = select(source, panel="power, units predicted", variant="addition")
    power = power.pivot(index="k_x", columns="k_y", values="value").to_numpy(dtype=float)
    assert power == pytest.approx(arrays["pair_power"][:, 0].mean(0).numpy(), rel=1e-5)
    noise = select(rows, quantity="sampling_share")["value"].mean()
    assert f"untrained {100 * noise:.0f} %" in all_text(drawn)


def test_noise_has_as_much_of_each_frequency_as_is_drawn():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(100, 3000, generator=generator, dtype=torch.float64)
    measured = fourier.neuron_fraction_explained(noise, 10).mean(1)
    assert digit_neurons.unstructured_shares() == pytest.approx(measured.tolist(), abs=3e-3)


def test_models_without_an_mlp_have_no_neurons():
    def without_neurons(name, frame):
        return frame[~frame["matrix"].str.startswith("neurons")] if name == "spectra" else frame

    drawn, source = draw("digit_neurons", change=without_neurons)
    assert source.empty
    assert "MLP" in all_text(drawn)


# Carries


def test_losses_and_accuracies_are_those_of_the_table():
    _, source = default("carries")
    for panel in ("loss", "accuracy"):
        rows = table("progress", variant="addition", metric=f"{panel}.carries.one", control="none")
        drawn = select(source, panel=panel, variant="addition", series="one", kind="replicate")
        assert sorted(drawn["y"]) == sorted(rows["value"])
    loss = select(source, panel="loss", variant="addition", series="one", kind="mean", x=300)
    # Two of three networks have learnt it by then: the geometric mean.
    assert loss["y"].item() == pytest.approx((0.1 * 0.1 * BLIND) ** (1 / 3))
    everything = select(source, panel="loss", variant="addition", series="all", x=50)
    assert everything["y"].item() == pytest.approx(6 ** (1 / 3))


def test_carries_are_set_against_sums_without_one_network_by_network():
    _, source = default("carries")
    behind = select(source, panel="behind", variant="addition", series="cascade", x=250)
    # The first two networks have learnt sums without a carry, and none has learnt cascades.
    gaps = [-0.8, -0.8, 0.0]
    assert select(behind, kind="replicate")["y"].tolist() == pytest.approx(gaps)
    wanted = mean_interval(gaps)
    mean = select(behind, kind="mean").iloc[0]
    assert mean[["y", "low", "high", "n"]].tolist() == pytest.approx(tuple(wanted))


def test_cascades_are_learnt_later_by_the_paired_difference():
    drawn, source = default("carries")
    steps = select(source, panel="learnt", variant="addition", kind="replicate")
    assert select(steps, series="cascade")["y"].tolist() == [300, 450, 400]
    delay = select(source, variant="addition", series="delay of cascades").iloc[0]
    wanted = mean_interval([100, 200, 100])
    assert delay[["y", "low", "high", "n"]].tolist() == pytest.approx(tuple(wanted))
    assert "cascade − no carry:\n133 steps [−10, 277]" in all_text(drawn)


def test_what_is_never_learnt_is_counted():
    drawn, source = default("carries")
    text = all_text(drawn)
    assert "1 of 3 never" in text
    assert "3 of 3 never" in text
    assert "no network learnt both" in text
    mean = select(source, panel="learnt", variant="addition_finite", kind="mean")
    assert mean["y"].isna().all()
    assert drawn.axes[-1].get_ylim() == (0.0, 1.05 * STEPS[-1])


def test_learning_asks_for_several_checkpoints_in_a_row():
    step = np.arange(0, 600, 100)
    curves = {"none": [0, 1, 0, 1, 1, 1], "one": [1] * 6, "cascade": [0, 0, 0, 0, 1, 1]}
    rows = pd.concat(
        pd.DataFrame(
            {"replicate": 4, "step": step, "metric": f"accuracy.carries.{kind}", "value": value}
        )
        for kind, value in curves.items()
    )
    found = carries.learning_steps(rows).loc[4]
    assert found["none"] == 300
    assert found["one"] == 0
    assert np.isnan(found["cascade"])


# Probes


def test_cells_are_accuracies_above_shuffled_labels():
    _, source = default("carry_probes")
    rows = table("probes", variant="addition", split="test", site="blocks.0.hook_resid_mid")
    rows = select(rows, target="carry.0", position=6)
    cell = select(source, panel="blocks.0.hook_resid_mid", variant="addition", target="carry.0")
    cell = select(cell, position=6)
    gains = {}
    for model in MODELS:
        by_control = select(rows, model=model).pivot(
            index="replicate", columns="control", values="value"
        )
        gains[model] = by_control["none"] - by_control["shuffled_labels"]
        drawn = select(cell, series=model, kind="mean")
        assert summary(drawn) == pytest.approx(tuple(mean_interval(gains[model])))
    paired = select(cell, kind="above untrained")
    wanted = mean_interval(gains["trained"] - gains["untrained"])
    assert summary(paired) == pytest.approx(tuple(wanted))


def test_the_axes_of_the_map_tell_which_digit_is_predicted_and_which_carry_it_needs():
    drawn, source = default("carry_probes")
    axes = next(a for a in drawn.axes if a.get_xlabel() == "answer digit predicted")
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == [rf"$10^{{{k}}}$" for k in range(DIGITS, -1, -1)]
    columns = [label.get_text() for label in axes.get_yticklabels()]
    assert columns == [rf"$10^{{{k}}}$" for k in range(DIGITS)]
    framed = {tuple(np.add(patch.get_xy(), 0.5)) for patch in axes.patches}
    # Where the digit of 10^k is predicted, what comes in is the carry of column k - 1.
    assert framed == {(DIGITS - k, k - 1) for k in range(1, DIGITS + 1)}
    assert sorted(source["position"].unique()) == list(range(5, 6 + DIGITS))


def test_circles_are_where_trained_networks_give_more():
    def much_better(name, frame):
        better = (frame["model"] == "trained") & (frame["control"] == "none")
        better &= frame["position"] == 6
        return frame.assign(value=frame["value"] + 5.0 * better)

    drawn, source = draw("carry_probes", change=much_better)
    paired = select(source, kind="above untrained", position=6)
    assert (paired["low"] > 0).all()
    circles = [line for axes in drawn.axes for line in axes.lines if line.get_marker() == "o"]
    marked = select(source, kind="above untrained")
    assert len(circles) == (marked["low"] > 0).sum()


def test_probes_by_layer_are_those_of_the_table():
    _, source = default("task_probes")
    site = "blocks.1.hook_resid_post"
    rows = table("probes", variant="induction", split="test", site=site, target="next_token")
    for series, model, control in (
        ("trained", "trained", "none"),
        ("untrained", "untrained", "none"),
        ("shuffled labels", "trained", "shuffled_labels"),
    ):
        values = select(rows, model=model, control=control)["value"]
        drawn = select(source, panel="next_token", variant="induction", series=series, site=site)
        assert select(drawn, kind="replicate")["value"].tolist() == values.tolist()
        mean = select(drawn, kind="mean").iloc[0]
        wanted = clipped(mean_interval(values), 0.0, 1.0)
        assert mean[["value", "low", "high", "n"]].tolist() == pytest.approx(tuple(wanted))


def test_sites_are_in_the_order_of_the_forward_pass():
    sites = ["blocks.0.hook_resid_pre"]
    for layer in range(11):
        sites += [f"blocks.{layer}.hook_resid_mid", f"blocks.{layer}.hook_resid_post"]
    shuffled = np.random.default_rng(0).permutation(sites)
    assert probe_map.site_order(pd.Series(shuffled)) == sites
    assert [probe_map.site_name(site) for site in sites[:3]] == [
        "embedding", "after attention of block 1", "after block 1",
    ]  # fmt: skip


# Singular values


def test_heads_are_averaged_by_their_strength():
    _, source = default("circuit_singular_values")
    rows = table("spectra", variant="induction", model="trained", quantity="singular_value")
    heads = np.stack(
        [
            select(rows, matrix=f"QK.L1H{head}")
            .pivot(index="replicate", columns="index", values="value")
            .to_numpy()
            for head in range(2)
        ]
    )
    strongest = (heads**2).sum(-1).argmax(0)
    values = heads[strongest, np.arange(3)]
    assert set(strongest) == {0, 1}, "the networks should differ for this to test anything"
    drawn = select(source, panel="QK, block 2", variant="induction", series="trained", head="1")
    assert drawn["x"].tolist() == [1, 2, 3]
    assert drawn["y"].to_numpy(dtype=float) == pytest.approx(values.mean(0))
    low = [max(0.0, mean_interval(column).low) for column in values.T]
    assert drawn["low"].to_numpy(dtype=float) == pytest.approx(low)


def test_one_variant_stands_for_each_task():
    assert singular.shown_variants(data(VARIANTS)) == ["addition", "skip_trigram", "induction"]
    _, source = default("circuit_singular_values")
    panels = source.groupby("variant")["panel"].agg(set)
    assert {panel.split(", ")[1] for panel in panels["induction"]} == {"block 1", "block 2"}
    assert {panel.split(", ")[0] for panel in panels["addition"]} == set(singular.CIRCUITS)
