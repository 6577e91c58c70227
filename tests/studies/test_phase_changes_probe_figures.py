import numpy as np
import pandas as pd
import pytest

from mechflow.statistics import clipped, mean_interval
from mechflow.studies.networks import select
from mechflow.studies.phase_changes.figures import carries, probe_map, singular
from tests.studies.fabricated_digits import BLIND, MODELS, STEPS, VARIANTS, data
from tests.studies.fabricated_digits import DIGITS as N_DIGITS
from tests.studies.galleries import DIGITS, words

default = DIGITS.default


def table(name, **wanted):
    return select(data(VARIANTS).table(name), **wanted)


def summary(rows):
    return rows.iloc[0][["mean", "low", "high", "n"]].astype(float).tolist()


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
    assert "cascade − no carry: 133 steps [−10, 277]" in words(drawn)


def test_what_is_never_learnt_is_counted():
    drawn, source = default("carries")
    text = words(drawn)
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
    assert labels == [rf"$10^{{{k}}}$" for k in range(N_DIGITS, -1, -1)]
    columns = [label.get_text() for label in axes.get_yticklabels()]
    assert columns == [rf"$10^{{{k}}}$" for k in range(N_DIGITS)]
    framed = {tuple(np.add(patch.get_xy(), 0.5)) for patch in axes.patches}
    # Where the digit of 10^k is predicted, what comes in is the carry of column k - 1.
    assert framed == {(N_DIGITS - k, k - 1) for k in range(1, N_DIGITS + 1)}
    assert sorted(source["position"].unique()) == list(range(5, 6 + N_DIGITS))


def test_circles_are_where_trained_networks_give_more():
    def much_better(name, frame):
        better = (frame["model"] == "trained") & (frame["control"] == "none")
        better &= frame["position"] == 6
        return frame.assign(value=frame["value"] + 5.0 * better)

    drawn, source = DIGITS.draw("carry_probes", change=much_better)
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
