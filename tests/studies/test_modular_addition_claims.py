import math

import numpy as np
import pandas as pd
import pytest

from mechflow.config.sections import Training
from mechflow.figures.data import FigureData
from mechflow.seeds import Seeds
from mechflow.studies.modular_addition import claims, evidence, outcomes, tables
from mechflow.studies.modular_addition.config import Dataset, Interventions, Progress, Spectra
from mechflow.studies.modular_addition.dataset import one_replicate
from mechflow.studies.modular_addition.study import STUDY
from mechflow.studies.modular_addition.variants import DEMONSTRATION, NOTEBOOK
from mechflow.verdicts import COLUMNS, VERDICTS
from tests.studies import tiny as tiny_study
from tests.studies.fabricated import BINARY, TERNARY, Networks, data

ORDERED = {"split": "ordered", "split_seed": 598}
NEVER = (math.inf,) * 3


def splits(**variants: Dataset) -> pd.DataFrame:
    """Datasets of two replicates of each variant."""
    seeds = Seeds(0, "modular_addition", "any")
    return pd.concat(
        [
            one_replicate(cfg, seeds, replicate).assign(variant=name)
            for name, cfg in variants.items()
            for replicate in range(2)
        ]
    )


def judge(dataset: pd.DataFrame | None = None, **variants: Networks) -> pd.DataFrame:
    if dataset is None:
        dataset = splits(**{name: n.sections()["dataset"] for name, n in variants.items()})
    return claims.judge(data(variants, dataset)).set_index("id")


def verdict(claim: str, **variants: Networks) -> tuple[str, str]:
    found = judge(**variants).loc[claim]
    return found["verdict"], found["why"]


def published(configuration, **changes) -> Networks:
    sections: dict[str, dict] = {"dataset": {}, "model": {}, "training": {}}
    for key, value in {**configuration, **changes}.items():
        section, name = key.split(".")
        sections[section][name] = value
    return Networks(test_loss=(0.003, 0.0036, 0.004), key=((1, 2, 3),) * 3, **sections)


def test_every_claim_gets_one_row_with_its_rule():
    board = judge(full=Networks(), binary=BINARY, ternary=TERNARY)
    assert board.index.is_unique
    assert ("id", *board.columns) == COLUMNS
    assert set(board["verdict"]) <= set(VERDICTS)
    assert (board[["claim", "source", "measure", "criterion"]] != "").all(axis=None)
    unjudged = board["verdict"].isin(["not comparable", "not run at this scale"])
    assert (board.loc[unjudged, "why"] != "").all()


def test_claims_are_judged_on_artefacts_of_real_networks(tiny):
    """Columns and values that fabricated tables have are those that the stages write."""

    class Real:
        def read_tables(self, name: str) -> pd.DataFrame:
            frame = getattr(tiny, name).copy()
            frame.insert(0, "variant", "binary")
            frame.insert(1, "block", "r003-004")
            return frame

        def read_tensors_of_all(self, name: str) -> dict:
            raise AssertionError(name)

    sections = {
        "dataset": Dataset(p=11, train_fraction=0.6),
        "model": tiny_study.MODEL,
        "training": Training(steps=60, lr=1e-2, eval_every=20, checkpoints=4),
        "spectra": Spectra(),
        "progress": Progress(),
        "interventions": Interventions(),
    }
    made = FigureData(Real(), {"binary": sections}, 0, "modular_addition")
    board = claims.judge(made).set_index("id")
    assert board.loc["no_mirrored_test_pairs", "verdict"] == "replicated"
    for table in STUDY.tables:
        made_table = getattr(tables, f"make_{table.name}")(made)
        assert set(made_table["variant"]) == (set() if table.name == "comparison" else {"binary"})
    for quantity, values in tables.compared_quantities(made).items():
        assert values.index.to_list() == [("binary", 3), ("binary", 4)], quantity
        assert quantity == "epoch_99" or values.notna().all(), quantity
    assert outcomes.accuracy_after(made, "remove_key", "random_frequencies").between(0, 1).all()


def test_networks_that_generalise_are_said_to():
    assert verdict("binary_generalises", binary=BINARY)[0] == "replicated"
    half = Networks((500, 600, math.inf), model={"precision": "binary"})
    assert verdict("binary_generalises", binary=half) == (
        "not replicated",
        "2 of 3 replicates are above 0.99; 2 of 3 stayed above 99 % at some time",
    )


def test_where_nothing_generalises_training_was_too_short_to_tell():
    found = judge(full=Networks(NEVER), binary=Networks(NEVER, model={"precision": "binary"}))
    for claim in ("binary_generalises", "binary_needs_key_frequencies", "binary_same_algorithm"):
        assert found.loc[claim, "verdict"] == "not run at this scale"
        assert found.loc[claim, "why"] == "no variant generalises within 2000 steps"
    one = judge(full=Networks(), binary=Networks(NEVER, model={"precision": "binary"}))
    assert one.loc["binary_generalises", "verdict"] == "not replicated"
    assert one.loc["binary_needs_key_frequencies", "verdict"] == "not comparable"


