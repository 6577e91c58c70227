import importlib

import numpy as np
import pandas as pd
import pytest
import torch

from mechflow.statistics import geometric_mean_interval, mean_interval
from mechflow.studies.phase_changes import figures as package
from mechflow.studies.phase_changes import induction_circuit, variants
from mechflow.studies.phase_changes.config import Figures, Induction
from mechflow.studies.phase_changes.figures import ablations, circuits, head_patterns
from mechflow.studies.phase_changes.roles import INDUCTION, PREVIOUS_TOKEN
from mechflow.studies.phase_changes.tasks import task_of
from tests.studies import fabricated_circuits as made
from tests.studies.fabricated_circuits import VARIANTS
from tests.studies.galleries import CIRCUITS, check_layout, words
from tests.studies.test_modular_addition_figures import of

default = CIRCUITS.default


def summary(source, **wanted):
    """Centre, low and high of the only row."""
    (row,) = of(source, kind="mean", **wanted).itertuples()
    return row.y, row.low, row.high


def test_ablations_name_the_tasks_that_did_not_run():
    drawn, source = CIRCUITS.draw_some("ablations", ["induction"])
    assert "no variant of the task digit addition was run" in words(drawn)
    assert set(source["variant"]) == {"induction"}
    check_layout(drawn)


def test_the_one_replicate_that_a_blocks_figure_shows_must_be_there():
    for name in ("head_patterns", "trigger_circuit"):
        _, source = CIRCUITS.draw(name, shown=Figures(replicate=1))
        assert set(of(source, kind="map")["replicate"]) == {1}


def test_the_variant_that_stands_for_a_task_is_plain():
    assert variants.main_variant(made.data(), "induction") == "induction"
    alone = made.data(names=("induction_one_layer", "induction_finite"))
    assert variants.main_variant(alone, "induction") == "induction_finite"
    assert variants.main_variant(alone, "addition") is None


def test_heads_are_chosen_in_each_replicate_by_their_final_scores():
    found = induction_circuit.circuits(made.data(replicates=3), "induction")
    assert [circuit.previous_token.name for circuit in found.values()] == ["L0H1", "L0H0", "L0H1"]
    assert [circuit.induction.name for circuit in found.values()] == ["L1H0", "L1H1", "L1H0"]
    assert found[0].pair == "L0H1-L1H0"
    assert induction_circuit.circuits(made.data(), "induction_one_layer") == {}
    control = induction_circuit.best_heads(made.data(), "induction_one_layer", INDUCTION)
    assert {head.name for head in control.values()} == {"L0H1"}


def test_scores_of_the_best_heads_have_their_interval_over_replicates():
    _, source = default("induction_heads")
    for metric, role in (
        ("prefix_matching", INDUCTION),
        ("previous_token", PREVIOUS_TOKEN),
    ):
        series = circuits.ROLE_NAMES[role]
        values = [made.score(metric, made.best(metric, r), r, 60) for r in range(2)]
        wanted = mean_interval(values)
        found = summary(source, panel=metric, series=series, variant="induction", x=60)
        expected = (wanted.centre, max(wanted.low, 0.0), min(wanted.high, 1.0))
        assert found == pytest.approx(expected)
        single = of(source, panel=metric, series=series, variant="induction", kind="replicate")
        assert of(single, x=60)["y"].tolist() == pytest.approx(values)
        assert of(single, x=60)["head"].tolist() == [made.best(metric, r) for r in range(2)]


def test_every_head_is_drawn_once_and_uniform_attention_is_a_line():
    _, source = default("induction_heads")
    rows = of(source, panel="prefix_matching", variant="induction", kind="replicate", x=100)
    assert sorted(zip(rows["replicate"], rows["head"], strict=True)) == [
        (r, f"L{layer}H{head}") for r in range(2) for layer in range(2) for head in range(2)
    ]
    uniform = of(source, series="uniform attention", variant="induction", panel="previous_token")
    assert uniform["y"].tolist() == pytest.approx([made.UNIFORM])


def test_losses_and_references_are_those_of_the_tables():
    _, source = default("induction_heads")
    values = [made.loss("induction", r, 55) for r in range(2)]
    wanted = geometric_mean_interval(values)
    assert summary(source, panel="loss", variant="induction", x=55) == pytest.approx(wanted[:3])
    lines = of(source, panel="loss", kind="reference", variant="induction_one_layer")
    blind = made.blind("induction")
    assert dict(zip(lines["series"], lines["y"], strict=True)) == pytest.approx(
        {"blind": blind, "positional": 0.7 * blind, "optimal": 0.0}
    )


