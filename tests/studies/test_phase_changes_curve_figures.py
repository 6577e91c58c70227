from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechflow.statistics import mean_interval
from mechflow.studies.networks import select
from mechflow.studies.phase_changes.figures import palette
from tests.studies.fabricated_phases import STEPS, VARIANTS
from tests.studies.galleries import CURVES, check_layout, words

INFINITE = {name: learner for name, learner in VARIANTS.items() if learner.finite is None}
FINITE = {name: learner for name, learner in VARIANTS.items() if learner.finite is not None}
default = CURVES.default


@pytest.mark.parametrize(
    ("name", "expected"), [("infinite_data", INFINITE), ("finite_data", FINITE)]
)
def test_each_kind_of_data_has_its_own_figure(name, expected):
    _, source = default(name)
    assert set(source["variant"].dropna()) == set(expected)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_curves_are_drawn_as_they_were_measured(scale):
    _, source = default("infinite_data")
    drawn = select(source, panel=scale, variant="induction", series="test")
    curves = select(VARIANTS["induction"].curves(), metric="loss", split="test", replicate=1)
    single = select(drawn, kind="replicate", replicate=1)
    assert single["x"].to_list() == list(STEPS)
    assert single["y"].to_list() == curves["value"].to_list()
    middle = select(drawn, kind="mean", x=STEPS[0])
    assert middle["y"].item() == pytest.approx(6.0)


@pytest.mark.parametrize("name", ["infinite_data", "finite_data"])
def test_references_are_drawn_and_named(name):
    drawn, source = default(name)
    lines = select(source, kind="reference")
    for series, value in (("uniform", 2.4), ("blind", 2.0)):
        assert select(lines, series=series)["y"].to_list() == pytest.approx([value] * 6)
    assert {"uniform", "blind", "optimal"} <= set(words(drawn).split())


def test_the_plateau_of_the_negative_control_is_in_sight():
    drawn, source = default("infinite_data")
    control = select(source, variant="induction_one_layer", series="test", kind="mean")
    assert control["y"].iloc[-1] == pytest.approx(1.5)
    axes = drawn.axes[2]
    low, high = axes.get_ylim()
    assert low < 1.5 < high
    assert "induction one layer" in words(drawn)


def test_panels_say_who_groks():
    text = words(default("finite_data")[0])
    assert "train set learnt by 3 of 3 seeds, test set by 3, 440 steps later" in text
    assert "train set learnt by 2 of 3 seeds, test set by none" in text


@pytest.mark.parametrize(
    ("name", "task"),
    [("digits", "addition"), ("triggers", "skip_trigram"), ("copies", "induction")],
)
def test_groups_are_those_of_the_task_and_infinite_data_come_first(name, task):
    drawn, source = default(name)
    variants = [v for v, learner in VARIANTS.items() if learner.task == task]
    assert set(source["variant"]) == set(variants)
    assert set(source["series"]) == {*VARIANTS[variants[0]].groups, "blind"}
    titles = [axes.get_title() for axes in drawn.axes if axes.get_title()]
    expected = sorted(variants, key=lambda v: VARIANTS[v].finite is not None)
    assert titles == [v.replace("_", " ") for v in expected]


def test_many_variants_of_a_task_go_on_below():
    learners = {f"addition_{i}": VARIANTS["addition"] for i in range(4)}
    drawn, source = CURVES.draw("digits", variants=learners)
    assert set(source["variant"]) == set(learners)
    check_layout(drawn)


@pytest.mark.parametrize("group", ["all", "trigger.2"])
def test_phase_times_show_what_the_curves_have(group):
    _, source = default("phase_times")
    learner = VARIANTS["skip_trigram"]
    drawn = select(source, variant="skip_trigram", series=group)
    starts = np.array([learner.falls_at(replicate, group) for replicate in range(3)])
    single = select(drawn, kind="replicate")
    for column, share in (("low", 0.25), ("high", 0.75), ("x", 0.75)):
        assert single[column].to_list() == pytest.approx(starts + share * learner.length)
    mean = select(drawn, kind="mean").iloc[0]
    expected = mean_interval(starts + 0.75 * learner.length)
    assert tuple(mean[["x", "low", "high", "n"]]) == pytest.approx(tuple(expected))


def test_phase_times_say_who_has_no_phase_change():
    drawn, source = default("phase_times")
    control = select(source, variant="induction_one_layer")
    assert control["x"].isna().all()
    assert set(control["kind"]) == {"replicate"}
    assert words(drawn).count("none in 3 seeds") == 3


def test_phase_times_count_the_seeds_that_change():
    def stuck(name, frame):
        kept = (frame["replicate"] == 1) & (frame["metric"] == "loss")
        return frame.assign(value=frame["value"].mask(kept, 2.0)) if name == "curves" else frame

    drawn, source = CURVES.draw(
        "phase_times", variants={"addition": VARIANTS["addition"]}, change=stuck
    )
    assert "in 2 of 3 seeds" in words(drawn)
    assert "mean" not in set(select(source, series="all")["kind"])


def test_grokking_shows_when_sets_are_learnt_and_what_is_never():
    _, source = default("grokking")
    found = select(source, variant="addition_finite")
    assert select(found, series="train")["x"].to_list() == [200, 220, 240]
    assert select(found, series="test")["x"].to_list() == [600, 660, 720]
    assert found["never_until"].isna().all()
    never = select(source, variant="skip_trigram_finite", series="test")
    assert never["x"].isna().all()
    assert set(never["never_until"]) == {STEPS[-1]}


def test_grokking_says_how_long_it_takes():
    text = words(default("grokking")[0])
    assert "test set learnt by 3 of 3 seeds, 440 steps after the train set" in text
    assert "test set learnt by 0 of 3 seeds" in text


def test_losses_of_exactly_zero_are_drawn():
    vanishing = {"addition": replace(VARIANTS["addition"], end=0.0)}
    drawn, _ = CURVES.draw("infinite_data", variants=vanishing)
    check_layout(drawn)


@given(
    st.lists(st.floats(0.0, 1.0), max_size=12),
    st.floats(0.01, 0.3),
)
def test_labels_keep_apart_and_in_order(places, spacing):
    moved = np.array(palette.apart(places, spacing))
    kept = min(spacing, 1 / max(len(places), 1))
    order = np.argsort(places, kind="stable")
    assert (np.diff(moved[order]) >= kept - 1e-9).all()
    assert ((moved >= -1e-9) & (moved <= 1 + 1e-9)).all()


def test_labels_that_do_not_collide_stay_where_they_are():
    assert palette.apart([0.9, 0.1, 0.5], 0.2) == pytest.approx([0.9, 0.1, 0.5])
    assert palette.apart([0.5, 0.5], 0.2) == pytest.approx([0.4, 0.6])


def test_digits_run_from_dark_to_light():
    shades = list(palette.shades(["digit.0", "digit.1", "digit.2"]).values())
    light = [sum(int(shade[i : i + 2], 16) for i in (1, 3, 5)) for shade in shades]
    assert light == sorted(light)
    assert len(set(shades)) == 3
