import math
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from mechflow.studies import configurations, networks
from mechflow.studies.phase_changes import outcomes, variants
from tests.studies.fabricated_phases import DATA, STEPS, TRAIN_SET, VARIANTS, Learner, data

ADDING = Learner("addition")


@cache
def default() -> pd.DataFrame:
    """Phase changes of all variants."""
    return outcomes.phase_changes(data(VARIANTS))


def one(frame: pd.DataFrame, **wanted) -> pd.Series:
    found = networks.select(frame, **wanted)
    assert len(found) == 1
    return found.iloc[0]


@pytest.mark.parametrize("group", ["all", "digit.0", "digit.1", "digit.2"])
@pytest.mark.parametrize("replicate", [0, 1, 2])
def test_phase_changes_are_where_the_curves_have_them(group, replicate):
    found = one(default(), variant="addition", replicate=replicate, group=group)
    start, length = ADDING.falls_at(replicate, group), ADDING.length
    times = start + length * np.array([0.25, 0.5, 0.75])
    assert found[["t75", "t50", "t25"]].to_list() == pytest.approx(times)
    assert found["width"] == pytest.approx(length / 2)
    assert found["relative_width"] == pytest.approx(length / 2 / times[1])
    assert found["steepest_step"] == times[2]
    assert found["slope"] < 0
    assert found["end"] == pytest.approx(ADDING.end)


def test_every_network_and_group_has_one_row():
    changes = default()
    assert not changes.duplicated(["variant", "replicate", "group"]).any()
    expected = sum(v.replicates * (1 + len(v.groups)) for v in VARIANTS.values())
    assert len(changes) == expected
    assert set(changes["group"]) == {"all"} | {g for v in VARIANTS.values() for g in v.groups}


def test_the_plateau_is_that_of_blind_answers_not_of_initial_weights():
    """Initial weights are three times as bad, which is by far the steepest drop of all."""
    changes = networks.select(default(), variant="addition")
    assert changes["t75"].min() > ADDING.start
    assert changes["steepest_step"].min() > ADDING.start


def test_noise_of_a_small_loss_is_no_steepest_drop():
    def noisy(name, frame):
        late = (frame["step"] == 800) & frame["metric"].str.startswith("loss")
        return frame.assign(value=frame["value"].mask(late, 1e-12)) if name == "curves" else frame

    quiet, found = (
        outcomes.phase_changes(data({"addition": ADDING}, change=change))
        for change in (None, noisy)
    )
    assert found["steepest_step"].to_list() == quiet["steepest_step"].to_list()


def test_a_loss_that_stays_above_its_plateau_until_it_falls_has_a_steepest_step():
    def raised(name, frame):
        if name != "curves":
            return frame
        plateau = frame["metric"].str.startswith("loss") & (frame["value"] == ADDING.blind)
        return frame.assign(value=frame["value"].mask(plateau, 1.5 * ADDING.blind))

    found = outcomes.phase_changes(data({"addition": ADDING}, change=raised))
    assert found["steepest_step"].to_list() == found["t25"].to_list()


@pytest.mark.parametrize(("end", "changed"), [(1.01, False), (0.99, True), (2.5, False)])
def test_a_loss_must_fall_half_of_the_way_to_the_optimum(end, changed):
    changes = outcomes.phase_changes(data({"addition": replace(ADDING, end=end)}))
    for name in ("steepest_step", "t75", "t50", "t25", "width"):
        assert changes[name].notna().all() == changed
        assert changes[name].isna().all() != changed


def test_the_way_down_is_measured_from_the_optimum():
    learner = replace(ADDING, end=1.2, optimal=0.6)
    assert outcomes.phase_changes(data({"addition": learner}))["t50"].notna().all()


def test_a_negative_control_has_no_phase_change():
    control = networks.select(default(), variant="induction_one_layer")
    assert control[["steepest_step", "t75", "t25"]].isna().all(axis=None)


def test_a_loss_that_underflows_still_has_times():
    changes = outcomes.phase_changes(data({"addition": replace(ADDING, end=0.0)}))
    found = one(changes, replicate=0, group="all")
    assert found["t50"] == pytest.approx(ADDING.start + ADDING.length / 2)


def test_grokking_is_of_finite_train_sets_alone():
    times = outcomes.grokking_times(data(VARIANTS))
    assert set(times["variant"]) == {
        "addition_finite",
        "skip_trigram_finite",
        "induction_finite",
    }
    found = one(times, variant="addition_finite", replicate=2)
    assert found[["train_step", "test_step", "delay"]].to_list() == [240, 720, 480]
    never = one(times, variant="induction_finite", replicate=1)
    assert never[["train_step", "test_step", "delay"]].isna().all()


def test_a_set_is_learnt_when_accuracy_lasts():
    late = replace(ADDING, finite=TRAIN_SET, replicates=2, test_learnt=(STEPS[-2], STEPS[-3]))
    times = outcomes.grokking_times(data({"addition": late}))
    assert times["test_step"].isna().to_list() == [True, False]


@pytest.mark.parametrize(
    ("kind", "group", "value"),
    [("uniform", "all", 2.4), ("uniform", "repeat.1", 2.4), ("blind", "repeat.2", 2.0),
     ("optimal", "all", 0.05)],
)  # fmt: skip
def test_reference_losses_are_those_of_no_control(kind, group, value):
    found = outcomes.references(data({"induction": VARIANTS["induction"]}), kind, group)
    assert found.loc["induction"].to_list() == pytest.approx([value] * 3)


def test_groups_are_in_the_order_of_the_task():
    made = data(VARIANTS)
    for name, learner in VARIANTS.items():
        assert outcomes.groups(made, name) == learner.groups


def test_variants_are_told_apart_by_configuration_and_not_by_name():
    renamed = dict(zip("abcdefg", VARIANTS.values(), strict=True))
    made = data(renamed)
    assert variants.of_task(made, "induction") == ("e", "f", "g")
    assert variants.of_task(made, "induction", finite=False) == ("e", "g")
    assert variants.infinite(made) == ("a", "c", "e", "g")
    assert variants.finite(made) == ("b", "d", "f")
    assert [variants.is_negative_control(made, v) for v in "aceg"] == [False, False, False, True]


def test_departures_from_a_publication_name_nested_and_missing_values():
    made = data({"a": ADDING, "b": replace(ADDING, finite=TRAIN_SET)})
    published = {"data.addition.n_digits": 5, "finite": None, "model.d_model": 16}
    assert configurations.departures(made, "a", published) == ["data.addition.n_digits 2, not 5"]
    assert len(configurations.departures(made, "b", published)) == 2


@pytest.mark.parametrize(
    "published",
    [
        variants.ADDITION_NOTEBOOK,
        variants.ADDITION_SAVED,
        variants.SKIP_TRIGRAM,
        variants.INDUCTION_NOTEBOOK,
    ],
)
def test_published_configurations_name_values_that_exist(published):
    task = published["data.task"]
    made = data({"ours": Learner(task)})
    found = configurations.departures(made, "ours", published)
    assert found
    assert not any(line.startswith("data.task") for line in found)
    assert DATA[task].task == task


def test_what_never_happens_is_nan_and_stays_in_the_count():
    made = data({"addition": replace(ADDING, end=1.9)})
    assert len(outcomes.phase_changes(made)) == 12
    assert math.isnan(networks.steps_below(made, "loss", "test", 1.0).loc["addition", 0])