def test_steps_of_the_drop_are_marked_where_there_is_one():
    drawn, source = default("induction_heads")
    drops = of(source, series="drop", variant="induction")
    assert len(drops) == 2
    assert (drops["low"] < drops["x"]).all()
    assert (drops["x"] < drops["high"]).all()
    assert drops["x"].tolist() == pytest.approx([50, 52], abs=1)
    assert of(source, series="drop", variant="induction_one_layer").empty
    titles = [axes.get_title() for axes in drawn.axes[:3]]
    assert titles == ["induction", "induction one layer", "induction finite"]


def test_compositions_are_those_of_the_circuits_pair():
    _, source = default("composition")
    pairs = ["L0H1-L1H0", "L0H0-L1H1"]
    for kind in "kqv":
        values = [made.composition(kind, pair, r, 70) for r, pair in enumerate(pairs)]
        wanted = mean_interval(values)
        found = summary(source, panel=f"{kind}_composition", series="circuit", x=70)
        assert found == pytest.approx((wanted.centre, max(wanted.low, 0), min(wanted.high, 1)))
        others = of(source, panel=f"{kind}_composition", series="other pairs", x=70)
        assert len(others) == 2 * 3
        assert not set(zip(others["replicate"], others["head"], strict=True)) & set(
            enumerate(pairs)
        )
        last = of(source, panel=f"{kind}_composition after training", series="circuit")
        wanted = [made.composition(kind, pair, r, 100) for r, pair in enumerate(pairs)]
        assert last["y"].tolist() == pytest.approx(wanted)


