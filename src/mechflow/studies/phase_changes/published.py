"""Numbers of published runs, to be judged where the same configuration is run.

Notebooks logged the loss of one batch every 50 or 100 updates; the steps at which it passed a
bound are interpolated between them, linearly in log loss. Saved runs have the loss of every
update, and the first one below the bound is given. Neither differs much from where a smoothed
curve passes, as the bounds lie where the loss falls steeply.

The configuration of the saved runs is not published. 5_digit_infinite_train follows the notebook's
log and is counted with it, as are those of the other two tasks; 5_digit_infinite has width 128.
"""

from collections.abc import Mapping
from typing import Any

from mechflow.claims import Claim, OneMoreRun
from mechflow.figures.data import FigureData
from mechflow.studies.phase_changes import evidence
from mechflow.studies.phase_changes.variants import (
    ADDITION_NOTEBOOK,
    ADDITION_SAVED,
    INDUCTION_NOTEBOOK,
    SKIP_TRIGRAM,
)

NOTEBOOK_TEXT = "notebook of arXiv 2301.05217"
SAVED = "saved run of arXiv 2301.05217"

_SMOOTHED = f"train loss (running median over {evidence.SMOOTHED} evaluations)"


def _passes(
    claim_id: str, words: str, bound: float, step: float, source: str, config: Mapping[str, Any]
) -> Claim[FigureData]:
    """A published step at which the train loss passes a bound."""
    return Claim(
        claim_id,
        f"{words} passes {bound:g} at step {step:.0f}.",
        source,
        f"step at which the {_SMOOTHED} falls to {bound:g}",
        OneMoreRun(),
        evidence.at_published_scale(config, evidence.step_of_loss(bound)),
        step,
    )


def _at_end(
    claim_id: str, words: str, loss: float, source: str, config: Mapping[str, Any]
) -> Claim[FigureData]:
    """A published train loss of the last updates."""
    return Claim(
        claim_id,
        f"{words} ends at {loss:g}.",
        source,
        "train loss [nats], median over the last tenth of training (published: one batch)",
        OneMoreRun(),
        evidence.at_published_scale(config, evidence.final_train_loss),
        loss,
    )


_ADDING = "The train loss of 5-digit addition (width 512)"
_ADDING_SAVED = "The train loss of 5-digit addition (width 128)"
_SKIPPING = "The train loss of skip trigrams"
_INDUCING = "The train loss of induction (residual stream doubled)"

NUMBERS = (
    Claim(
        "notebook_addition_initial_loss",
        "Before training, the loss of 5-digit addition is just above that of a uniform guess "
        "(ln 10 = 2.303).",
        NOTEBOOK_TEXT,
        "train loss before the first update [nats]",
        OneMoreRun(),
        evidence.at_published_scale(ADDITION_NOTEBOOK, evidence.initial_train_loss),
        2.593,
    ),
    _passes("saved_addition_512_1", _ADDING, 1.0, 1517.0, SAVED, ADDITION_NOTEBOOK),
    _passes("saved_addition_512_0.1", _ADDING, 0.1, 2077.0, SAVED, ADDITION_NOTEBOOK),
    _at_end("saved_addition_512_final", _ADDING, 0.0406, SAVED, ADDITION_NOTEBOOK),
    _passes("saved_addition_128_1", _ADDING_SAVED, 1.0, 520.0, SAVED, ADDITION_SAVED),
    _passes("saved_addition_128_0.1", _ADDING_SAVED, 0.1, 961.0, SAVED, ADDITION_SAVED),
    # The log has 0.2549 at 200 and 0.01426 at 300; 2.86e-6 at 1000 and 9.70e-7 at 1100.
    _passes("notebook_skip_0.1", _SKIPPING, 0.1, 232.0, NOTEBOOK_TEXT, SKIP_TRIGRAM),
    _passes("notebook_skip_1e-6", _SKIPPING, 1e-6, 1097.0, NOTEBOOK_TEXT, SKIP_TRIGRAM),
    _at_end("notebook_skip_final", _SKIPPING, 1.755e-9, NOTEBOOK_TEXT, SKIP_TRIGRAM),
    _passes("saved_skip_0.1", _SKIPPING, 0.1, 321.0, SAVED, SKIP_TRIGRAM),
    _passes("saved_skip_1e-6", _SKIPPING, 1e-6, 1467.0, SAVED, SKIP_TRIGRAM),
    # The log has 4.410 at 750 and 3.990 at 800; 2.171 at 900 and 1.672 at 950; after the second
    # plateau, 0.4218 at 2250 and 0.3865 at 2300.
    _passes("notebook_induction_4", _INDUCING, 4.0, 799.0, NOTEBOOK_TEXT, INDUCTION_NOTEBOOK),
    _passes("notebook_induction_2", _INDUCING, 2.0, 916.0, NOTEBOOK_TEXT, INDUCTION_NOTEBOOK),
    _passes("notebook_induction_0.4", _INDUCING, 0.4, 2280.0, NOTEBOOK_TEXT, INDUCTION_NOTEBOOK),
    Claim(
        "notebook_induction_5000",
        f"{_INDUCING}, averaged over about 100 updates, is 0.2706 at step 5000.",
        NOTEBOOK_TEXT,
        f"{_SMOOTHED} at step 5000 [nats]",
        OneMoreRun(),
        evidence.at_published_scale(INDUCTION_NOTEBOOK, evidence.loss_at(5000.0)),
        0.2706,
    ),
    _passes("saved_induction_4", _INDUCING, 4.0, 812.0, SAVED, INDUCTION_NOTEBOOK),
    _passes("saved_induction_2", _INDUCING, 2.0, 904.0, SAVED, INDUCTION_NOTEBOOK),
    _passes("saved_induction_0.5", _INDUCING, 0.5, 1542.0, SAVED, INDUCTION_NOTEBOOK),
)
"""All published numbers, in the order of the scoreboard."""
