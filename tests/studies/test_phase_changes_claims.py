"""Verdicts on phase changes, from made-up artefacts whose answer is known."""

import inspect
import math
from typing import Any

import pandas as pd
import pytest

from mechflow.claims import scoreboard
from mechflow.config.sections import Transformer
from mechflow.figures.data import FigureData
from mechflow.seeds import Seeds
from mechflow.studies.phase_changes import (
    claims,
    dataset,
    interventions,
    probe,
    progress,
    published,
    spectra,
    train,
    variants,
)
from mechflow.studies.phase_changes.config import Data, Finite, StreamTraining, Variant
from mechflow.verdicts import COLUMNS, VERDICTS
from tests.studies.fabricated_runs import ROLES, Runs, data, sound

NEVER = math.inf
QUALITATIVE = [claim.id for claim in (*claims.CHANGES, *claims.CIRCUITS)]
NUMBERS = [claim.id for claim in published.NUMBERS]


def judge(variants: dict[str, Runs], *ids: str) -> pd.DataFrame:
    """The verdicts on some claims, or on all of them."""
    chosen = [claim for claim in claims.CLAIMS if claim.id in ids or not ids]
    return scoreboard(chosen, data(**variants)).set_index("id")


def row(claim: str, **changes: dict[str, Any]) -> pd.Series:
    """The verdict on one claim about sound variants of its task, some of them changed."""
    task = BROKEN[claim][0].partition("_")[0]
    variants = {name: runs for name, runs in sound(**changes).items() if name.startswith(task)}
    return judge(variants, claim).loc[claim]


def verdict(claim: str, **changes: dict[str, Any]) -> tuple[str, str]:
    found = row(claim, **changes)
    return found["verdict"], found["why"]


def as_published(configuration: dict[str, Any], **changes: Any) -> Runs:
    """Runs in a published configuration, whose loss passes a bound halfway through its drop."""
    sections: dict[str, dict[str, Any]] = {"data": {}, "model": {}, "training": {}}
    own = {name: changes.pop(name) for name in list(changes) if "." not in name}
    for key, value in {**configuration, **changes}.items():
        section, *names = key.split(".")
        if names:
            target = sections[section]
            for name in names[:-1]:
                target = target.setdefault(name, {})
            target[names[-1]] = value
    return Runs(**{"task": sections["data"].pop("task"), **sections, **own})


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


CONFIGURATIONS = {
    "addition_notebook": (variants.ADDITION_NOTEBOOK, (1517.0, 1500.0, 1540.0)),
    "addition": (variants.ADDITION_SAVED, (520.0, 530.0, 510.0)),
    "skip_trigram": (variants.SKIP_TRIGRAM, (321.0, 310.0, 330.0)),
    "induction_published": (variants.INDUCTION_NOTEBOOK, (904.0, 916.0, 899.0)),
}
"""Published configurations, and when the loss is halfway down."""

HALFWAY = {
    "saved_addition_512_1": ("addition_notebook", {"blind": 2.0, "end": 1e-9}),
    "saved_addition_128_1": ("addition", {"blind": 2.0, "end": 1e-9}),
    "saved_skip_0.1": ("skip_trigram", {"blind": 0.2, "end": 1e-9}),
    "saved_induction_2": ("induction_published", {"blind": 4.0, "end": 1e-9}),
}


def published_runs(variant: str, **changes: Any) -> Runs:
    configuration, middles = CONFIGURATIONS[variant]
    return as_published(configuration, **{"drop_at": middles, "width": 50.0, **changes})


@pytest.mark.parametrize("claim", HALFWAY)
def test_published_steps_are_judged_in_their_configuration(claim):
    variant, losses = HALFWAY[claim]
    runs = published_runs(variant, **losses)
    found = judge({**sound(), "any_name": runs}, claim).loc[claim]
    assert found["verdict"] == "replicated", found["why"]
    assert found["ours"] == pytest.approx(found["published"], rel=0.1)


@pytest.mark.parametrize("claim", HALFWAY)
def test_another_step_is_not_the_published_one(claim):
    variant, losses = HALFWAY[claim]
    sooner = tuple(0.5 * step for step in CONFIGURATIONS[variant][1])
    runs = published_runs(variant, **{**losses, "drop_at": sooner})
    assert judge({"any_name": runs}, claim).loc[claim, "verdict"] == "not replicated"


@pytest.mark.parametrize(
    ("variant", "key", "value"),
    [
        ("addition_notebook", "training.lr", 1e-3),
        ("addition", "data.addition.n_digits", 3),
        ("skip_trigram", "training.steps", 1500),
        ("induction_published", "model.residual_gain", 1.0),
        ("induction_published", "training.loss_factor", "mean"),
    ],
)
def test_another_configuration_is_not_the_published_one(variant, key, value):
    claim = next(claim for claim, (name, _) in HALFWAY.items() if name == variant)
    found = judge({"other": published_runs(variant, **{key: value})}, claim).loc[claim]
    assert found["verdict"] == "not run at this scale"
    assert found["why"].startswith(f"other has {key} {value}, not ")
    assert math.isnan(found["ours"])


def test_a_finite_train_set_is_not_the_published_run():
    found = judge({"other": published_runs("skip_trigram", finite=300)}, "saved_skip_0.1")
    assert found.loc["saved_skip_0.1", ["verdict", "why"]].tolist() == [
        "not run at this scale",
        "other has finite examples=300, not None",
    ]


def test_the_nearest_variant_tells_what_is_missing():
    near = published_runs("skip_trigram", **{"training.lr": 1e-2})
    found = judge({"far": Runs(task="skip_trigram"), "near": near}, "notebook_skip_final")
    assert found.loc["notebook_skip_final", "why"] == "near has training.lr 0.01, not 0.001"
    found = judge({"addition": Runs()}, "notebook_skip_final")
    assert found.loc["notebook_skip_final", "why"] == "no variant on skip_trigram is run"


