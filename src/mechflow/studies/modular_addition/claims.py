"""What was published about modular addition, and how it is judged here."""

import pandas as pd

from mechflow.claims import (
    AllEquivalent,
    Claim,
    EveryReplicate,
    IntervalBeyond,
    Near,
    scoreboard,
)
from mechflow.figures.data import FigureData
from mechflow.studies.modular_addition import evidence, outcomes
from mechflow.studies.modular_addition.published import (
    DEMONSTRATION_TEXT,
    FINAL,
    NANDA,
    NOTEBOOK_TEXT,
    NUMBERS,
)
from mechflow.studies.modular_addition.variants import LEAK, QUANTISATION, SPLIT

PAPER = "arXiv 2405.17703"
CONTROL = "control, not published"
SPLIT_TEXT = "computed from the published split"
LEARNED = EveryReplicate("above", outcomes.GENERALISED)


def judge(data: FigureData) -> pd.DataFrame:
    """A verdict on every claim, with the columns ``mechflow.verdicts.COLUMNS``."""
    return scoreboard(CLAIMS, data)


def _generalises(variant: str, words: str, source: str) -> Claim[FigureData]:
    return Claim(
        f"{variant}_generalises",
        f"The {words} network generalises to pairs that it was not trained on.",
        source,
        f"test accuracy of {variant}, {FINAL}",
        LEARNED,
        evidence.final_test_accuracy(variant),
    )


def _fourier(variant: str, words: str, source: str) -> list[Claim[FigureData]]:
    """Three causal checks that a variant computes with its key frequencies."""
    return [
        Claim(
            f"{variant}_needs_key_frequencies",
            f"Without its key frequencies, the {words} network cannot add.",
            source,
            f"test accuracy of {variant} after projecting its key frequencies out of W_E",
            IntervalBeyond("below", 0.5),
            evidence.accuracy_without_key(variant),
        ),
        Claim(
            f"{variant}_spares_other_frequencies",
            f"Other frequencies matter much less to the {words} network.",
            source,
            f"accuracy that random frequency sets of equal size cost {variant}, "
            "as a share of what its key frequencies cost",
            IntervalBeyond("below", 0.5),
            evidence.damage_by_random(variant),
        ),
        Claim(
            f"{variant}_needs_nothing_else",
            f"The key frequencies alone are enough for the {words} network.",
            source,
            f"test accuracy of {variant} with only its key frequencies in W_E, "
            "as a share of its own",
            IntervalBeyond("above", 0.9),
            evidence.accuracy_kept_by_key(variant),
        ),
    ]


def _same_algorithm(variant: str, words: str) -> Claim[FigureData]:
    margins = ", ".join(f"{name} {margin:g}" for name, (margin, _) in evidence.MARGINS.items())
    return Claim(
        f"{variant}_same_algorithm",
        f"The {words} network learns qualitatively the same algorithm as the full-precision one.",
        PAPER,
        f"number of quantities, out of n, in which {variant} and full agree; "
        "replicates that generalised only",
        AllEquivalent(f"their margins: {margins}"),
        evidence.same_algorithm(variant, "full"),
    )


def _of_published_split(outcome: evidence.Outcome) -> evidence.Measure:
    measure = evidence.pair_share("binary_published", outcome, of_ordered_split=True)
    return evidence.at_published_scale("binary_published", SPLIT, measure)


QUALITATIVE = (
    _generalises("binary", "binarised", PAPER),
    _generalises("ternary", "ternary", PAPER),
    _generalises("full", "full-precision", NANDA),
    Claim(
        "random_labels_do_not_generalise",
        "With random labels there is nothing to generalise, and test accuracy stays at chance.",
        CONTROL,
        "highest test accuracy of random_labels in all of training [multiples of chance, 1/p]",
        EveryReplicate("below", 3.0),
        evidence.highest_accuracy_over_chance("random_labels"),
    ),
    *_fourier("binary", "binarised", PAPER),
    *_fourier("ternary", "ternary", PAPER),
    *_fourier("full", "full-precision", NANDA),
    _same_algorithm("binary", "binarised"),
    _same_algorithm("ternary", "ternary"),
)

SPEED = (
    Claim(
        "binary_is_faster_than_full",
        "The binarised network generalises sooner than a full-precision one "
        "(published: 2000 against 14000 epochs, of different architectures).",
        f"{NOTEBOOK_TEXT}; {DEMONSTRATION_TEXT}",
        "epochs to 99 % test accuracy, binary minus full, one architecture and no mirrored pairs",
        IntervalBeyond("below", 0.0),
        evidence.epoch_difference("binary", "full", QUANTISATION),
    ),
    Claim(
        "leak_makes_grokking_faster",
        "Mirror images of train pairs among the test pairs make grokking faster.",
        CONTROL,
        "epochs to 99 % test accuracy, binary_ordered (mirrored pairs) minus binary (none)",
        IntervalBeyond("below", 0.0),
        evidence.epoch_difference("binary_ordered", "binary", LEAK),
    ),
)

LEAKAGE = (
    Claim(
        "mirrored_test_pairs",
        "30.1 % of the published test pairs are mirror images of train pairs.",
        SPLIT_TEXT,
        "share of test pairs (a, b) of binary_published whose (b, a) is a train pair",
        Near(0.005),
        _of_published_split(outcomes.mirrored_test_pairs),
        0.301,
    ),
    Claim(
        "unordered_pairs_seen",
        "50.9 % of the unordered pairs are seen in training.",
        SPLIT_TEXT,
        "share of unordered pairs of which binary_published trains on at least one order",
        Near(0.005),
        _of_published_split(outcomes.unordered_pairs_seen),
        0.509,
    ),
    Claim(
        "mirrored_test_pairs_by_formula",
        "At any scale, a random ordered split leaks as many mirror images as chance has it.",
        CONTROL,
        "share of mirrored test pairs of binary_published minus (1 - 1/p) n_train / (p^2 - 1)",
        Near(0.05),
        evidence.excess_of_pair_share(
            "binary_published", outcomes.mirrored_test_pairs, evidence.expected_mirrored_test_pairs
        ),
        0.0,
    ),
    Claim(
        "unordered_pairs_seen_by_formula",
        "At any scale, a random ordered split shows as many unordered pairs as chance has it.",
        CONTROL,
        "share of unordered pairs that binary_published sees, minus its expectation",
        Near(0.05),
        evidence.excess_of_pair_share(
            "binary_published",
            outcomes.unordered_pairs_seen,
            evidence.expected_unordered_pairs_seen,
        ),
        0.0,
    ),
    Claim(
        "no_mirrored_test_pairs",
        "A split of unordered pairs has no mirror image of a train pair among its test pairs.",
        CONTROL,
        "share of test pairs (a, b) of binary whose (b, a) is a train pair",
        Near(0.0),
        evidence.pair_share("binary", outcomes.mirrored_test_pairs, of_ordered_split=False),
        0.0,
    ),
)

CLAIMS = (*QUALITATIVE, *SPEED, *LEAKAGE, *NUMBERS)
"""All claims, in the order of the scoreboard."""
