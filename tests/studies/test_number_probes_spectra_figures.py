import dataclasses
import importlib
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from mechflow.artifacts import Owner, collect, read_table, write_table
from mechflow.config.study import Style
from mechflow.figures.errors import FigureError
from mechflow.figures.save import save_figure
from mechflow.figures.style import context
from mechflow.statistics import jackknife_interval, mean_interval, share_interval
from mechflow.studies.number_probes import figures as package
from mechflow.studies.number_probes import outcomes
from mechflow.studies.number_probes.config import Figures
from mechflow.studies.number_probes.figure_texts_spectra import FIGURES
from mechflow.studies.number_probes.figures import interchange, number_line, palette, periods
from tests.studies.fabricated_numbers import VARIANTS, arrays, data
from tests.studies.fabricated_subject import GROUPS, LAST, LIMIT, PERIODS, PERMUTATIONS
from tests.studies.test_modular_addition_figures import of
from tests.studies.test_number_probes_figures import check_text

STYLE = Style(dpi=60)
NAMES = [figure.name for figure in FIGURES]
ALONE = Figures(untrained=None, sums=None, causal=None)
ONLY_OPERAND = {"operand": VARIANTS["operand"]}


def declared(name):
    (figure,) = (figure for figure in FIGURES if figure.name == name)
    return figure


def draw(name, shown=None, variants=VARIANTS, **options):
    """Draws a figure that may read nothing but what it declares."""
    figure = declared(name)
    module = importlib.import_module(f"{package.__name__}.{figure.module}")
    made = data(variants, reads=figure.reads, **options)
    drawn, source = getattr(module, f"draw_{name}")(made, shown or Figures(), STYLE)
    assert isinstance(drawn, Figure)
    return drawn, source


def changed(table, edit):
    """Edits one table and leaves the others."""
    return lambda name, frame: edit(frame) if name == table else frame


@pytest.mark.parametrize("name", NAMES)
def test_captions_say_how_to_read_and_name_no_configured_number(name):
    figure = declared(name)
    assert figure.title
    assert figure.caption.endswith(".")
    assert len(figure.caption.split()) > 25
    # Intervals, and ends of scales.
    assert set(re.findall(r"\d+", figure.caption)) <= {"0", "1", "95"}


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_drawn_from_what_they_declare(name, tmp_path):
    drawn, source = draw(name)
    assert {"panel", "variant", "series", "kind"} <= set(source)
    assert drawn.get_supxlabel().startswith("smollm2-135m-instruct, ")
    provenance = collect(kind="figure_data", owner=Owner("x"), stage="f", spec={}, code="0", seed=0)
    write_table(tmp_path / "source.parquet", source, "figure_data", provenance)
    assert len(read_table(tmp_path / "source.parquet", "figure_data")) == len(source)


@pytest.mark.parametrize("name", NAMES)
def test_drawing_again_gives_the_same_bytes_and_text_never_overlaps(name):
    first, second = (draw(name) for _ in range(2))
    pd.testing.assert_frame_equal(first[1], second[1])
    saved = save_figure(first[0], STYLE)
    assert saved == save_figure(second[0], STYLE)
    with context(STYLE):
        check_text(first[0])


@pytest.mark.parametrize("name", NAMES)
def test_figures_do_without_the_variants_that_may_be_absent(name):
    drawn, source = draw(name, ALONE, ONLY_OPERAND)
    with context(STYLE):
        drawn.draw_without_rendering()
        check_text(drawn)
    assert set(source["variant"].dropna()) == (set() if name == "interchange" else {"operand"})


@pytest.mark.parametrize("name", [name for name in NAMES if name != "interchange"])
def test_a_main_variant_that_did_not_run_is_named(name):
    with pytest.raises(ValueError, match="operand, which did not run"):
        draw(name, variants={"sum": VARIANTS["sum"]})


# Periods


def test_shares_have_jackknife_intervals_and_permutations_their_range():
    _, source = draw("period_spectrum")
    table = of(data().table("geometry"), variant="operand", quantity="period_share", index=10)
    rows = of(table, layer=3, control="none").set_index("draw")["value"]
    wanted = jackknife_interval(rows[0], rows[1:])
    drawn = of(source, variant="operand", series="period 10", x=3).iloc[0]
    assert tuple(drawn[["mean", "low", "high", "n"]]) == pytest.approx(tuple(wanted))
    assert drawn["n"] == GROUPS
    null = of(table, layer=3, control="permuted")["value"]
    assert len(null) == PERMUTATIONS
    band = of(source, variant="operand", series="period 10, permuted", x=3).iloc[0]
    assert tuple(band[["low", "high"]]) == pytest.approx(tuple(np.quantile(null, [0.025, 0.975])))
    assert {f"period {p}" for p in PERIODS} <= set(source["series"])


