import math
from dataclasses import replace
from functools import cache

import pytest

from mechflow import tabular
from mechflow.artifacts import Owner, collect, read_table, write_table
from mechflow.statistics import geometric_mean_interval, mean_interval
from mechflow.studies import networks
from mechflow.studies.phase_changes import tables
from mechflow.studies.phase_changes.figure_texts_curves import TABLES
from tests.studies.fabricated_phases import STEPS, VARIANTS, data, with_replicates
from tests.studies.test_phase_changes_outcomes import one

NAMES = [table.name for table in TABLES]


def make(name, learners=VARIANTS, **options):
    (table,) = (table for table in TABLES if table.name == name)
    return getattr(tables, f"make_{name}")(data(learners, reads=table.reads, **options))


@cache
def default(name):
    """The table of all variants, made once for tests that only look."""
    return make(name)


@pytest.mark.parametrize("name", NAMES)
def test_tables_can_be_stored_and_read_by_people(name, tmp_path):
    table = default(name)
    provenance = collect(kind="table", owner=Owner("x"), stage="table", spec={}, code="0", seed=0)
    write_table(tmp_path / "table.parquet", table, "table", provenance)
    assert len(read_table(tmp_path / "table.parquet", "table")) == len(table)
    text = tabular.markdown(table)
    assert len(text.splitlines()) == len(table) + 2
    assert "_low" not in text
    assert tabular.latex(table).count(r"\\") == len(table) + 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("replicates", [1, 2, 5])
def test_tables_count_replicates(name, replicates):
    assert set(make(name, with_replicates(replicates))["n"]) == {replicates}


@pytest.mark.parametrize("name", NAMES)
def test_tables_do_without_variants(name):
    found = make(name, {"addition": VARIANTS["addition"]})
    assert list(found) == list(default(name))
    assert len(found) == len(networks.select(default(name), variant="addition"))


def test_phase_times_are_means_over_replicates():
    learner = VARIANTS["skip_trigram"]
    found = one(default("phase_times"), variant="skip_trigram", group="trigger.1")
    starts = [learner.falls_at(replicate, "trigger.1") for replicate in range(3)]
    for name, share in (("t75", 0.25), ("t50", 0.5), ("t25", 0.75), ("steepest_step", 0.75)):
        expected = mean_interval([start + share * learner.length for start in starts])
        assert found[name] == pytest.approx(expected.centre)
        assert found[f"{name}_low"] == pytest.approx(expected.low)
        assert found[f"{name}_high"] == pytest.approx(expected.high)
    assert found["width"] == pytest.approx(learner.length / 2)
    assert (found["n"], found["changed"]) == (3, 3)


def test_phase_times_of_a_plateau_are_empty():
    found = one(default("phase_times"), variant="induction_one_layer", group="all")
    assert (found["n"], found["changed"]) == (3, 0)
    assert math.isnan(found["t50"])
    assert "nan" not in tabular.markdown(default("phase_times"))


def test_a_replicate_without_phase_change_leaves_no_mean_of_the_others():
    def stuck(name, frame):
        if name != "curves":
            return frame
        kept = (frame["replicate"] == 1) & (frame["metric"] == "loss")
        return frame.assign(value=frame["value"].mask(kept, 2.0))

    found = one(make("phase_times", change=stuck), variant="addition", group="all")
    assert (found["n"], found["changed"]) == (3, 2)
    assert math.isnan(found["steepest_step"])


def test_phase_times_are_ordered_by_task_and_by_infinite_data():
    order = list(dict.fromkeys(make("phase_times", dict(reversed(VARIANTS.items())))["variant"]))
    assert order == [
        *("addition", "addition_finite", "skip_trigram", "skip_trigram_finite"),
        *("induction_one_layer", "induction", "induction_finite"),
    ]


def test_final_losses_ignore_a_spike_and_stand_beside_their_references():
    def spike(name, frame):
        last = (frame["step"] == STEPS[-1]) & (frame.get("metric") == "loss")
        return frame.assign(value=frame["value"].mask(last, 50.0)) if name == "curves" else frame

    found = one(make("final_losses", change=spike), variant="induction", split="test")
    assert found["loss"] == pytest.approx(geometric_mean_interval([0.1] * 3).centre)
    assert found["accuracy"] == 1.0
    references = found[["uniform_loss", "blind_loss", "optimal_loss"]].to_list()
    assert references == pytest.approx([2.4, 2.0, 0.05])


def test_grokking_has_medians_between_the_earliest_and_the_latest():
    found = one(default("grokking"), variant="addition_finite")
    assert (found["train_learnt"], found["test_learnt"], found["examples"]) == (3, 3, 100)
    expected = {"train_step": (220, 200, 240), "test_step": (660, 600, 720)}
    expected["delay"] = (440, 400, 480)
    for name, values in expected.items():
        assert (found[name], found[f"{name}_low"], found[f"{name}_high"]) == values


def test_networks_that_never_learn_come_last():
    found = one(default("grokking"), variant="induction_finite")
    assert (found["train_learnt"], found["test_learnt"]) == (2, 0)
    assert (found["train_step"], found["train_step_low"]) == (240, 200)
    assert found["train_step_high"] == math.inf
    assert found["test_step"] == math.inf


def test_a_test_set_learnt_first_has_a_negative_delay():
    learner = replace(VARIANTS["addition_finite"], test_learnt=(100, 100, 100))
    found = one(make("grokking", {"addition_finite": learner}), variant="addition_finite")
    assert found["delay"] == -120
