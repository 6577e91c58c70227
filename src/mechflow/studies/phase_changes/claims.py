"""What was published about phase changes, and how it is judged here.

Qualitative claims are judged on the first variant of each task that does without the notebook's
doubled residual stream; numbers, where the published configuration is run.
"""

import pandas as pd

from mechflow.claims import Claim, EveryReplicate, IntervalBeyond, scoreboard
from mechflow.figures.data import FigureData
from mechflow.studies.phase_changes import circuit_evidence, evidence, outcomes, roles
from mechflow.studies.phase_changes.published import NOTEBOOK_TEXT, NUMBERS

BLOG = "blog post of arXiv 2301.05217"
CONTROL = "control, not published"

SHARP = EveryReplicate("below", 0.5)
"""A loss that falls steadily from the first step on has a relative width of 1: half of that."""

AFTER = "after training"
WIDTH = (
    "steps from 75 % to 25 % of the drop of the test loss from the blind loss, relative to the "
    "step at 50 %"
)

TASKS = {
    "addition": "addition",
    "skip_trigram": "skip trigrams",
    "induction": "induction",
}
"""Each task in words."""


def judge(data: FigureData) -> pd.DataFrame:
    """A verdict on every claim, with the columns ``mechflow.verdicts.COLUMNS``."""
    return scoreboard(CLAIMS, data)


def _no_gap(task: str) -> Claim[FigureData]:
    return Claim(
        f"{task}_infinite_no_gap",
        f"On infinite data, {TASKS[task]} is learnt on train and test sequences at once.",
        CONTROL,
        "test minus train loss, mean over all of training, as a share of the blind loss",
        IntervalBeyond("below", 0.05),
        evidence.generalisation_gap(task),
    )


def _groks(task: str) -> Claim[FigureData]:
    return Claim(
        f"{task}_finite_groks",
        f"On finite data, {TASKS[task]} is grokked: train examples are learnt long before test "
        "examples.",
        BLOG,
        f"steps to a test accuracy of {outcomes.LEARNT:g}, in units of those to the same train "
        "accuracy",
        EveryReplicate("above", 2.0),
        evidence.grokking_delay(task),
    )


_SHARED_ROLE = f"all that score at least {roles.LEAST_SHARE:g} times as high as the best"


def _ablated(role: str, words: str) -> list[Claim[FigureData]]:
    """What becomes of the loss without the heads of a role."""
    return [
        Claim(
            f"{role}_are_needed",
            f"Without its {words}, the network loses most of what it learnt.",
            CONTROL,
            f"share of the drop of the test loss that is undone without the {words} "
            f"({_SHARED_ROLE}), {AFTER}",
            IntervalBeyond("above", 0.5),
            circuit_evidence.drop_undone(role),
        ),
        Claim(
            f"{role}_matter_most",
            f"Other heads matter less than the {words}.",
            CONTROL,
            f"share of the drop undone without the {words} ({_SHARED_ROLE}), minus the mean over "
            "random choices of as many other heads of the same layers",
            IntervalBeyond("above", 0.0),
            circuit_evidence.drop_undone_over_random(role),
        ),
    ]


CHANGES = (
    Claim(
        "addition_every_digit_changes",
        "Each digit of the answer is learnt in a phase change of its own.",
        NOTEBOOK_TEXT,
        f"{WIDTH}; the largest among digits",
        SHARP,
        evidence.largest_relative_width("addition"),
    ),
    Claim(
        "skip_trigram_every_trigram_changes",
        "Each skip trigram is learnt in a phase change of its own.",
        NOTEBOOK_TEXT,
        f"{WIDTH}; the largest among trigrams",
        SHARP,
        evidence.largest_relative_width("skip_trigram"),
    ),
    Claim(
        "skip_trigram_together",
        "All skip trigrams are learnt at about the same time.",
        CONTROL,
        "latest minus earliest step at 50 % of the drop among trigrams, relative to their mean",
        IntervalBeyond("below", 0.5),
        evidence.spread_of_times("skip_trigram"),
    ),
    Claim(
        "induction_changes",
        "Two attention-only layers learn to continue repeated subsequences in a phase change.",
        BLOG,
        WIDTH,
        SHARP,
        evidence.largest_relative_width("induction", of_groups=False),
    ),
    *(_no_gap(task) for task in TASKS),
    *(_groks(task) for task in TASKS),
    Claim(
        "induction_one_layer_stays",
        "A single attention-only layer stays on the plateau: it cannot look for what followed an "
        "earlier token.",
        CONTROL,
        "final test loss of the one-layer model, in units of the best loss without comparing "
        "tokens; 1 but for the finite test set",
        EveryReplicate("above", 0.95),
        evidence.loss_without_second_layer,
    ),
    Claim(
        "induction_needs_two_layers",
        "With nothing changed but a second layer, more is learnt.",
        CONTROL,
        "share of the way from the blind to the best possible loss that the test loss falls with "
        "two layers, minus that with one",
        IntervalBeyond("above", 0.0),
        evidence.fall_by_second_layer,
    ),
)

