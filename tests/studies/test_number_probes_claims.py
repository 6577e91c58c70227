"""Verdicts on published statements, from made-up artefacts whose answer is known."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from mechflow.config.language_models import LanguageModelSource
from mechflow.statistics import share_interval
from mechflow.studies.number_probes import claims, outcomes, published
from mechflow.studies.number_probes.study import STUDY
from mechflow.verdicts import COLUMNS, VERDICTS
from tests.studies.fabricated_numbers import SMOLLM2, VARIANTS, data
from tests.studies.fabricated_subject import FOLDS, LAST, LAYERS, WIDTHS
from tests.studies.test_modular_addition_figures import of

LLAMA = LanguageModelSource(hub=published.LLAMA, revision="0" * 40)
NUMBERS = [claim.id for claim in claims.CLAIMS if claim.id.startswith("llama_")]
STATEMENTS = [claim.id for claim in claims.CLAIMS if not claim.id.startswith("llama_")]


def judge(variants=VARIANTS, change=None, source=SMOLLM2):
    """Verdicts by id; claims may read nothing but what the study declares."""
    made = data(variants, change=change, source=source, reads=STUDY.claim_reads)
    return claims.judge(made).set_index("id")


def put(table, value, **where):
    """Gives all rows in which columns have the given values another value."""

    def change(name, frame):
        if name != table:
            return frame
        rows = np.logical_and.reduce([frame[column] == wanted for column, wanted in where.items()])
        return frame.assign(value=frame["value"].mask(rows, value))

    return change


def without(**variants):
    return {name: variants.get(name, subject) for name, subject in VARIANTS.items()}


# All claims


def test_every_claim_gets_one_row_with_its_rule():
    board = judge()
    assert board.index.is_unique
    assert ("id", *board.columns) == COLUMNS
    assert set(board["verdict"]) <= set(VERDICTS)
    assert (board[["claim", "source", "measure", "criterion", "why"]] != "").all(axis=None)
    assert set(board.loc[STATEMENTS, "verdict"]) == {"replicated", "not replicated"}


def test_published_numbers_are_known_to_the_board():
    board = judge(source=LLAMA)
    sinusoidal = published.OPERAND_ACCURACY["sinusoidal"]
    assert board.loc["llama_operand_sinusoidal", "published"] == pytest.approx(np.mean(sinusoidal))
    assert board.loc[NUMBERS, "published"].notna().all()
    assert board.loc[STATEMENTS, "published"].isna().all()


@pytest.mark.parametrize(
    ("claim", "change"),
    [
        ("sinusoidal_reads_operand", put("readout", 0.99, basis="sinusoidal", control="none")),
        ("sinusoidal_beats_digits", put("readout", 0.1, basis="digits", control="none")),
        ("linear_fails", put("probes", 0.01, probe="linear")),
        ("log_fails", put("probes", 0.01, probe="log")),
        ("helix_beats_digits", put("geometry", 0.2, quantity="digit_circles_r2", control="none")),
        ("sum_is_read_at_the_answer", put("readout", 0.8, basis="sinusoidal", control="none")),
        ("operand_is_used", put("interventions", 0.95, tokens="operand")),
        ("number_is_gathered_at_its_last_token", put("interventions", 0.95, tokens="last")),
    ],
)
def test_data_that_bear_a_claim_out_replicate_it(claim, change):
    assert judge(change=change).loc[claim, "verdict"] == "replicated"


@pytest.mark.parametrize(
    ("claim", "change"),
    [
        ("sinusoidal_reads_operand", put("readout", 0.85, basis="sinusoidal", control="none")),
        ("sinusoidal_beats_binary", put("readout", 0.97, basis="binary", control="none")),
        ("sinusoidal_beats_random_code", put("readout", 0.97, basis="random_code")),
        ("sinusoidal_beats_digits", put("readout", 0.97, basis="digits", control="none")),
        ("linear_fails", put("probes", 0.2, probe="linear")),
        ("log_fails", put("probes", 0.2, probe="log")),
        ("structure_is_needed", put("readout", 0.8, basis="digits", control="gaussian")),
        ("helix_beats_digits", put("geometry", 0.9, quantity="digit_circles_r2")),
        ("sum_is_read_at_the_answer", put("readout", 0.4, basis="sinusoidal", control="none")),
        ("operand_is_used", put("interventions", 0.5, tokens="operand")),
        ("number_is_gathered_at_its_last_token", put("interventions", 0.5, tokens="last")),
    ],
)
def test_data_that_contradict_a_claim_do_not(claim, change):
    assert judge(change=change).loc[claim, "verdict"] == "not replicated"


def test_what_random_weights_give_as_well_was_not_learnt():
    assert judge().loc["training_is_needed", "verdict"] == "replicated"
    given = dataclasses.replace(VARIANTS["random_model"], best=0.95)
    found = judge(without(random_model=given)).loc["training_is_needed"]
    assert found["verdict"] == "not replicated"


def test_folds_are_compared_with_themselves():
    """Fold by fold the sinusoidal code is better by 0.01, far less than folds differ."""

    def paired(name, frame):
        if name != "readout":
            return frame
        level = 0.3 * frame["fold"] + 0.01 * (frame["basis"] == "sinusoidal") + 0.2
        value = frame["value"].where(frame["metric"] != outcomes.READ, level)
        return frame.sample(frac=1, random_state=0).assign(value=value)

    found = judge(change=paired).loc["sinusoidal_beats_digits"]
    assert found["verdict"] == "replicated"
    assert found["ours"] == pytest.approx(0.01)
    assert found["n"] == FOLDS


# Which layer


def test_the_layer_is_chosen_by_valid_numbers_and_never_by_test_numbers():
    def trap(name, frame):
        if name != "readout":
            return frame
        value = frame["value"].mask((frame["split"] == "valid") & (frame["layer"] == 1), 1.0)
        value = value.mask((frame["split"] == "test") & (frame["layer"] == 1), 0.25)
        return frame.assign(value=value)

    made = data(change=trap)
    assert outcomes.best_layer(made, "operand", "digits") == 1
    found = outcomes.at_best_layer(made, "operand", "digits")
    assert found.tolist() == [0.25] * FOLDS
    assert outcomes.accuracies(made, "operand", "digits").max().max() > 0.5


def test_every_fit_has_a_layer_of_its_own_and_a_control_takes_that_of_its_probe():
    def by_fold(name, frame):
        if name != "readout":
            return frame
        best = (frame["split"] == "valid") & (frame["layer"] == frame["fold"] + 1)
        best &= frame["control"] == "none"
        marked = frame["value"].where(frame["split"] != "test", frame["layer"] / 10)
        return frame.assign(value=marked.mask(best, 2.0))

    made = data(change=by_fold)
    for control in ("none", "gaussian"):
        found = outcomes.at_best_layer(made, "operand", "digits", control=control)
        assert found.tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_accuracies_are_those_of_one_probe_control_split_and_metric():
    made = data()
    found = outcomes.accuracies(
        made, "operand", "sinusoidal", control="gaussian", split="train", metric="loss"
    )
    assert found.shape == (FOLDS, LAST + 1)
    table = of(made.table("readout"), variant="operand", basis="sinusoidal", control="gaussian")
    rows = of(table, split="train", metric="loss", layer=4).set_index("fold")["value"]
    assert found[4].tolist() == rows.tolist()
    digits = outcomes.accuracies(made, "operand", "least_squares.digits", target="digit.1")
    table = of(made.table("probes"), variant="operand", probe="digits", target="digit.1")
    rows = of(table, control="none", split="test", metric=outcomes.READ, layer=2, fold=1)
    assert digits.loc[(0, 1), 2] == rows["value"].item()
    assert outcomes.accuracies(made, "sum", "binary").empty
    assert outcomes.at_best_layer(made, "sum", "binary").empty
    assert outcomes.last_layer(made, "operand") == LAST


# What was not run


@pytest.mark.parametrize(
    ("absent", "affected"),
    [
        ("random_model", {"training_is_needed"}),
        ("sum", {"sum_is_read_at_the_answer"}),
        ("in_context", {"operand_is_used", "number_is_gathered_at_its_last_token"}),
    ],
)
def test_a_variant_that_did_not_run_leaves_its_claims_unjudged(absent, affected):
    variants = {name: subject for name, subject in VARIANTS.items() if name != absent}
    board = judge(variants).loc[STATEMENTS]
    assert set(board.index[board["verdict"] == "not run at this scale"]) == affected
    for claim in affected:
        assert absent in board.loc[claim, "why"]


def test_probes_and_pairs_that_were_not_run_leave_their_claims_unjudged():
    fewer = dataclasses.replace(VARIANTS["operand"], bases=("sinusoidal", "digits"), controls=())
    no_pairs = dataclasses.replace(VARIANTS["in_context"], pairs=0)
    board = judge(without(operand=fewer, in_context=no_pairs), source=LLAMA)
    assert set(board.index[board["verdict"] == "not run at this scale"]) == {
        "sinusoidal_beats_binary",
        "sinusoidal_beats_random_code",
        "structure_is_needed",
        "operand_is_used",
        "number_is_gathered_at_its_last_token",
        "llama_operand_binary",
    }


def test_one_fold_has_no_interval_to_judge_by():
    def one(name, frame):
        return of(frame, fold=0) if "fold" in frame else frame

    found = judge(change=one).loc["sinusoidal_beats_digits"]
    assert found["verdict"] == "not comparable"


# Published numbers


def test_numbers_of_one_model_are_judged_on_that_model_alone():
    assert set(judge().loc[NUMBERS, "verdict"]) == {"not run at this scale"}
    assert judge().loc[NUMBERS, "why"].str.contains(published.LLAMA).all()
    found = judge(source=LLAMA).loc[NUMBERS]
    assert set(found["verdict"]) <= {"replicated", "not replicated"}
    other = LanguageModelSource(hub="meta-llama/Llama-3.2-3B", revision="0" * 40)
    assert set(judge(source=other).loc[NUMBERS, "verdict"]) == {"not run at this scale"}


def test_random_weights_are_not_the_published_model():
    random = {
        name: dataclasses.replace(subject, weights="random") for name, subject in VARIANTS.items()
    }
    found = judge(random, source=LLAMA).loc[NUMBERS]
    assert set(found["verdict"]) == {"not run at this scale"}


@pytest.mark.parametrize("away", [0.0, 0.04, 0.06])
def test_a_published_number_is_met_within_the_tolerance(away):
    wanted = np.mean(published.OPERAND_ACCURACY["binary"]) + away
    change = put("readout", wanted, basis="binary", metric="accuracy", split="test")
    found = judge(source=LLAMA, change=change).loc["llama_operand_binary"]
    assert found["ours"] == pytest.approx(wanted)
    assert found["verdict"] == ("replicated" if away < 0.05 else "not replicated")


def test_the_last_block_before_the_norm_is_not_among_the_published_layers():
    change = put("readout", 1e6, basis="binary", layer=LAST - 1)
    found = judge(source=LLAMA, change=change).loc["llama_operand_binary"]
    assert found["ours"] <= 1
    layers = published.published_layers(17)
    assert layers == [*range(16), 17]
    tables = [*published.OPERAND_ACCURACY.values(), *published.SUM_ACCURACY.values()]
    assert all(len(values) == len(layers) for values in tables)
    assert set(published.OPERAND_ACCURACY) <= {
        *WIDTHS, *(f"least_squares.{probe}" for probe in outcomes.LEAST_SQUARES)
    }  # fmt: skip


# Interchange


def test_pairs_that_follow_are_counted_at_the_depth_of_the_claim():
    table = of(data().table("interventions"), variant="in_context", tokens="last", control="none")
    row = of(table, metric="next_token_source", layer=2).iloc[0]  # half of four blocks
    followed = round(row["value"] * row["n"])
    found = judge().loc["number_is_gathered_at_its_last_token"]
    wanted = share_interval(followed, int(row["n"]))
    assert tuple(found[["ours", "low", "high"]]) == pytest.approx(tuple(wanted)[:3])
    assert found["n"] == row["n"]
    assert f"{followed} of {row['n']} pairs at layer 2" in found["why"]


def test_pairs_of_replicates_are_counted_together():
    twice = dataclasses.replace(VARIANTS["in_context"], replicates=2)
    found = judge(without(in_context=twice)).loc["operand_is_used"]
    assert found["n"] == 2 * VARIANTS["in_context"].pairs


def test_pairs_that_never_differ_are_not_judged():
    def nothing(name, frame):
        if name != "interventions":
            return frame
        told = frame["metric"].str.startswith("next_token")
        return frame.assign(n=frame["n"].mask(told, 0), value=frame["value"].mask(told, np.nan))

    found = judge(change=nothing)
    assert found.loc["operand_is_used", "verdict"] == "not run at this scale"


def test_helix_and_digits_are_compared_at_half_depth():
    half = max(LAYERS) // 2

    def only_there(name, frame):
        if name == "geometry":
            better = (frame["quantity"] == "helix_r2") & (frame["layer"] == half)
            return frame.assign(value=frame["value"].mask(better, 0.99))
        return frame

    found = judge(change=only_there).loc["helix_beats_digits"]
    assert found["verdict"] == "replicated"
    assert f"layer {half}" in found["why"]
    rows = of(data().table("geometry"), variant="operand", control="none", layer=half)
    digits = pd.Series(of(rows, quantity="digit_circles_r2")["value"])
    assert found["ours"] == pytest.approx((0.99 - digits).mean())
