"""What holds of all figures of the study, whatever they show."""

import importlib
import pkgutil
import re

import pandas as pd
import pytest

from mechflow.artifacts import Owner, collect, read_table, write_table
from mechflow.figures.save import save_figure
from mechflow.studies.phase_changes import figures as package
from mechflow.studies.phase_changes import roles
from mechflow.studies.phase_changes.study import STUDY
from tests.studies.galleries import GALLERIES, STYLE, check_layout, words

ALONE = {
    "infinite_data": "addition",
    "finite_data": "addition_finite",
    "digits": "addition",
    "triggers": "skip_trigram_finite",
    "copies": "induction_one_layer",
    "phase_times": "skip_trigram",
    "grokking": "addition_finite",
    "induction_heads": "induction_one_layer",
    "composition": "induction",
    "head_patterns": "induction",
    "trigger_circuit": "skip_trigram",
    "ablations": "addition",
    "fourier_basis": "addition_finite",
    "digit_spectrum": "addition_finite",
    "digit_neurons": "addition_finite",
    "carries": "addition_finite",
    "carry_probes": "addition_finite",
    "task_probes": "skip_trigram",
    "circuit_singular_values": "skip_trigram",
}
"""A variant that is enough for each figure."""

WITHOUT = {
    "infinite_data": "addition_finite",
    "finite_data": "addition",
    "digits": "induction_one_layer",
    "triggers": "addition",
    "copies": "addition",
    "phase_times": "addition_finite",
    "grokking": "addition",
    "induction_heads": "addition",
    "composition": "induction_one_layer",
    "head_patterns": "skip_trigram",
    "trigger_circuit": "induction",
    "fourier_basis": "skip_trigram",
    "digit_spectrum": "induction_one_layer",
    "digit_neurons": "skip_trigram",
    "carries": "skip_trigram",
    "carry_probes": "induction_one_layer",
    "task_probes": "addition_finite",
    "circuit_singular_values": "addition_finite",
}
"""A variant of which each figure has nothing to show; that of ablations names what is missing."""

SAVED = ("copies", "carry_probes", "head_patterns")
"""Curves, maps in panels within panels, and maps with patches: a figure of each kind."""

COUNTED = ("phase_times", "grokking", "composition")
"""Figures with text for each replicate."""


def test_every_declared_figure_can_be_drawn_and_no_other():
    found = set()
    for module in pkgutil.iter_modules(package.__path__):
        names = vars(importlib.import_module(f"{package.__name__}.{module.name}"))
        found |= {(n.removeprefix("draw_"), module.name) for n in names if n.startswith("draw_")}
    assert found == {(figure.name, figure.module) for figure in STUDY.figures}
    assert set(ALONE) == set(GALLERIES) == {name for name, _ in found}


@pytest.mark.parametrize("text", [*STUDY.figures, *STUDY.tables], ids=lambda text: text.name)
def test_captions_say_how_to_read_and_name_no_configured_number(text):
    assert text.title
    assert text.caption.endswith(".")
    assert len(text.caption.split()) > 25
    # Intervals, shares of a drop, the accuracy that counts as learnt, and ends of scales.
    assert set(re.findall(r"\d+", text.caption)) <= {"0", "1", "25", "50", "75", "90", "95"}


def test_the_caption_of_ablations_tells_which_heads_share_a_role():
    (figure,) = (figure for figure in STUDY.figures if figure.name == "ablations")
    assert roles.LEAST_SHARE == 0.5
    assert "at least half as high as the best" in figure.caption


@pytest.mark.parametrize("name", GALLERIES)
def test_figures_of_all_variants_are_legible_and_have_source_data_to_store(name, tmp_path):
    drawn, source = GALLERIES[name].default(name)
    assert {"panel", "variant", "series", "kind"} <= set(source)
    note = drawn.get_supxlabel()
    assert re.search("n = [23] training seeds", note) or "training seed 0" in note
    check_layout(drawn)
    provenance = collect(kind="figure_data", owner=Owner("x"), stage="f", spec={}, code="0", seed=0)
    write_table(tmp_path / "source.parquet", source, "figure_data", provenance)
    assert len(read_table(tmp_path / "source.parquet", "figure_data")) == len(source)


@pytest.mark.parametrize("name", GALLERIES)
def test_one_replicate_of_one_variant_is_enough(name):
    drawn, source = GALLERIES[name].draw_some(name, [ALONE[name]])
    assert set(source["variant"].dropna()) == {ALONE[name]}
    means = source[source["kind"] == "mean"].reindex(columns=["n", "low"])
    assert set(means["n"].dropna()) <= {1}
    assert means["low"].isna().all()
    if drawn.get_figwidth() < 100 / 25.4:  # a single column: less room than for all variants
        check_layout(drawn)


@pytest.mark.parametrize("name", COUNTED)
def test_text_for_each_of_many_replicates_does_not_overlap(name):
    variants = {"composition": ["induction"]}.get(name, ["addition", "addition_finite"])
    drawn, _ = GALLERIES[name].draw_some(name, variants, replicates=5)
    check_layout(drawn)


@pytest.mark.parametrize("name", WITHOUT)
def test_figures_with_nothing_to_show_say_so(name):
    drawn, source = GALLERIES[name].draw_some(name, [WITHOUT[name]])
    assert source.empty
    assert re.search(r"no (variant|model) .* was (run|trained)", words(drawn))


@pytest.mark.parametrize("name", SAVED)
def test_drawing_again_gives_the_same_bytes(name):
    first, second = (GALLERIES[name].draw_some(name, [ALONE[name]], 2) for _ in range(2))
    pd.testing.assert_frame_equal(first[1], second[1])
    assert save_figure(first[0], STYLE) == save_figure(second[0], STYLE)
