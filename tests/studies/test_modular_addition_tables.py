import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mechflow import statistics, tabular
from mechflow.artifacts import Owner, collect, read_table, write_table
from mechflow.studies.modular_addition import tables
from mechflow.studies.modular_addition.study import STUDY
from mechflow.studies.modular_addition.variants import matched_to
from tests.studies.fabricated import BINARY, STEPS, TERNARY, Networks, data

THREE = {"full": Networks(), "binary": BINARY, "ternary": TERNARY}
NEVER = Networks(grokked_at=(math.inf,) * 3)


def row(table: pd.DataFrame, **values: str) -> pd.Series:
    for column, value in values.items():
        table = table[table[column] == value]
    (found,) = table.to_dict("records")
    return pd.Series(found)


def test_every_declared_table_can_be_made_and_no_other():
    made = {name.removeprefix("make_") for name in vars(tables) if name.startswith("make_")}
    assert made == {table.name for table in STUDY.tables}


@pytest.mark.parametrize("name", [table.name for table in STUDY.tables])
def test_tables_can_be_stored_and_read_by_people(name, tmp_path):
    table = getattr(tables, f"make_{name}")(data(THREE))
    provenance = collect(kind="table", owner=Owner("toy"), stage="table", spec={}, code="0", seed=0)
    write_table(tmp_path / "table.parquet", table, "table", provenance)
    pd.testing.assert_frame_equal(
        read_table(tmp_path / "table.parquet", "table"), table, check_dtype=False
    )
    assert len(tabular.markdown(table).splitlines()) == len(table) + 2
    assert "_low" not in tabular.markdown(table)
    assert tabular.latex(table).count(r"\\") == len(table) + 1


def test_training_has_the_median_epoch_between_the_earliest_and_the_latest():
    found = row(tables.make_training(data(THREE)), variant="full")
    assert (found["n"], found["generalised"]) == (3, 3)
    assert (found["epoch_99"], found["epoch_99_low"], found["epoch_99_high"]) == (600, 500, 700)


def test_a_replicate_that_never_generalises_comes_after_all_others():
    networks = Networks(grokked_at=(500, 700, math.inf))
    found = row(tables.make_training(data({"full": networks})), variant="full")
    assert found["generalised"] == 2
    assert (found["epoch_99"], found["epoch_99_low"]) == (700, 500)
    assert found["epoch_99_high"] == math.inf
    never = row(tables.make_training(data({"full": NEVER})), variant="full")
    assert never["generalised"] == 0
    assert never["epoch_99"] == math.inf


def test_accuracy_must_stay_high_to_count():
    """The last evaluation alone is too little, unless the early stop asks for no more."""
    late = (STEPS[-1],) * 3
    training = {"stop": {"sustained": 1, "extra_steps": 0}}
    made = data({"full": Networks(late), "stopped": Networks(late, training=training)})
    assert list(tables.make_training(made)["generalised"]) == [0, 3]


def test_final_losses_ignore_a_spike_and_are_averaged_geometrically():
    """The last of the evaluations in the last tenth is three times as high."""
    found = row(tables.make_training(data(THREE)), variant="full")
    assert found["test_loss"] > 0
    losses = np.array([1e-6, 2e-6, 4e-6])
    expected = statistics.geometric_mean_interval(2 * losses)  # between the loss and its spike
    assert found["test_loss"] == pytest.approx(expected.centre)
    assert found["test_loss_high"] == pytest.approx(expected.high)


def test_no_interval_of_an_accuracy_leaves_the_possible():
    networks = Networks(grokked_at=(500, 600, math.inf))
    found = row(tables.make_training(data({"full": networks})), variant="full")
    assert found["test_accuracy"] == pytest.approx(0.7)
    assert (found["test_accuracy_low"], found["test_accuracy_high"]) == (0.0, 1.0)


def test_spectra_lists_and_counts_key_frequencies():
    found = row(tables.make_spectra(data(THREE)), variant="binary")
    assert found["frequencies"] == "r0: 1 3; r1: 2 5; r2: 3 4 6"
    expected = statistics.mean_interval([2.0, 2.0, 3.0])
    assert found["key_frequencies"] == pytest.approx(expected.centre)
    assert found["key_frequencies_low"] == pytest.approx(expected.low)


