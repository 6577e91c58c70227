"""Verdicts on phase changes, from made-up artefacts whose answer is known."""

import math
from typing import Any

import pandas as pd
import pytest

from mechflow.studies.phase_changes import claims, published
from mechflow.verdicts import COLUMNS, VERDICTS
from tests.studies.fabricated_runs import ROLES, Runs, data, judge, sound

NEVER = math.inf
QUALITATIVE = [claim.id for claim in (*claims.CHANGES, *claims.CIRCUITS)]
NUMBERS = [claim.id for claim in published.NUMBERS]


def row(claim: str, **changes: dict[str, Any]) -> pd.Series:
    """The verdict on one claim about sound variants of its task, some of them changed."""
    task = BROKEN[claim][0].partition("_")[0]
    variants = {name: runs for name, runs in sound(**changes).items() if name.startswith(task)}
    return judge(variants, claim).loc[claim]


def verdict(claim: str, **changes: dict[str, Any]) -> tuple[str, str]:
    found = row(claim, **changes)
    return found["verdict"], found["why"]


def test_every_claim_gets_one_row_with_its_rule():
    board = claims.judge(data(**sound())).set_index("id")
    assert board.index.is_unique
    assert ("id", *board.columns) == COLUMNS
    assert set(board["verdict"]) <= set(VERDICTS)
    assert (board[["claim", "source", "measure", "criterion"]] != "").all(axis=None)
    assert board["claim"].is_unique
    unjudged = board["verdict"].isin(["not comparable", "not run at this scale"])
    assert (board.loc[unjudged, "why"] != "").all()
    assert board.loc[QUALITATIVE, "published"].isna().all()
    assert board.loc[NUMBERS, "published"].notna().all()


def test_each_claim_holds_of_networks_of_which_it_is_true():
    board = judge(sound(), *QUALITATIVE)
    assert board.loc[board["verdict"] != "replicated", "why"].to_dict() == {}


BROKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "addition_every_digit_changes": ("addition", {"width": 390.0}),
    "skip_trigram_every_trigram_changes": ("skip_trigram", {"width": 390.0}),
    "skip_trigram_together": ("skip_trigram", {"apart": 350.0}),
    "induction_changes": ("induction", {"width": 390.0}),
    "addition_infinite_no_gap": ("addition", {"gap": 0.3}),
    "skip_trigram_infinite_no_gap": ("skip_trigram", {"gap": 0.3}),
    "induction_infinite_no_gap": ("induction", {"gap": 0.3}),
    "addition_finite_groks": ("addition_finite", {"test_learnt": (180.0, 360.0, 400.0)}),
    "skip_trigram_finite_groks": ("skip_trigram_finite", {"test_learnt": (300.0, 350.0, NEVER)}),
    "induction_finite_groks": ("induction_finite", {"test_learnt": (100.0, 120.0, 140.0)}),
    "induction_one_layer_stays": ("induction_one_layer", {"end": 1.3}),
    "induction_needs_two_layers": ("induction_one_layer", {"end": 0.01}),
    "induction_head_forms_with_drop": ("induction", {"lag": 100.0}),
    "induction_previous_token_head": ("induction", {"attention": 0.4}),
    "induction_heads_compose": ("induction", {"composition": 0.15}),
    "skip_trigram_attends_to_trigger": ("skip_trigram", {"attention": 0.4}),
    "skip_trigram_attention_forms_with_drop": ("skip_trigram", {"lag": -100.0}),
    "addition_carries_are_read": (
        "addition",
        {"carries": {"trained": 0.72, "untrained": 0.6, "shuffled_labels": 0.5}},
    ),
    "addition_carries_are_learnt": (
        "addition",
        {"carries": {"trained": 0.95, "untrained": 0.96, "shuffled_labels": 0.5}},
    ),
    "addition_cascades_come_later": ("addition", {"cascade_lag": -50.0}),
    "addition_embeddings_fourier": ("addition", {"gini": (0.1, 0.1)}),
    "addition_neurons_fourier": ("addition", {"neurons": (0.3, 0.4)}),
    **{f"{role}_are_needed": ("induction", {"undone": {**dict.fromkeys(ROLES, 0.9), role: 0.4}})
       for role in ROLES},
    **{f"{role}_matter_most": (
        "induction",
        {"undone": {**dict.fromkeys(ROLES, 0.9), role: 0.6}, "undone_by_others": 0.7},
    ) for role in ROLES},
}  # fmt: skip


def test_each_claim_has_a_case_in_which_it_fails():
    assert sorted(BROKEN) == sorted(QUALITATIVE)