def test_a_variant_that_is_not_run_is_not_judged():
    assert verdict("ternary_generalises", binary=BINARY) == (
        "not run at this scale",
        "variant ternary is not run",
    )


def test_random_labels_must_stay_at_chance():
    """Test accuracy of the fabricated networks is 0.1 before they generalise, 2.3 times 1/23."""
    assert verdict("random_labels_do_not_generalise", random_labels=Networks(NEVER)) == (
        "replicated",
        "3 of 3 replicates are below 3; mean final train accuracy 1",
    )
    leaky = Networks((500, math.inf, math.inf))
    found = verdict("random_labels_do_not_generalise", random_labels=leaky)
    assert found[0] == "not replicated"


@pytest.mark.parametrize(
    ("claim", "changes"),
    [
        ("binary_needs_key_frequencies", {"without_key": (0.8, 0.9, 0.7)}),
        ("binary_spares_other_frequencies", {"without_random": (0.1, 0.2, 0.1)}),
        ("binary_needs_nothing_else", {"only_key": (0.6, 0.7, 0.8)}),
    ],
)
def test_each_causal_check_can_fail_by_itself(claim, changes):
    names = [c.id for c in claims.CLAIMS if c.id.startswith("binary_") and "frequencies" in c.id]
    names.append("binary_needs_nothing_else")
    assert set(judge(binary=BINARY).loc[names, "verdict"]) == {"replicated"}
    found = judge(binary=Networks(model={"precision": "binary"}, **changes)).loc[names, "verdict"]
    assert found[claim] == "not replicated"
    if claim != "binary_needs_key_frequencies":  # the others are measured relative to it
        assert (found.drop(claim) == "replicated").all()


def test_causal_checks_are_made_on_networks_that_generalised():
    networks = Networks(
        (500, 600, math.inf), without_key=(0.04, 0.05, 0.9), model={"precision": "binary"}
    )
    assert "on 2 of 3" in verdict("binary_needs_key_frequencies", binary=networks)[1]


def test_random_sets_cannot_be_a_control_where_most_frequencies_are_key():
    networks = Networks(key=(tuple(range(1, 8)),) * 3, model={"precision": "binary"})
    found = verdict("binary_spares_other_frequencies", binary=networks)
    assert found == (
        "not comparable",
        "more than half of all frequencies are key: no random control",
    )


def test_frequencies_without_any_effect_have_no_share_of_it():
    networks = Networks(
        without_key=(1.0, 1.0, 1.0), without_random=(1.0, 1.0, 1.0), model={"precision": "binary"}
    )
    assert verdict("binary_spares_other_frequencies", binary=networks)[0] in (
        "not comparable",
        "not replicated",
    )


def test_equal_networks_have_the_same_algorithm():
    board = judge(
        full=Networks(neurons=(0.75,) * 3),
        binary=Networks(neurons=(0.75,) * 3, model={"precision": "binary"}),
    )
    found = board.loc["binary_same_algorithm"]
    assert (found["verdict"], found["ours"], found["n"]) == ("replicated", 5.0, 5)


def test_one_clearly_different_quantity_is_named():
    other = Networks(logit_variance=(0.5, 0.51, 0.52), model={"precision": "binary"})
    verdict_, why = verdict("binary_same_algorithm", full=Networks(), binary=other)
    assert verdict_ == "not replicated"
    assert "logit variance explained: different (difference -0.45 [" in why
    assert "accuracy with key frequencies only: same" in why


def test_a_wide_interval_leaves_sameness_open():
    scattered = Networks(logit_variance=(0.5, 0.95, 0.99), model={"precision": "binary"})
    verdict_, why = verdict("binary_same_algorithm", full=Networks(), binary=scattered)
    assert verdict_ == "not comparable"
    assert "logit variance explained: unclear" in why


def test_speed_is_compared_within_one_architecture_only():
    fast = Networks((100, 200, 300), model={"precision": "binary"})
    assert verdict("binary_is_faster_than_full", full=Networks(), binary=fast)[0] == "replicated"
    assert verdict("binary_is_faster_than_full", full=fast, binary=BINARY)[0] == "not replicated"
    wider = Networks((100, 200, 300), model={"precision": "binary", "d_model": 32})
    assert verdict("binary_is_faster_than_full", full=Networks(), binary=wider) == (
        "not comparable",
        "they also differ in model.d_model",
    )
    never = Networks((500, 600, math.inf), model={"precision": "binary"})
    assert verdict("binary_is_faster_than_full", full=Networks(), binary=never) == (
        "not comparable",
        "1 of 3 replicates of binary never reach 99 %",
    )


def test_the_leak_is_judged_where_nothing_but_the_split_differs():
    leaky = Networks((100, 200, 300), dataset={"split": "ordered"}, model={"precision": "binary"})
    found = verdict("leak_makes_grokking_faster", binary=BINARY, binary_ordered=leaky)
    assert found[0] == "replicated"