def test_a_network_without_key_frequencies_counts_as_having_none():
    networks = Networks(key=((1, 2), (), (3,)))
    found = row(tables.make_spectra(data({"full": networks})), variant="full")
    assert found["frequencies"] == "r0: 1 2; r1: ; r2: 3"
    assert found["key_frequencies"] == 1.0


def test_neurons_are_explained_above_the_configured_share():
    found = row(tables.make_spectra(data(THREE)), variant="full")
    assert found["neurons_explained"] == pytest.approx(np.mean([0.75, 0.75, 0.5]))


def test_only_quantised_variants_have_quantised_numbers():
    spectra, ranks = tables.make_spectra(data(THREE)), tables.make_effective_ranks(data(THREE))
    assert math.isnan(row(spectra, variant="full")["gini_W_L_quantised"])
    assert row(spectra, variant="binary")["gini_W_L_quantised"] == pytest.approx(0.56)
    assert math.isnan(row(ranks, variant="full", matrix="W_L")["quantised"])
    found = row(ranks, variant="ternary", matrix="W_L")
    assert tuple(found[["trained", "quantised", "untrained", "gaussian"]]) == (1.0, 6.0, 11.0, 21.0)


def test_comparison_pairs_quantised_variants_with_the_matched_one():
    other = Networks(model={"precision": "binary", "d_model": 32})
    made = data({**THREE, "wider": other, "unmatched": Networks(training={"lr": 0.1})})
    assert matched_to(made, "full") == ["binary", "ternary"]
    assert matched_to(made, "absent") == []
    comparison = tables.make_comparison(made)
    assert set(comparison["variant"]) == {"binary", "ternary"}
    assert set(comparison["reference"]) == {"full"}


def test_comparison_has_effect_interval_and_corrected_p_of_each_quantity():
    better = Networks(
        grokked_at=(100, 200, 300), logit_variance=(0.5, 0.6, 0.7), model={"precision": "binary"}
    )
    comparison = tables.make_comparison(data({"full": Networks(), "binary": better}))
    found = row(comparison, quantity="epoch_99")
    assert found["difference"] == -400
    assert found["cliffs_delta"] == -1.0
    assert found["p_value"] == pytest.approx(stats.mannwhitneyu([1, 2, 3], [5, 6, 7]).pvalue)
    logits = row(comparison, quantity="logit_variance_explained")
    welch = stats.ttest_ind([0.5, 0.6, 0.7], [0.95, 0.96, 0.97], equal_var=False)
    assert tuple(logits[["difference_low", "difference_high"]]) == pytest.approx(
        tuple(welch.confidence_interval())
    )


def test_p_values_are_corrected_over_the_variants_of_one_quantity():
    comparison = tables.make_comparison(data(THREE))
    for _, group in comparison.groupby("quantity"):
        assert group["p_holm"].to_list() == pytest.approx(
            statistics.holm(group["p_value"].to_numpy()).tolist(), nan_ok=True
        )


def test_quantised_variants_are_compared_by_the_weights_that_they_use():
    comparison = tables.make_comparison(data(THREE))
    found = row(comparison, quantity="effective_rank_W_L", variant="binary")
    assert found["difference"] == 5.0
    assert row(comparison, quantity="effective_rank_W_E", variant="binary")["difference"] == 0.0


def test_an_epoch_that_was_not_reached_is_not_compared():
    comparison = tables.make_comparison(
        data({**THREE, "binary": Networks((500, 600, math.inf), model={"precision": "binary"})})
    )
    found = row(comparison, quantity="epoch_99", variant="binary")
    assert math.isnan(found["difference"])
    assert math.isnan(found["p_holm"])


def test_without_the_reference_nothing_is_compared():
    comparison = tables.make_comparison(data({"binary": BINARY}))
    assert len(comparison) == 0
    assert list(comparison) == tables.COMPARISON_COLUMNS


def test_restricted_loss_is_that_of_the_last_checkpoint_on_test_pairs():
    quantities = tables.compared_quantities(data(THREE))
    found = quantities["restricted_loss_minus_loss"].loc["full"]
    assert found.tolist() == pytest.approx([0.0, 0.01, -0.01])
