import importlib
import inspect
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from mechflow.artifacts import Owner, collect, read_table, write_table
from mechflow.config.study import Style
from mechflow.figures.save import save_figure
from mechflow.figures.style import context
from mechflow.statistics import mean_interval
from mechflow.studies.networks import select
from mechflow.studies.phase_changes import figures as package
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.figure_texts_curves import FIGURES, TABLES
from mechflow.studies.phase_changes.figures import palette
from tests.studies.fabricated_phases import STEPS, VARIANTS, data, with_replicates
from tests.studies.test_modular_addition_figures import check_text, texts

STYLE = Style(dpi=60)
NAMES = [figure.name for figure in FIGURES]
INFINITE = {name: learner for name, learner in VARIANTS.items() if learner.finite is None}
FINITE = {name: learner for name, learner in VARIANTS.items() if learner.finite is not None}
FEW = {name: VARIANTS[name] for name in ("addition", "skip_trigram_finite", "induction_one_layer")}


def declared(name):
    (figure,) = (figure for figure in FIGURES if figure.name == name)
    return figure


def draw(name, learners=VARIANTS, **options):
    """Draws a figure that may read nothing but what it declares."""
    figure = declared(name)
    module = importlib.import_module(f"{package.__name__}.{figure.module}")
    made = data(learners, reads=figure.reads, **options)
    drawn, source = getattr(module, f"draw_{name}")(made, Figures(), STYLE)
    assert isinstance(drawn, Figure)
    return drawn, source


@cache
def default(name):
    """Figure and source data of all variants, drawn once for tests that only look."""
    return draw(name)


def all_text(figure):
    return " ".join(text.get_text() for text in texts(figure))


def test_every_figure_of_these_modules_is_declared():
    for module in {figure.module for figure in FIGURES}:
        names = vars(importlib.import_module(f"{package.__name__}.{module}"))
        # Functions that draw parts of a figure take other arguments.
        found = {
            name.removeprefix("draw_")
            for name, function in names.items()
            if name.startswith("draw_")
            and list(inspect.signature(function).parameters) == ["data", "figures", "style"]
        }
        assert found == {figure.name for figure in FIGURES if figure.module == module}


@pytest.mark.parametrize("text", [*FIGURES, *TABLES], ids=lambda text: text.name)
def test_captions_say_how_to_read_and_name_no_configured_number(text):
    assert text.title
    assert text.caption.endswith(".")
    assert len(text.caption.split()) > 25
    # Intervals, shares of a drop, the accuracy that counts as learnt, and ends of scales.
    assert set(re.findall(r"\d+", text.caption)) <= {"0", "25", "50", "75", "90", "95"}


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
    two = {variant: replace(learner, replicates=2) for variant, learner in FEW.items()}
    first, second = (draw(name, two) for _ in range(2))
    assert save_figure(first[0], STYLE) == save_figure(second[0], STYLE)
    pd.testing.assert_frame_equal(first[1], second[1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("replicates", [1, 5])
def test_text_never_overlaps(name, replicates):
    drawn, _ = draw(name, with_replicates(replicates))
    with context(STYLE):
        drawn.draw_without_rendering()
        check_text(drawn)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variant", FEW)
def test_figures_do_without_other_variants(name, variant):
    _, source = draw(name, {"mine": VARIANTS[variant]})
    assert set(source["variant"].dropna()) <= {"mine"}


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
    assert {"uniform", "blind", "optimal"} <= set(all_text(drawn).split())


def test_the_plateau_of_the_negative_control_is_in_sight():
    drawn, source = default("infinite_data")
    control = select(source, variant="induction_one_layer", series="test", kind="mean")
    assert control["y"].iloc[-1] == pytest.approx(1.5)
    axes = drawn.axes[2]
    low, high = axes.get_ylim()
    assert low < 1.5 < high
    assert "induction one layer" in all_text(drawn)


def test_panels_say_who_groks():
    text = all_text(default("finite_data")[0])
    assert "train set learnt by 3 of 3 seeds,\ntest set by 3, 440 steps later" in text
    assert "train set learnt by 2 of 3 seeds,\ntest set by none" in text


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
    drawn, source = draw("digits", learners)
    assert set(source["variant"]) == set(learners)
    with context(STYLE):
        drawn.draw_without_rendering()
        check_text(drawn)


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
    assert all_text(drawn).count("none in 3 seeds") == 3


def test_phase_times_count_the_seeds_that_change():
    def stuck(name, frame):
        kept = (frame["replicate"] == 1) & (frame["metric"] == "loss")
        return frame.assign(value=frame["value"].mask(kept, 2.0)) if name == "curves" else frame

    drawn, source = draw("phase_times", {"addition": VARIANTS["addition"]}, change=stuck)
    assert "in 2 of 3 seeds" in all_text(drawn)
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
    text = all_text(default("grokking")[0])
    assert "test set learnt by 3 of 3 seeds,\n440 steps after the train set" in text
    assert "test set learnt by 0 of 3 seeds" in text


@pytest.mark.parametrize(
    ("name", "learners"),
    [
        ("infinite_data", FINITE),
        ("finite_data", INFINITE),
        ("phase_times", FINITE),
        ("grokking", INFINITE),
        ("copies", {"addition": VARIANTS["addition"]}),
    ],
)
def test_figures_with_nothing_to_show_say_so(name, learners):
    drawn, source = draw(name, learners)
    assert source.empty
    assert "was run" in all_text(drawn)


def test_losses_of_exactly_zero_are_drawn():
    drawn, _ = draw("infinite_data", {"addition": replace(VARIANTS["addition"], end=0.0)})
    with context(STYLE):
        drawn.draw_without_rendering()


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