def test_first_and_last_losses_are_compared():
    runs = published_runs("addition_notebook", blind=2.593, end=0.0406, noise={3000: 5.0})
    board = judge({"other": runs}, *NUMBERS)
    assert board.loc["notebook_addition_initial_loss", "ours"] == pytest.approx(2.593)
    assert board.loc["saved_addition_512_final", "ours"] == pytest.approx(0.0406)


def test_a_loss_is_read_off_where_it_was_published():
    """Halfway through its drop, from 4 to nothing, at 5000."""
    runs = published_runs(
        "induction_published", blind=4.0, end=1e-9, width=900.0, drop_at=(5000.0,) * 3
    )
    found = judge({"other": runs}, "notebook_induction_5000").loc["notebook_induction_5000"]
    assert found["ours"] == pytest.approx(2.0, rel=0.05)


def test_one_lucky_batch_is_not_a_drop():
    """A single low loss before the drop is smoothed away."""
    losses = {"blind": 2.0, "end": 1e-9}
    plain, noisy = (
        published_runs("addition", **losses, noise=noise) for noise in ({}, {100: 0.01})
    )
    assert 100 in noisy.steps()
    found = [
        judge({"other": runs}, "saved_addition_128_1")["ours"].item() for runs in (plain, noisy)
    ]
    assert found[0] == found[1] == pytest.approx(520, rel=0.05)


def test_a_bound_that_is_never_reached_has_no_step():
    runs = published_runs("addition", blind=2.0, end=0.5)
    found = judge({"other": runs}, "saved_addition_128_0.1").loc["saved_addition_128_0.1"]
    assert (found["verdict"], found["why"]) == ("not comparable", "3 of 3 never got there")


def test_published_numbers_are_few_and_say_where_they_are_from():
    assert len(NUMBERS) <= 20
    for claim in published.NUMBERS:
        assert claim.id.startswith("saved_" if claim.source == published.SAVED else "notebook_")


SIZES = {
    "addition": (Data(addition={"n_digits": 2}), Transformer(n_heads=2, d_model=8, d_mlp=8)),
    "skip_trigram": (
        Data(task="skip_trigram", skip_trigram={"n_triggers": 3, "seq_len": 5}),
        Transformer(n_heads=1, d_model=8, d_mlp=0),
    ),
    "induction": (
        Data(
            task="induction",
            induction={"seq_len": 13, "subseq_len": 3, "repeats": 2, "d_vocab": 6},
        ),
        Transformer(n_layers=2, n_heads=2, d_model=8, d_mlp=0),
    ),
}
STAGES = (dataset, train, progress, interventions, probe, spectra)


def real(task: str, *, finite: Finite | None, n_layers: int | None = None) -> dict[str, Any]:
    """Artefacts of a short training run, and the configuration that they are made with."""
    sizes, model = SIZES[task]
    config = Variant(
        data=sizes.model_copy(update={"test_examples": 20}),
        finite=finite,
        model=model.model_copy(update={"n_layers": n_layers or model.n_layers}),
        training=StreamTraining(steps=8, batch_size=8, warmup_steps=0, eval_every=1, checkpoints=3),
        progress={"examples": 10, "random_draws": 2},
        interventions={"examples": 10},
        probe={"examples": 40},
        spectra={"examples": 2},
    )
    sections = {name: getattr(config, name) for name in Variant.model_fields}
    made: dict[str, Any] = {
        **sections,
        "loss_factor": "mean",
        "seeds": Seeds(0, "phase_changes", task),
        "replicates": range(2),
        "device": "cpu",
    }
    tables: dict[str, Any] = {}
    for stage in STAGES:
        arguments = {**made, **tables}
        needed = [name for name in inspect.signature(stage.run).parameters if name in arguments]
        own = stage.__name__.rpartition(".")[2]
        if own in sections:  # the section of a stage has the name of what it makes
            arguments[own] = sections[own]
        tables |= stage.run(**{name: arguments[name] for name in needed})
    return {"sections": sections, "tables": tables}


def test_claims_are_judged_on_artefacts_of_real_networks():
    """Columns and values that fabricated tables have are those that the stages write."""
    runs = {
        **{task: real(task, finite=None) for task in SIZES},
        "addition_finite": real("addition", finite=Finite(examples=8)),
        "induction_one_layer": real("induction", finite=None, n_layers=1),
    }

    class Real:
        def read_tables(self, name: str) -> pd.DataFrame:
            return pd.concat(
                [
                    run["tables"][name].assign(variant=variant, block="r000-001")
                    for variant, run in runs.items()
                ]
            )

        def read_tensors_of_all(self, name: str) -> dict:
            raise AssertionError(name)

    sections = {name: run["sections"] for name, run in runs.items()}
    board = claims.judge(FigureData(Real(), sections, 0, "phase_changes")).set_index("id")
    # Nothing is learnt in 8 steps, so what has a time is not judged.
    judged = [
        *("addition_every_digit_changes", "induction_changes", "induction_one_layer_stays"),
        *("induction_needs_two_layers", "induction_previous_token_head", "induction_heads_compose"),
        *(f"{task}_infinite_no_gap" for task in SIZES),
        *("skip_trigram_attends_to_trigger", "addition_carries_are_read"),
        *("addition_embeddings_fourier", "addition_neurons_fourier"),
    ]
    assert set(board.loc[judged, "verdict"]) <= {"replicated", "not replicated"}
    assert board.loc[judged, "n"].eq(2).all()
    assert board.loc["addition_finite_groks", "verdict"] == "not run at this scale"
    assert set(board.loc[NUMBERS, "verdict"]) == {"not run at this scale"}
