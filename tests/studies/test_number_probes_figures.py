import dataclasses
import importlib
import itertools
import re
from functools import cache

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from mechflow.artifacts import Owner, collect, read_table, write_table
from mechflow.config.language_models import LanguageModelSource
from mechflow.config.study import Style
from mechflow.figures.errors import FigureError
from mechflow.figures.save import save_figure
from mechflow.figures.style import context
from mechflow.statistics import clipped, mean_interval, share_interval
from mechflow.studies.number_probes import answers, outcomes, published
from mechflow.studies.number_probes import figures as package
from mechflow.studies.number_probes.config import Figures
from mechflow.studies.number_probes.figure_texts_probes import FIGURES
from mechflow.studies.number_probes.figures import gathering, layered, palette
from tests.studies.fabricated_numbers import VARIANTS, data
from tests.studies.fabricated_subject import FOLDS, LAST, LAYERS, LIMIT
from tests.studies.test_modular_addition_figures import of, texts

STYLE = Style(dpi=60)
NAMES = [figure.name for figure in FIGURES]
ALONE = Figures(untrained=None, sums=None, causal=None)
LLAMA = LanguageModelSource(hub=published.LLAMA, revision="0" * 40)


def declared(name):
    (figure,) = (figure for figure in FIGURES if figure.name == name)
    return figure


def draw(name, shown=None, variants=VARIANTS, style=STYLE, **options):
    """Draws a figure that may read nothing but what it declares."""
    figure = declared(name)
    module = importlib.import_module(f"{package.__name__}.{figure.module}")
    made = data(variants, reads=figure.reads, **options)
    drawn, source = getattr(module, f"draw_{name}")(made, shown or Figures(), style)
    assert isinstance(drawn, Figure)
    return drawn, source


@cache
def default(name):
    """Figure and source data as configured by default, drawn once for tests that only look."""
    return draw(name)


def without(*names):
    """No rows in some tables."""
    return lambda name, frame: frame.iloc[:0] if name in names else frame


@pytest.mark.parametrize("name", NAMES)
def test_captions_say_how_to_read_and_name_no_configured_number(name):
    figure = declared(name)
    assert figure.title
    assert figure.caption.endswith(".")
    assert len(figure.caption.split()) > 25
    # Intervals, ends of scales, and the share at which digits count as gathered.
    assert set(re.findall(r"\d+", figure.caption)) <= {"0", "1", "32", "90", "95"}


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_drawn_from_what_they_declare(name, tmp_path):
    drawn, source = default(name)
    assert not source.empty
    assert {"panel", "variant", "series", "kind"} <= set(source)
    assert "n = " in drawn.get_supxlabel()
    provenance = collect(kind="figure_data", owner=Owner("x"), stage="f", spec={}, code="0", seed=0)
    write_table(tmp_path / "source.parquet", source, "figure_data", provenance)
    assert len(read_table(tmp_path / "source.parquet", "figure_data")) == len(source)


