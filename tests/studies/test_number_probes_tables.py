import dataclasses
import math
from functools import cache

import numpy as np
import pandas as pd
import pytest

from mechflow import statistics, tabular
from mechflow.artifacts import Owner, collect, read_table, write_table
from mechflow.studies.number_probes import outcomes, tables
from mechflow.studies.number_probes.figure_texts_probes import TABLES
from tests.studies.fabricated_numbers import VARIANTS, data
from tests.studies.fabricated_subject import FOLDS, GROUPS, LAYERS, LIMIT, PERIODS, PERMUTATIONS
from tests.studies.test_modular_addition_figures import of


def row(table, **wanted):
    (found,) = of(table, **wanted).to_dict("records")
    return found


def made(name, variants=VARIANTS, change=None):
    """A table that may be made from nothing but what it declares to read."""
    (table,) = (table for table in TABLES if table.name == name)
    return getattr(tables, f"make_{name}")(data(variants, reads=table.reads, change=change))


@cache
def default(name):
    """A table of the default variants."""
    return made(name)


def test_every_declared_table_can_be_made_and_no_other():
    found = {name.removeprefix("make_") for name in vars(tables) if name.startswith("make_")}
    assert found == {table.name for table in TABLES}


@pytest.mark.parametrize("name", [table.name for table in TABLES])
def test_tables_can_be_stored_and_read_by_people(name, tmp_path):
    table = default(name)
    provenance = collect(kind="table", owner=Owner("toy"), stage="table", spec={}, code="0", seed=0)
    write_table(tmp_path / "table.parquet", table, "table", provenance)
    pd.testing.assert_frame_equal(
        read_table(tmp_path / "table.parquet", "table"), table, check_dtype=False
    )
    assert len(tabular.markdown(table).splitlines()) == len(table) + 2
    assert "_low" not in tabular.markdown(table)
    assert tabular.latex(table).count(r"\\") == len(table) + 1


def test_accuracy_counts_prompts_in_per_cent():
    table = default("accuracy")
    assert len(table) == sum(len(s.bases) + 4 for s in VARIANTS.values())
    found = row(table, variant="sum", probe="digits")
    rows = of(data().table("readout"), variant="sum", basis="digits", control="none", split="test")
    values = of(rows, metric="accuracy")
    for layer in LAYERS:
        assert found[str(layer)] == pytest.approx(100 * of(values, layer=layer)["value"].mean())
    assert found["n"] == FOLDS


def test_the_best_layer_is_chosen_on_valid_numbers():
    """Test numbers that happen to be read better at another layer must not choose it."""

    def lucky(name, frame):
        if name != "readout":
            return frame
        at = (frame["layer"] == 5) & (frame["split"] == "test") & (frame["control"] == "none")
        return frame.assign(value=frame["value"].where(~at, 1.0))

    honest, tempted = default("best"), made("best", change=lucky)
    columns = ["accuracy", "accuracy_low", "layer"]
    pd.testing.assert_frame_equal(honest[columns], tempted[columns])
    best = made("accuracy", change=lucky)
    assert row(best, variant="operand", probe="digits")["best"] < 100


def test_selectivity_is_the_difference_within_folds():
    found = row(default("best"), variant="operand", probe="sinusoidal")
    real, control = (
        outcomes.at_best_layer(data(), "operand", "sinusoidal", control=control)
        for control in ("none", "shuffled_values")
    )
    wanted = statistics.mean_interval((real - control).to_numpy())
    assert found["selectivity"] == pytest.approx(wanted.centre)
    assert found["selectivity_low"] == pytest.approx(wanted.low)
    assert found["shuffled_values"] == pytest.approx(control.mean())


def test_a_control_that_was_not_run_leaves_a_gap():
    found = row(default("best"), variant="sum", probe="digits")
    assert math.isnan(found["gaussian"])
    assert not math.isnan(found["selectivity"])
    found = row(default("best"), variant="operand", probe="binary")
    assert math.isnan(found["selectivity"])
    assert "nan" not in tabular.markdown(default("best"))


def test_widths_are_the_numbers_that_a_probe_predicts():
    table = default("best")
    widths = of(table, variant="operand").set_index("probe")["width"]
    assert widths["binary"] == 7
    assert widths["least_squares.digits"] == widths["digits"] == 20
    assert widths["least_squares.log"] == 1


def test_own_answers_are_counted_by_the_digits_of_the_sum():
    table = of(default("addition"), reader="model")
    assert set(table["variant"]) == {"in_context"}
    answered = of(data().table("behaviour"), variant="in_context")
    short = answered[answered["expected"] < 10]
    found = row(table, digits="1")
    wanted = statistics.share_interval(int(short["correct"].sum()), len(short))
    assert (found["share"], found["share_low"], found["n"]) == pytest.approx(
        (wanted.centre, wanted.low, wanted.n)
    )
    assert row(table, digits="all")["n"] == len(answered)


def test_probes_are_counted_over_numbers_beside_the_answers():
    table = default("addition")
    found = row(table, variant="sum", reader="digits", digits="all")
    values = of(
        data().table("readout_values"), variant="sum", basis="digits", layer=int(found["layer"])
    )
    assert found["number"] == "sum"
    assert found["n"] == LIMIT
    assert found["share"] == pytest.approx((values["correct"] / values["prompts"]).mean())
    assert row(table, variant="in_context", reader="digits", digits="2")["number"] == "b"


def test_without_answers_only_probes_are_listed():
    def silent(name, frame):
        return frame.iloc[:0] if name == "behaviour" else frame

    table = made("addition", change=silent)
    assert "model" not in set(table["reader"])
    assert list(table) == tables.ADDITION_COLUMNS


def test_periods_have_the_interval_of_the_jackknife():
    table = default("periods")
    assert len(table) == len(VARIANTS) * len(PERIODS)
    found = row(table, variant="operand", period=10)
    layer = outcomes.best_layer(data(), "operand", "least_squares.digits")
    assert found["layer"] == layer
    rows = of(data().table("geometry"), variant="operand", layer=layer, quantity="period_share")
    rows = of(rows, index=10)
    own = of(rows, control="none").sort_values("draw")["value"].to_numpy()
    wanted = statistics.jackknife_interval(own[0], own[1:])
    assert wanted.n == GROUPS
    assert (found["share"], found["share_low"], found["share_high"]) == pytest.approx(wanted[:3])
    null = of(rows, control="permuted")["value"]
    assert found["permuted_max"] == null.max()
    assert found["above_permuted"] == f"{np.sum(null < own[0])} of {PERMUTATIONS}"


def test_several_replicates_are_all_counted():
    twice = dataclasses.replace(VARIANTS["operand"], replicates=2)
    assert set(made("best", {"operand": twice})["n"]) == {2 * FOLDS}