@pytest.mark.parametrize("claim", BROKEN)
def test_each_claim_fails_where_it_is_not_true(claim):
    variant, changes = BROKEN[claim]
    assert row(claim, **{variant: changes})["verdict"] == "not replicated"


@pytest.mark.parametrize(
    ("claim", "variant"), [(claim, variant) for claim, (variant, _) in BROKEN.items()]
)
def test_what_is_not_run_is_not_judged(claim, variant):
    kept = {name: runs for name, runs in sound().items() if name != variant}
    found = judge(kept, claim).loc[claim]
    assert found["verdict"] == "not run at this scale"
    assert "is run" in found["why"]


def test_variants_are_found_by_what_they_do():
    """The notebook's doubled residual stream is for its numbers only."""
    renamed = {
        f"v{k}": runs
        for k, runs in enumerate([Runs(task="induction", model={"residual_gain": 2.0}, lag=900.0),
                                  *sound().values()])
    }  # fmt: skip
    board = judge(renamed, *QUALITATIVE)
    assert set(board["verdict"]) == {"replicated"}
    assert "v5" in board.loc["induction_head_forms_with_drop", "why"]


def test_a_loss_that_never_falls_has_no_phase_change():
    found = verdict("addition_every_digit_changes", addition={"drop_at": (400.0, 410.0, NEVER)})
    assert found == (
        "not replicated",
        "2 of 3 replicates are below 0.5; addition; from digit.0 0.15 to digit.0 0.15; "
        "1 of 3 replicates have a loss that does not fall",
    )
    assert verdict("skip_trigram_together", skip_trigram={"drop_at": (NEVER,) * 3})[0] == (
        "not comparable"
    )


def test_widths_are_those_of_the_widest_group():
    """The third digit drops 300 steps later than the first: its change is relatively sharper."""
    found = row("addition_every_digit_changes", addition={"apart": 150.0})
    assert found["ours"] == pytest.approx((60 / 400 + 60 / 410 + 60 / 420) / 3, rel=0.01)
    assert "from digit.2 0.08 to digit.0 0.15" in found["why"]


def test_replicates_that_never_generalise_are_counted():
    found = verdict("addition_finite_groks", addition_finite={"test_learnt": (300.0, 350.0, NEVER)})
    assert found[0] == "not replicated"
    assert "1 of 3 never learn the test examples within 1000 steps" in found[1]
    assert "train examples learnt at 120" in found[1]


@pytest.mark.parametrize("split", ["train", "test"])
def test_where_nothing_is_learnt_training_was_too_short_to_tell(split):
    found = verdict("addition_finite_groks", addition_finite={f"{split}_learnt": (NEVER,) * 3})
    assert found == (
        "not run at this scale",
        f"addition_finite: no replicate learns the {split} examples within 1000 steps",
    )


def test_layers_are_compared_if_nothing_else_differs():
    wider = {"model": {"n_layers": 1, "d_model": 16}}
    assert verdict("induction_needs_two_layers", induction_one_layer=wider) == (
        "not comparable",
        "induction and induction_one_layer also differ in model.d_model",
    )


def test_lags_count_either_way_and_are_told_with_their_sign():
    late = verdict("induction_head_forms_with_drop", induction={"lag": 30.0})
    early = verdict("induction_head_forms_with_drop", induction={"lag": -30.0})
    assert late[0] == early[0] == "replicated"
    assert " 30 steps after the drop" in late[1]
    assert "-30 steps after the drop" in early[1]
    found = row("induction_head_forms_with_drop", induction={"lag": -30.0})
    assert found["ours"] == pytest.approx(0.5, rel=0.01)


def test_attention_that_never_forms_has_no_time():
    found = verdict("induction_head_forms_with_drop", induction={"attention": 0.1})
    assert found == ("not comparable", "3 of 3 never got there")


def test_heads_need_others_to_matter_more_than():
    found = verdict("induction_heads_matter_most", induction={"undone_by_others": None})
    assert found == ("not comparable", "induction: too few other heads to compare with")
    alone = row("induction_heads_are_needed", induction={"undone_by_others": None})
    assert alone["ours"] == pytest.approx(0.9)
    assert "in 3 of 3 most heads of a layer have this role" in alone["why"]


def test_carries_are_read_where_they_are_needed():
    """Column 0 carries into the digit read at position 6, column 1 into that at 5."""
    found = row("addition_carries_are_read")
    assert found["ours"] == pytest.approx(0.45)
    assert "0.96 against 0.51" in found["why"]
