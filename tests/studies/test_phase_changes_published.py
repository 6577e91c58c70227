"""Verdicts on published numbers, from made-up artefacts in the published configurations."""

import math
from typing import Any

import pytest

from mechflow.studies.phase_changes import published, variants
from tests.studies.fabricated_runs import Runs, judge, sound

NUMBERS = [claim.id for claim in published.NUMBERS]


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