@pytest.mark.parametrize("name", NAMES)
def test_drawing_again_gives_the_same_bytes_and_text_never_overlaps(name):
    first, second = (draw(name) for _ in range(2))
    pd.testing.assert_frame_equal(first[1], second[1])
    pdf, png = save_figure(first[0], STYLE)
    assert pdf.startswith(b"%PDF")
    assert (pdf, png) == save_figure(second[0], STYLE)
    with context(STYLE):
        check_text(first[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("shown", "change"),
    [
        (ALONE, None),
        (Figures(), without("behaviour")),
        (Figures(layer=0), lambda name, frame: of(frame, fold=0) if "fold" in frame else frame),
    ],
    ids=["no other variants", "no answers", "one fold, one layer"],
)  # fmt: skip
def test_figures_do_without_variants_answers_and_intervals(name, shown, change):
    variants = {"operand": VARIANTS["operand"]} if shown is ALONE else VARIANTS
    drawn, _ = draw(name, shown, variants, change=change)
    with context(STYLE):
        drawn.draw_without_rendering()


def check_text(figure):
    """All text is legible and on the page, and none lies on other text."""
    width, height = figure.bbox.size
    slack = 0.02 * STYLE.dpi
    boxes = []
    for text in texts(figure):
        assert text.get_fontsize() >= 5.8, text.get_text()
        # An annotation's own extent has its line in it.
        box = super(type(text), text).get_window_extent() if hasattr(text, "xy") else None
        box = box or text.get_window_extent()
        inside = min(box.x0, box.y0, width - box.x1, height - box.y1) > -slack
        assert inside, (text.get_text(), box)
        boxes.append((text.get_text(), box.padded(-slack)))
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        assert not first.overlaps(second), (one, other)


def test_accuracy_is_the_mean_over_folds_with_its_interval():
    _, source = default("accuracy_by_layer")
    table = data().table("readout")
    rows = of(table, variant="operand", basis="binary", control="none", split="test", layer=3)
    values = of(rows, metric="accuracy_macro")["value"]
    wanted = clipped(mean_interval(values), 0.0, 1.0)
    drawn = of(source, series="binary", x=3).iloc[0]
    assert len(values) == FOLDS
    assert tuple(drawn[["mean", "low", "high", "n"]]) == pytest.approx(tuple(wanted))


def test_every_probe_is_drawn_by_its_family_and_the_published_inverse_is_not():
    drawn, source = default("accuracy_by_layer")
    families = of(source, kind="mean").groupby("panel")["series"].agg(set)
    assert families["trained codes"] == set(VARIANTS["operand"].bases)
    assert families["least squares"] == {f"least_squares.{p}" for p in ("linear", "log", "digits")}
    assert set(of(source, kind="not drawn")["series"]) == {"least_squares.log_published"}
    lines = [
        line for axes in drawn.axes for line in axes.lines if len(line.get_xdata()) == LAST + 1
    ]
    assert len(lines) == 8  # fmt: skip


def test_published_numbers_are_drawn_for_their_model_alone():
    _, ours = default("accuracy_by_layer")
    assert of(ours, kind="published").empty
    _, theirs = draw("accuracy_by_layer", source=LLAMA)
    rows = of(theirs, kind="published", series="sinusoidal")
    assert rows["mean"].tolist() == list(published.OPERAND_ACCURACY["sinusoidal"])[: len(rows)]
    assert LAST - 1 not in set(rows["x"])  # the last block's output was not published
    assert set(of(theirs, kind="published")["series"]) == set(published.OPERAND_ACCURACY)


def test_selectivity_is_paired_within_folds():
    _, source = default("selectivity")
    made = data()
    scores = [
        outcomes.accuracies(made, "operand", "digits", control=control)[3]
        for control in ("none", "shuffled_values")
    ]
    wanted = clipped(mean_interval(scores[0] - scores[1]), -1.0, 1.0)
    drawn = of(source, panel="selectivity", probe="digits", series="shuffled_values", x=3).iloc[0]
    assert tuple(drawn[["mean", "low", "high"]]) == pytest.approx(tuple(wanted)[:3])


def test_random_weights_are_paired_by_fold_whatever_their_order():
    def reversed_rows(name, frame):
        return frame.iloc[::-1] if name == "readout" else frame

    _, source = draw("selectivity", change=reversed_rows)
    made = data()
    own, random = (
        outcomes.accuracies(made, variant, "sinusoidal")[2]
        for variant in ("operand", "random_model")
    )
    wanted = mean_interval([own[0, fold] - random[0, fold] for fold in range(FOLDS)])
    drawn = of(source, panel="selectivity", probe="sinusoidal", series=palette.UNTRAINED, x=2).iloc[
        0
    ]
    assert drawn["low"] == pytest.approx(wanted.low)


def test_random_weights_on_another_division_of_the_numbers_are_not_paired():
    other = dataclasses.replace(VARIANTS["random_model"], split="published")
    variants = {**VARIANTS, "random_model": other}
    _, source = draw("selectivity", variants=variants)
    made = data(variants)
    own, random = (
        outcomes.accuracies(made, variant, "sinusoidal")[2]
        for variant in ("operand", "random_model")
    )
    wanted = mean_interval(own - random.mean())
    shown = of(source, panel="selectivity", probe="sinusoidal", series=palette.UNTRAINED, x=2)
    assert tuple(shown.iloc[0][["mean", "low", "high"]]) == pytest.approx(wanted[:3])


def test_folds_without_a_control_are_set_against_the_mean_of_those_that_have_one():
    fewer = dataclasses.replace(VARIANTS["operand"], control_folds=1)
    drawn, source = draw("selectivity", variants={**VARIANTS, "operand": fewer})
    made = data({"operand": fewer})
    real, control = (
        outcomes.accuracies(made, "operand", "digits", control=control)[3]
        for control in ("none", "gaussian")
    )
    assert len(control) == 1
    wanted = mean_interval(real - control.item())
    shown = of(source, panel="selectivity", probe="digits", series="gaussian", x=3).iloc[0]
    assert tuple(shown[["mean", "n"]]) == pytest.approx((wanted.centre, FOLDS))
    own = of(source, panel="controls", probe="digits", series="gaussian", x=3).iloc[0]
    assert own["n"] == 1
    assert np.isnan(own["low"])
    assert "controls trained in 1 of them" in drawn.get_supxlabel()


def test_controls_that_were_not_run_are_not_drawn():
    fewer = dataclasses.replace(VARIANTS["operand"], controls=("gaussian",), controlled=("digits",))
    _, source = draw("selectivity", variants={**VARIANTS, "operand": fewer})
    selective = of(source, panel="selectivity")
    assert set(selective["series"]) == {"gaussian", palette.UNTRAINED}
    assert set(selective["probe"]) == {"digits"}


def test_digits_are_there_from_the_first_layer_near_the_maximum():
    scores = pd.DataFrame({0: [0.1, 0.1], 1: [0.8, 0.98], 2: [0.9, 1.0], 3: [1.0, 0.9]})
    assert gathering.first_layer_there(scores) == 1  # 0.89 of 0.95
    assert gathering.first_layer_there(scores * [1, 0.9, 1, 1]) == 2
    _, source = default("digit_gathering")
    assert list(dict.fromkeys(source["panel"])) == ["ones", "tens", "all digits"]
    found = of(source, kind="first layer").set_index("panel")["x"]
    assert found["ones"] == 0
    wanted = outcomes.accuracies(data(), "operand", gathering.PROBE)
    assert found["all digits"] == gathering.first_layer_there(wanted)


def test_the_map_of_failures_has_every_number_once():
    _, source = default("failures")
    shown = of(source, panel="map", series="digits").set_index("x")["value"]
    assert sorted(shown.index) == list(range(LIMIT))
    layer = outcomes.best_layer(data(), "operand", "digits")
    rows = of(data().table("readout_values"), variant="operand", basis="digits", layer=layer)
    wanted = rows.set_index("number")
    for number in (0, 41, 99):
        row = wanted.loc[number]
        assert shown[number] == pytest.approx(row["correct"] / row["prompts"])


def test_the_configured_layer_is_shown():
    drawn, source = draw("failures", Figures(layer=1))
    assert set(source["layer"]) == {1}
    assert "decimal digits, layer 1" in {text.get_text() for text in texts(drawn)}
    with pytest.raises(FigureError, match=r"figures\.layer is 99, but .* are 0 to 5: .* null"):
        draw("failures", Figures(layer=99))


def test_numbers_that_no_fold_tested_are_left_white():
    def first_fold(name, frame):
        return of(frame, fold=0) if "fold" in frame else frame

    drawn, source = draw("failures", change=first_fold)
    shown = of(source, panel="map", series="digits")
    assert 0 < len(shown) < LIMIT / 2
    mesh = drawn.axes[0].collections[0]
    assert np.ma.count(mesh.get_array()) == len(shown)


def test_numbers_tested_in_several_replicates_count_once():
    twice = dataclasses.replace(VARIANTS["operand"], replicates=2)
    made = data({"operand": twice})
    shares = answers.by_number(made, "operand", "digits", 3)
    assert shares["number"].tolist() == list(range(LIMIT))
    rows = of(made.table("readout_values"), basis="digits", layer=3, number=17)
    assert len(rows) == 2
    assert shares.loc[17, "share"] == pytest.approx((rows["correct"] / rows["prompts"]).mean())
    drawn, source = draw("failures", variants={"operand": twice}, shown=ALONE)
    assert of(source, panel="last digit", series="digits")["n"].tolist() == [LIMIT // 10] * 10
    assert f"{2 * FOLDS} fits ({FOLDS} folds × 2 replicates)" in drawn.get_supxlabel()


def test_failures_are_grouped_by_last_digit_and_by_size():
    _, source = default("failures")
    shares = answers.by_number(
        data(), "operand", "digits", outcomes.best_layer(data(), "operand", "digits")
    )
    wanted = clipped(mean_interval(shares.loc[shares["number"] % 10 == 7, "share"]), 0.0, 1.0)
    drawn = of(source, panel="last digit", series="digits", x_name="7").iloc[0]
    assert tuple(drawn[["mean", "low", "high"]]) == pytest.approx(tuple(wanted)[:3])
    assert of(source, panel="size", series="digits")["x_name"].tolist() == ["0–9", "10–99"]
    sizes = answers.size_class(pd.Series([0, 9, 10, 99, 100, 199, 200, 999]))
    assert sizes.tolist() == [0, 0, 1, 1, 2, 2, 3, 10]
    assert answers.size_class_names([0, 1, 2, 10]) == ["0–9", "10–99", "1xx", "9xx"]


def test_only_single_errors_tell_which_digit_is_wrong():
    def made_up(name, frame):
        if name != "readout_values":
            return frame
        rows = [
            (0, 0, 3, "digits", 128, 4, 3, 10 / 4),  # read as 138
            (0, 0, 3, "digits", 199, 4, 3, 1 / 4),  # read as 200: all three
            (0, 0, 3, "digits", 55, 4, 2, -5.0),  # two errors, unknown
            (0, 0, 3, "digits", 7, 4, 4, 0.0),
        ]
        return pd.DataFrame(rows, columns=frame.columns)

    made = data({"operand": VARIANTS["operand"]}, change=made_up)
    errors = answers.single_errors(made, "operand", "digits", 3)
    assert errors.to_numpy().tolist() == [[128, 10], [199, 1]]
    found = answers.wrong_places(errors, 3)
    assert [interval.centre for interval in found] == [0.5, 1.0, 0.5]
    assert found[0] == share_interval(1, 2)
    sizes = answers.error_sizes(made, "operand", "digits", 3)
    assert sizes.to_numpy().tolist() == [[128, 10.0], [199, 1.0], [55, -10.0]]


def test_the_models_own_answers_have_wilsons_interval():
    drawn, source = default("sums")
    answered = of(data().table("behaviour"), variant="in_context")
    wanted = share_interval(int(answered["correct"].sum()), len(answered))
    own = of(source, panel="whole sum", series="model itself").iloc[0]
    assert tuple(own[["mean", "low", "high", "n"]]) == pytest.approx(tuple(wanted))
    words = [text.get_text() for text in texts(drawn)]
    assert f"model itself: {100 * wanted.centre:.0f} %" in words
    assert f"{wanted.n} sums answered by the model" in drawn.get_supxlabel()
    sized = of(source, panel="whole sum, by size", series="model itself")
    assert sized["n"].sum() == len(answered)
    ones = answered[answered["expected"] < 10]
    assert sized.iloc[0]["mean"] == pytest.approx(ones["correct"].mean())


def test_sums_are_read_by_size_at_each_codes_best_layer():
    _, source = default("sums")
    layer = outcomes.best_layer(data(), "sum", "sinusoidal")
    shares = answers.by_number(data(), "sum", "sinusoidal", layer)
    drawn = of(source, panel="whole sum, by size", series="sinusoidal", x=2).iloc[0]
    assert drawn["mean"] == pytest.approx(shares.loc[shares["number"] > 9, "share"].mean())
    assert drawn["n"] == LIMIT - 10
    controls = source[source["series"].str.endswith("shuffled values")]
    assert set(controls["panel"]) == {"whole sum"}


def test_decimal_places_of_the_sum_stand_beside_the_first_token():
    _, source = default("sums")
    tens = outcomes.accuracies(data(), "sum", gathering.PROBE, target="digit.1")
    shown = of(source, panel="its digits", series="tens").set_index("x")["mean"]
    assert shown.to_dict() == pytest.approx(tens.mean().to_dict())
    assert of(source, panel="its digits", series="first token")["mean"].item() == 1.0

    def undefined(name, frame):
        return frame.assign(first_token_correct=-1) if name == "behaviour" else frame

    _, source = draw("sums", change=undefined)
    assert of(source, series="first token").empty


def test_a_study_without_the_sum_says_so():
    drawn, source = draw("sums", ALONE, {"operand": VARIANTS["operand"]})
    assert "not run" in {text.get_text() for text in texts(drawn)}
    assert source.empty


def test_errors_of_exactly_zero_have_no_place_on_a_logarithmic_axis():
    drawn, source = default("precision")
    assert set(source["variant"].dropna()) == set(VARIANTS)
    values = of(source, kind="value")
    assert (values["value"] > 0).all()
    assert set(values["x"]) == set(LAYERS) - {0}
    assert drawn.axes[0].get_yscale() == "log"

    def exact(name, frame):
        return frame.assign(value=0.0)

    drawn, source = draw("precision", change=exact)
    assert source.empty


def test_probes_have_one_colour_and_variants_follow_the_style():
    names = list(palette.CODE_COLOURS)
    colours = [palette.probe_colour(name) for name in names]
    narrow = [palette.probe_colour(f"{name}_narrow") for name in palette.NARROW_COLOURS]
    assert len(set(colours + narrow)) == len(colours) + len(narrow)
    assert palette.probe_colour("least_squares.digits") == palette.probe_colour("digits")
    assert palette.probe_line("least_squares.digits") != palette.probe_line("digits")
    assert palette.probe_name("random_fourier_narrow") == "random Fourier code, narrow"
    chosen = palette.variant_colours(VARIANTS, Style(colours={"sum": "#123456"}))
    assert chosen["sum"] == "#123456"
    assert len(set(chosen.values())) == len(VARIANTS)


def test_labels_at_line_ends_keep_apart_and_in_order():
    found = layered.apart([0.1, 0.11, 0.5, 0.505, 0.51], 0.1)
    assert np.diff(found).min() >= 0.1 - 1e-9
    assert found[2:].mean() == pytest.approx(0.505)
    assert layered.apart([0.2, 0.8], 0.1).tolist() == pytest.approx([0.2, 0.8])