CIRCUITS = (
    Claim(
        "induction_head_forms_with_drop",
        "An induction head forms while the loss drops.",
        CONTROL,
        "steps between half of the rise of the best head's prefix matching and half of the drop "
        "of the loss, either way, in units of the width of the drop",
        IntervalBeyond("below", 1.0),
        circuit_evidence.induction_head_lag,
    ),
    Claim(
        "induction_previous_token_head",
        "A head of the first layer attends to the previous token.",
        CONTROL,
        f"previous-token score of the best head of the first layer in the first interval, {AFTER}",
        IntervalBeyond("above", 0.5),
        circuit_evidence.previous_token_score,
    ),
    *_ablated("previous_token_heads", "previous-token heads"),
    *_ablated("induction_heads", "induction heads"),
    Claim(
        "induction_heads_compose",
        "The induction head reads its keys from the previous-token head.",
        CONTROL,
        f"K-composition of the best head of each kind, {AFTER}, minus the 95 % quantile of pairs "
        "of Gaussian heads",
        IntervalBeyond("above", 0.0),
        circuit_evidence.composition_above_random,
    ),
    Claim(
        "skip_trigram_attends_to_trigger",
        "From a share like any other position's, attention to the trigger becomes most of it.",
        CONTROL,
        f"attention from the query to the trigger, mean over triggers, {AFTER}",
        IntervalBeyond("above", 0.5),
        circuit_evidence.trigger_attention,
    ),
    Claim(
        "skip_trigram_attention_forms_with_drop",
        "Attention to the trigger forms while the loss drops.",
        CONTROL,
        "steps between half of the rise of the attention and half of the drop of the loss, either "
        "way, in units of the width of the drop",
        IntervalBeyond("below", 1.0),
        circuit_evidence.trigger_attention_lag,
    ),
    Claim(
        "addition_carries_are_read",
        "Where a digit is predicted, the carry into it can be read linearly.",
        CONTROL,
        "accuracy of a linear probe for the carry, last residual stream, minus that with shuffled "
        "labels; mean over digits",
        IntervalBeyond("above", 0.25),
        circuit_evidence.carries_over(control="shuffled_labels"),
    ),
    Claim(
        "addition_carries_are_learnt",
        "The carries are computed by what was learnt, and not given by the architecture.",
        CONTROL,
        "accuracy of the same probe, minus that in the untrained network; mean over digits",
        IntervalBeyond("above", 0.0),
        circuit_evidence.carries_over(model="untrained"),
    ),
    Claim(
        "addition_cascades_come_later",
        "Sums in which a carry causes another one are learnt later than sums without carries.",
        CONTROL,
        "steps to half of the blind loss, cascades minus sums without carries",
        IntervalBeyond("above", 0.0),
        circuit_evidence.cascade_delay,
    ),
    Claim(
        "addition_embeddings_fourier",
        "Training makes the digits' embeddings sparse in the Fourier basis of 10 points.",
        CONTROL,
        "Gini coefficient of the norms of the Fourier components of the digits' W_E, trained minus "
        "untrained",
        IntervalBeyond("above", 0.0),
        circuit_evidence.over_untrained("W_E", "gini"),
    ),
    Claim(
        "addition_neurons_fourier",
        "Training tunes each neuron to one frequency of the pair of digits.",
        CONTROL,
        "share of a neuron's variance over pairs of digits that one frequency explains, mean over "
        "neurons and digits, trained minus untrained",
        IntervalBeyond("above", 0.0),
        circuit_evidence.over_untrained("neurons.digit.", "neuron_fraction_explained"),
    ),
)

CLAIMS = (*CHANGES, *CIRCUITS, *NUMBERS)
"""All claims, in the order of the scoreboard."""