def test_the_interval_of_random_heads_holds_all_draws():
    _, source = default("composition")
    (row,) = of(source, panel="q_composition", series="random heads").itertuples()
    pairs = [f"L0H{a}-L1H{b}" for a in range(2) for b in range(2)]
    draws = [
        made.random_composition(pair, r, draw)
        for pair in pairs for r in range(2) for draw in range(made.DRAWS)
    ]  # fmt: skip
    assert row.n == len(draws)
    assert (row.low, row.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_found_in_generated_sequences(seed):
    cfg = Induction(seq_len=31, subseq_len=4, repeats=3, d_vocab=40)
    task = task_of(VARIANTS["induction"].data.model_copy(update={"induction": cfg}))
    sequences = task.generate(1, torch.Generator().manual_seed(seed))
    tokens, reads = sequences.tokens[0].numpy(), sequences.positions[0].numpy()
    copies = head_patterns.copies_of(tokens, reads, cfg.repeats)
    assert copies.length == cfg.subseq_len
    assert len(copies.starts) == cfg.repeats
    parts = [tokens[start : start + copies.length].tolist() for start in copies.starts]
    assert parts[0] == parts[1] == parts[2]
    assert [query for query, _ in copies.matches] == reads.tolist()
    targets = sequences.targets[0].tolist()
    assert [tokens[key] for _, key in copies.matches] == targets
    assert all(tokens[key - 1] == tokens[query] for query, key in copies.matches)


def test_patterns_are_those_of_the_two_heads():
    _, source = CIRCUITS.draw("head_patterns", shown=Figures(replicate=1))
    pattern = made.arrays("induction", 2)["example_pattern"][1]
    for role, layer, head in ((PREVIOUS_TOKEN, 0, 0), (INDUCTION, 1, 1)):
        shown = of(source, panel="pattern", series=role)
        assert set(shown["head"]) == {f"L{layer}H{head}"}
        grid = shown.pivot(index="query", columns="key", values="value").to_numpy()
        assert np.array_equal(grid, pattern[layer, head].numpy())
    given = of(source, panel="attention given", series=PREVIOUS_TOKEN)
    assert given["y"].tolist() == pytest.approx(pattern[0, 0].diagonal(-1).tolist())


def test_triggers_of_one_replicate_and_the_mean_of_all():
    _, source = CIRCUITS.draw("trigger_circuit", shown=Figures(replicate=1))
    attention = of(source, panel="trigger_attention", x=60)
    sizes = [[0.9 - 0.1 * k - 0.01 * r for k in range(3)] for r in range(2)]
    single = of(attention, kind="replicate")
    wanted = [size * made.rise(60) for size in sizes[1]]
    assert single["y"].tolist() == pytest.approx(wanted)
    assert set(single["replicate"]) == {1}
    means = mean_interval([np.mean(size) * made.rise(60) for size in sizes])
    expected = (means.centre, max(means.low, 0.0), min(means.high, 1.0))
    assert summary(attention, series="mean over triggers") == pytest.approx(expected)
    uniform = of(source, panel="trigger_attention", kind="reference")
    assert uniform["y"].tolist() == pytest.approx([1 / 7])


def test_tables_are_centred_at_the_first_last_and_half_way_step():
    _, source = default("trigger_circuit")
    arrays = made.arrays("skip_trigram", 2)
    assert sorted(set(of(source, kind="map")["step"])) == [0, 40, 100]  # half-way at 50, and a tie
    place = made.TABLE_STEPS.index(40)
    qk, ov = (arrays[key][0, place, 0].numpy() for key in ("qk", "ov"))
    shown = of(source, panel="QK", step=40)["value"].to_numpy()
    assert shown == pytest.approx(qk - qk.mean(), abs=1e-6)
    grid = of(source, panel="OV", step=40).pivot(index="token", columns="answer", values="value")
    assert grid.to_numpy() == pytest.approx(ov - ov.mean(1, keepdims=True), abs=1e-6)


def test_roles_are_set_against_the_mean_of_random_draws():
    _, source = default("ablations")
    end = of(source, panel="after training", variant="induction")
    for role, name in circuits.ROLE_NAMES.items():
        own = [made.without(role, r, 100) for r in range(2)]
        random = [
            np.exp(np.log([made.without(role, r, 100, "random_heads", d) for d in range(2)]).mean())
            for r in range(2)
        ]
        for series, values in ((f"{name}s", own), (f"other heads than {name}s", random)):
            found = summary(end, series=series)
            assert found == pytest.approx(geometric_mean_interval(values)[:3])
    untouched = [made.loss("induction", r, 50) for r in range(2)]
    middle = of(source, panel="through training", variant="induction", series="untouched", x=50)
    assert summary(middle)[0] == pytest.approx(geometric_mean_interval(untouched).centre)


def test_heads_are_ranked_in_each_replicate_by_their_final_loss():
    _, source = default("ablations")
    end = of(source, panel="after training", variant="addition", kind="replicate")
    heads = ["L0H0", "L0H1", "L0H2"]
    for r in range(2):
        ordered = sorted(heads, key=lambda head: -made.without(head, r, 100))
        for rank, head in enumerate(ordered, 1):
            (row,) = of(end, replicate=r, series=f"head of rank {rank}").itertuples()
            assert row.head == head
            assert row.y == pytest.approx(made.without(head, r, 100))
    mlp = of(end, series="MLP")["y"].tolist()
    assert mlp == pytest.approx([made.without("L0", r, 100) for r in range(2)])
    alone = of(source, panel="after training", variant="skip_trigram")
    assert set(alone["series"]) == {"untouched", "head L0H0", "blind"}


def test_a_rank_keeps_its_head_through_training():
    losses = pd.DataFrame(
        [(0, "L0H0", 0, 5.0), (0, "L0H1", 0, 1.0), (0, "L0H0", 9, 2.0), (0, "L0H1", 9, 3.0)],
        columns=["replicate", "site", "step", "value"],
    ).assign(intervention="zero_head", control="none", draw=0)
    _, first, second = ablations.part_cuts(losses)
    assert first.rows["value"].tolist() == [1.0, 3.0]
    assert second.rows["value"].tolist() == [5.0, 2.0]


def test_missing_random_heads_are_counted():
    def no_others(name, frame):
        if name != "interventions":
            return frame
        none = (frame["control"] == "random_heads") & (
            (frame["site"] == "induction_heads") | (frame["replicate"] == 0)
        )
        return frame[~none]

    drawn, source = CIRCUITS.draw("ablations", change=no_others)
    assert "0 of 2 (induction), 1 of 2 (previous-token) seeds" in words(drawn)
    series = set(of(source, variant="induction")["series"])
    assert "other heads than induction heads" not in series
    assert "other heads than previous-token heads" in series
    (row,) = of(
        source, panel="after training", kind="mean", series="other heads than previous-token heads"
    ).itertuples()
    assert row.n == 1


def test_variants_without_room_are_named(monkeypatch):
    module = importlib.import_module(f"{package.__name__}.induction_heads")
    monkeypatch.setattr(module, "MOST_COLUMNS", 2)
    drawn, source = CIRCUITS.draw("induction_heads")
    assert "not drawn: induction finite" in drawn.get_supxlabel()
    assert set(source["variant"]) == {"induction", "induction_one_layer"}