def test_mirrored_pairs_are_counted_as_by_hand():
    grid = [["train", "test", "train"], ["train", "test", "test"], ["test", "train", "test"]]
    rows = [("v", 0, a, b, grid[a][b]) for a in range(3) for b in range(3)]
    frame = pd.DataFrame(rows, columns=["variant", "replicate", "a", "b", "split"])
    made = data({"v": Networks()}, frame)
    # Test pairs 01, 11, 12, 20, 22, of which 01, 12 and 20 are mirrored.
    assert outcomes.mirrored_test_pairs(made).loc["v", 0] == pytest.approx(3 / 5)
    # Of the pairs 00, 01, 02, 11, 12, 22, all but 11 and 22 are seen.
    assert outcomes.unordered_pairs_seen(made).loc["v", 0] == pytest.approx(4 / 6)


@pytest.mark.parametrize(("p", "fraction"), [(7, 0.3), (11, 0.6)])
def test_expected_leak_is_the_mean_over_random_splits(p, fraction):
    rng, mirrored, seen = np.random.default_rng(0), [], []
    for _ in range(3000):
        train = np.zeros(p * p, dtype=bool)
        train[rng.permutation(p * p)[: int(p * p * fraction)]] = True
        train = train.reshape(p, p)
        mirrored.append((train.T & ~train).sum() / (~train).sum())
        seen.append((train | train.T)[np.triu_indices(p)].mean())
    assert evidence.expected_mirrored_test_pairs(p, fraction) == pytest.approx(
        np.mean(mirrored), abs=0.005
    )
    assert evidence.expected_unordered_pairs_seen(p, fraction) == pytest.approx(
        np.mean(seen), abs=0.005
    )


def test_the_published_leak_is_found_in_the_published_split():
    networks = published(NOTEBOOK, **{"dataset.split_seed": 598, "training.steps": 2000})
    board = judge(binary_published=networks)
    for claim in ("mirrored_test_pairs", "unordered_pairs_seen"):
        assert board.loc[claim, "verdict"] == "replicated"
        assert board.loc[claim, "n"] == 1  # one split for all replicates
        assert board.loc[f"{claim}_by_formula", "verdict"] == "replicated"
    assert board.loc["mirrored_test_pairs", "ours"] == pytest.approx(0.301, abs=0.003)


def test_the_corrected_split_has_no_leak():
    board = judge(binary=BINARY)
    assert board.loc["no_mirrored_test_pairs", ["verdict", "ours"]].tolist() == ["replicated", 0.0]
    ordered = Networks(dataset=ORDERED, model={"precision": "binary"})
    assert judge(binary=ordered).loc["no_mirrored_test_pairs", "verdict"] == "not comparable"


NUMBERS = [claim.id for claim in claims.NUMBERS]


def test_published_numbers_are_judged_at_the_published_scale_only():
    small = {"dataset.p": 23, "training.steps": 2000}
    board = judge(
        binary_published=published(NOTEBOOK, **small),
        full_published=published(DEMONSTRATION, **small),
    ).loc[NUMBERS]
    assert set(board["verdict"]) == {"not run at this scale"}
    assert board["why"].str.contains("dataset.p 23, not 113").all()
    assert board["why"].str.contains("training.steps 2000, not 25000").all()
    assert board["ours"].isna().all()


@pytest.mark.parametrize("key", ["model.precision", "model.positions", "training.lr"])
def test_another_model_or_training_is_not_the_published_one(key):
    changed = {"model.precision": "ternary", "model.positions": "learned", "training.lr": 1e-2}
    networks = published(NOTEBOOK, **{key: changed[key]})
    found = verdict("notebook_epoch_of_grokking", binary_published=networks)
    assert found[0] == "not run at this scale"
    assert key in found[1]


def test_published_numbers_are_compared_where_they_can_be():
    board = judge(
        binary_published=published(NOTEBOOK), full_published=published(DEMONSTRATION)
    ).loc[NUMBERS]
    assert not board["verdict"].isin(["not run at this scale"]).any()
    found = board.loc["notebook_final_test_loss"]
    assert found["verdict"] == "replicated"  # 0.00716 among 0.006, 0.0072, 0.008
    assert found["n"] == 3
    # All three have the same value, so anything else is not one more of them.
    assert board.loc["notebook_key_frequencies", ["ours", "verdict"]].tolist() == [
        3.0,
        "not replicated",
    ]
    assert board.loc["demo_peak_test_loss", ["ours", "verdict"]].tolist() == [6.0, "not replicated"]
    assert board.loc["demo_epoch_of_peak", "ours"] == 200
    assert board.loc["demo_final_test_loss", "verdict"] == "not replicated"


def test_a_threshold_that_is_never_reached_is_no_epoch():
    networks = Networks(
        NEVER,
        **{
            section: values
            for section, values in vars(published(NOTEBOOK)).items()
            if section in ("dataset", "model", "training")
        },
    )
    assert verdict("notebook_epoch_of_grokking", binary_published=networks) == (
        "not comparable",
        "3 of 3 never got there",
    )