def test_the_map_shows_the_strongest_frequency_of_each_column():
    _, source = draw("period_spectrum")
    made = arrays("random_model", VARIANTS["random_model"])["geometry_arrays"]
    ratio = (made["spectrum"] / made["spectrum_permuted"]).numpy()
    cells = of(source, panel="spectrum", variant="random_model", layer=2)
    of_frequency = LIMIT / np.arange(1, LIMIT // 2 + 1)
    for _, cell in cells.iterrows():
        inside = (of_frequency >= cell["shortest"] - 1e-9) & (
            of_frequency <= cell["longest"] + 1e-9
        )
        assert cell["value"] == pytest.approx(ratio[2, inside].max())
    assert cells["longest"].max() == LIMIT
    assert cells["shortest"].min() == 2


@pytest.mark.parametrize("n_freq", [5, 50, 500])
def test_columns_of_the_map_hold_every_frequency_once(n_freq):
    groups = periods.cells(n_freq)
    assert np.concatenate(groups).tolist() == list(range(1, n_freq + 1))
    # Periods of decimal digits and their overtones stay apart.
    if n_freq == 500:
        column = {k: i for i, group in enumerate(groups) for k in group}
        assert len({column[k] for k in (1, 10, 20, 100, 200, 300, 400, 500)}) == 8


def test_one_permutation_or_none_is_enough_to_draw():
    def without_null(frame):
        return frame[frame["control"] == "none"]

    _, source = draw("period_spectrum", change=changed("geometry", without_null))
    assert not source["series"].str.contains("permuted").any()


# Principal components


def test_scores_are_scaled_to_the_largest_and_variance_shares_are_named():
    drawn, source = draw("principal_components", Figures(layer=3))
    assert list(dict.fromkeys(source["panel"])) == [
        "embedding", "layer 1", "layer 2", "layer 3", "layer 4",
    ]  # fmt: skip
    scores = arrays("operand", VARIANTS["operand"])["geometry_arrays"]["pc_scores"][3].numpy()
    shown = of(source, panel="layer 3", kind="score")
    wide = shown.pivot(index="number", columns="series", values="value").to_numpy()
    assert wide == pytest.approx(scores / np.abs(scores).max())
    shares = of(source, panel="layer 3", kind="text")["value"]
    assert shares.tolist() == pytest.approx([0.4 * 0.6**k for k in range(4)])
    titles = [axes.get_title() for axes in drawn.axes]
    assert "PC 1: 40 %" in titles


def test_layers_of_small_models_are_shown_once():
    assert number_line.chosen_layers(31) == [0, 8, 15, 30]
    assert number_line.chosen_layers(31, 31) == [0, 8, 15, 30, 31]
    assert number_line.chosen_layers(2, None) == [0, 1]
    with pytest.raises(FigureError, match=r"figures\.layer is 99, but .* are 0 to 31: .* null"):
        number_line.chosen_layers(31, 99)


# Helix or digits


def test_helix_and_digits_are_compared_fold_by_fold():
    _, source = draw("helix_or_digits")
    table = of(data().table("geometry"), variant="random_model", layer=2, control="none")
    helix, digits = (
        of(table, quantity=quantity).sort_values("index")["value"].to_numpy()
        for quantity in ("helix_r2", "digit_circles_r2")
    )
    drawn = of(source, panel="difference", variant="random_model", x=2).iloc[0]
    wanted = mean_interval(helix - digits)
    assert tuple(drawn[["mean", "low", "high", "n"]]) == pytest.approx(tuple(wanted))
    fit = of(source, variant="random_model", series="circles of each digit", x=2).iloc[0]
    assert tuple(fit[["mean", "low", "high"]]) == pytest.approx(tuple(mean_interval(digits))[:3])


def test_permutations_are_averaged_within_folds():
    _, source = draw("helix_or_digits")
    table = of(data().table("geometry"), variant="operand", layer=1, control="permuted")
    folds = of(table, quantity="helix_r2").groupby("index")["value"].mean()
    drawn = of(source, variant="operand", series="helix: circles of n, permuted", x=1).iloc[0]
    assert drawn["n"] == len(folds)
    assert drawn["low"] == pytest.approx(mean_interval(folds).low)


# The probes' maps


def test_singular_values_are_shares_of_the_largest():
    _, source = draw("probe_maps")
    drawn = of(source, panel="singular values", basis="digits", series="layer 2")
    assert drawn["x"].tolist() == [1, 2, 3, 4, 5]
    assert drawn["mean"].to_numpy() == pytest.approx(0.7 ** np.arange(5))
    assert set(of(source, panel="effective rank", basis="digits")["x"]) == set(range(LAST + 1))
    assert len(of(source, panel="periods", basis="sinusoidal")) == len(PERIODS) * (LAST + 1)


@pytest.mark.parametrize("layer", [None, 1, 99])
def test_singular_functions_are_those_of_the_layer_where_most_is_read(layer):
    _, source = draw("probe_maps", Figures(layer=layer))
    best = outcomes.best_layer(data(), "operand", "sinusoidal")
    number = best if layer is None else min(layer, LAST)
    made = arrays("operand", VARIANTS["operand"])["spectra_arrays"]
    functions = made["singular_functions.sinusoidal"][0, number]
    drawn = of(source, basis="sinusoidal", kind="function", panel="function 2")
    assert drawn["value"].to_numpy() == pytest.approx(functions[1].numpy())
    assert set(drawn["series"]) == {palette.layer_name(number, LAST)}
    squares = 0.49 ** np.arange(5)
    share = of(source, basis="sinusoidal", kind="text", panel="function 2")["value"].item()
    assert share == pytest.approx(squares[1] / squares.sum())


def test_replicates_give_the_maps_an_interval():
    twice = dataclasses.replace(VARIANTS["operand"], replicates=2)
    drawn, source = draw("probe_maps", ALONE, {"operand": twice})
    rank = of(source, panel="effective rank", basis="digits", x=2).iloc[0]
    assert rank["n"] == 2
    assert rank["low"] < rank["mean"] < rank["high"]
    assert "n = 2 replicates" in drawn.get_supxlabel()


# Interchange


def test_pairs_that_follow_have_wilsons_interval():
    _, source = draw("interchange")
    table = of(data().table("interventions"), variant="in_context", metric="next_token_source")
    row = of(table, tokens="last", control="none", layer=3).iloc[0]
    wanted = share_interval(round(row["value"] * row["n"]), int(row["n"]))
    drawn = of(source, panel="next token, last", series="next_token_source, none", x=3).iloc[0]
    assert tuple(drawn[["mean", "low", "high", "n"]]) == pytest.approx(tuple(wanted))


def test_numbers_are_read_where_they_are_put_in_and_after_the_last_block():
    def by_read_layer(frame):
        decoded = frame["metric"] == "decoded_source"
        return frame.assign(value=frame["value"].where(~decoded, frame["read_layer"] / 16))

    _, source = draw("interchange", change=changed("interventions", by_read_layer))
    panel = of(source, panel="number read")
    at_end = of(panel, series="after the last block, none").set_index("x")["mean"]
    assert at_end.to_dict() == {layer: (LAST - 1) / 16 for layer in range(LAST)}
    at_once = of(panel, series="where it is put in, none").set_index("x")["mean"]
    assert at_once.to_dict() == {layer: layer / 16 for layer in range(LAST)}
    cells = of(source, panel="where read").set_index(["read_layer", "x"])["value"]
    assert cells[5, 2] == pytest.approx(5 / 16)
    assert np.isnan(cells[1, 2])


def test_shares_of_replicates_are_shares_of_all_their_pairs():
    rows = pd.DataFrame({"layer": 1, "value": [0.5, 0.25, np.nan], "n": [2, 8, 0]})
    found = interchange.shares(rows).iloc[0]
    assert tuple(found[["mean", "low", "high", "n"]]) == pytest.approx(tuple(share_interval(3, 10)))
    nothing = interchange.share_of_pairs(rows[rows["n"] == 0])
    assert nothing.n == 0
    assert np.isnan(nothing.centre)


def test_a_model_that_is_mostly_wrong_is_said_to_be():
    def ignorant(frame):
        alone = frame["metric"].str.startswith("first_token_correct")
        both = frame["metric"].str.startswith("next_token_when_right")
        frame = frame.assign(value=frame["value"].mask(alone, 0.125).mask(both, np.nan))
        return frame.assign(n=frame["n"].mask(both, 0))

    drawn, source = draw("interchange", change=changed("interventions", ignorant))
    (text,) = (t.get_text() for axes in drawn.axes for t in axes.texts if "Left" in t.get_text())
    assert "12 % [3, 36] of the base prompts" in text
    assert "mostly wrong" in text
    assert "No pair that can tell begins rightly both ways" in text
    alone = of(source, series="base begins rightly").iloc[0]
    assert tuple(alone[["mean", "low", "high"]]) == pytest.approx(tuple(share_interval(2, 16))[:3])


def test_a_model_that_is_right_is_not_called_wrong():
    drawn, source = draw("interchange")
    (text,) = (t.get_text() for axes in drawn.axes for t in axes.texts if "Left" in t.get_text())
    assert "mostly wrong" not in text
    assert "Of 8 pairs that begin rightly both ways" in text
    assert "after an exchange at layer 2" in text  # half of four blocks
    followed = of(source, panel="left alone", series="followed when both begin rightly, operand")
    wanted = share_interval(round(8 * 0.9), 8)
    assert tuple(followed.iloc[0][["mean", "low", "high"]]) == pytest.approx(tuple(wanted)[:3])
    assert "all tokens of b: 88 % [53, 98] follow" in text


@pytest.mark.parametrize("tokens", ["last", "operand"])
def test_one_way_of_exchanging_is_enough(tokens):
    def only(frame):
        return frame[frame["tokens"].isin(["", tokens])]

    drawn, source = draw("interchange", change=changed("interventions", only))
    with context(STYLE):
        drawn.draw_without_rendering()
    assert set(of(source, kind="share")["panel"]) <= {
        f"next token, {tokens}", *(["number read"] if tokens == "last" else []),
    }  # fmt: skip


@pytest.mark.parametrize("shown", [Figures(causal=None), Figures(causal="operand")])
def test_without_pairs_the_figure_says_so(shown):
    drawn, source = draw("interchange", shown)
    assert source.empty
    assert "not run" in drawn.axes[0].texts[0].get_text()
