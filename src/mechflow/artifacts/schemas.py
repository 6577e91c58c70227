"""Columns of the tables that stages exchange."""

from typing import NamedTuple


class Column(NamedTuple):
    """One column of a table."""

    name: str
    dtype: str
    """int64, float64 or string."""
    description: str
    """What it means, with its unit where it has one."""


_REPLICATE = Column("replicate", "int64", "number of the training replicate, from 0")
_STEP = Column("step", "int64", "number of optimiser updates made so far [updates]")
_SPLIT = Column("split", "string", "train, test, all; empty if the split does not matter")
_DRAW = Column("draw", "int64", "number of the random draw of a control, 0 if there is none")
_EXAMPLE = Column("example", "int64", "number of the prompt")
_SITE = Column("site", "string", "hook name of a place in the residual stream")
_LAYER = Column(
    "layer", "int64", "0 for the embedding, l for the output of block l - 1, then ln_final"
)
_FOLD = Column("fold", "int64", "number of the fold whose numbers are tested")

SCHEMAS: dict[str, tuple[Column, ...]] = {
    "dataset": (
        _REPLICATE,
        Column("example", "int64", "number of the example within its replicate, from 0"),
        Column("split", "string", "train or test"),
    ),
    "curves": (
        _REPLICATE,
        _STEP,
        _SPLIT,
        Column(
            "metric",
            "string",
            "loss, accuracy, loss.<group of answers>, flip_rate.<parameter> or squared_weights",
        ),
        Column(
            "value",
            "float64",
            "loss [nats], accuracy [fraction], flip rate [fraction of signs changed per update], "
            "sum of squared weights [1]",
        ),
    ),
    "probes": (
        _REPLICATE,
        Column("site", "string", "hook name of the activation that is probed"),
        Column("target", "string", "what is predicted, such as a, sum or digit.0"),
        Column("control", "string", "none, or what the score is set against"),
        _SPLIT,
        Column("metric", "string", "accuracy, accuracy_macro, r2 or mean_absolute_error"),
        Column("value", "float64", "accuracy [fraction], R squared [1] or error [1]"),
    ),
    "spectra": (
        _REPLICATE,
        Column("matrix", "string", "what is analysed, such as W_E, W_L, neurons or a probe"),
        Column("quantity", "string", "what is measured, such as fourier_norm or singular_value"),
        Column("index", "int64", "basis row, rank, frequency or neuron, by quantity; 0 if none"),
        Column("value", "float64", "norm, singular value, fraction, frequency or count [1]"),
    ),
    "progress": (
        _REPLICATE,
        _STEP,
        Column(
            "metric",
            "string",
            "a loss, as loss, restricted_loss or blind_loss.<group>; accuracy.carries.<subset>; "
            "gini.<matrix>, squared_weights; a score of a head or of a pair of heads, as "
            "prefix_matching.L1H0; trigger_attention.<k>, attention_gradient.<k>",
        ),
        Column("definition", "string", "sum_directions or block_2x2; empty if there is only one"),
        _SPLIT,
        Column(
            "control",
            "string",
            "none, random_frequencies, uniform (attention) or random (heads with Gaussian weights)",
        ),
        _DRAW,
        Column(
            "value",
            "float64",
            "losses and their gradients [nats], accuracies, attention and composition [fraction], "
            "other scores [1]",
        ),
    ),
    "interventions": (
        _REPLICATE,
        Column(
            "intervention", "string", "what is done, such as remove_key, interchange, mean_head"
        ),
        Column(
            "site", "string", "where it acts: W_E, a hook name, a head as L0H1, a role of heads"
        ),
        Column(
            "control",
            "string",
            "none, or what the intervention is set against, such as random_heads",
        ),
        _DRAW,
        _SPLIT,
        Column("metric", "string", "loss, loss.<group of answers>, accuracy, or a share of pairs"),
        Column("value", "float64", "loss [nats], accuracy or share [fraction]"),
    ),
    "model": (
        Column("file", "string", "name of a file of the model, beside this table"),
        Column("bytes", "int64", "its size [bytes]"),
        Column("sha256", "string", "SHA-256 of its contents"),
    ),
    "check": (
        Column(
            "quantity",
            "string",
            "states: largest error of a packed prompt's state, relative to its norm; "
            "patched_runs: largest error of a patched run, relative to the distance between both "
            "prompts; pairs_left_out: pairs of numbers that cannot be exchanged",
        ),
        Column("value", "float64", "error [1] or number of pairs [1]"),
        Column("allowed", "float64", "the largest value with which a study goes on; NaN for any"),
        Column("n", "int64", "prompts, pairs tried, or pairs that can be exchanged"),
    ),
    "states": (
        Column("file", "string", "name of a file of hidden states, beside this table"),
        Column("first", "int64", "number of its first example"),
        Column("examples", "int64", "number of examples in it"),
        Column("digest", "string", "digest that the file carries"),
    ),
    "prompts": (
        _EXAMPLE,
        Column("a", "int64", "first operand"),
        Column("b", "int64", "second operand"),
        Column("label", "int64", "the number that probes look for: a, b or a + b"),
        Column("text", "string", "what the model reads"),
    ),
    "extraction": (
        _SITE,
        _LAYER,
        Column("quantity", "string", "what is measured, such as relative_error_median or norm"),
        Column("value", "float64", "norm, relative error or count [1]"),
    ),
    "behaviour": (
        _EXAMPLE,
        Column("a", "int64", "first operand"),
        Column("b", "int64", "second operand"),
        Column("expected", "int64", "a + b"),
        Column("answer", "int64", "the number that the model wrote, -1 if none"),
        Column("correct", "int64", "1 if it is the expected one"),
        Column("first_token_correct", "int64", "1 if it begins with the right token"),
    ),
    "geometry": (
        _SITE,
        _LAYER,
        Column("quantity", "string", "what is measured, such as period_share or trend_share"),
        Column("index", "int64", "period, frequency or rank, by quantity; 0 if none"),
        Column("control", "string", "none or permuted"),
        Column("draw", "int64", "0 for all prompts; otherwise the group left out, or permutation"),
        Column("value", "float64", "share of power or variance, or R squared [1]"),
    ),
    "folds": (
        _REPLICATE,
        _FOLD,
        Column("number", "int64", "value of the label"),
        Column("split", "string", "train, valid or test"),
    ),
    "readout": (
        _REPLICATE,
        _FOLD,
        _SITE,
        _LAYER,
        Column("basis", "string", "code for the numbers"),
        Column("width", "int64", "width of the code"),
        Column("control", "string", "none, or what the score is set against"),
        _SPLIT,
        Column("metric", "string", "accuracy, accuracy_macro, loss, median_error or steps"),
        Column("value", "float64", "accuracy [fraction], loss [nats], error [1], steps [1]"),
    ),
    "readout_values": (
        _REPLICATE,
        _FOLD,
        _LAYER,
        Column("basis", "string", "code for the numbers"),
        Column("number", "int64", "a test number"),
        Column("prompts", "int64", "prompts with this number"),
        Column("correct", "int64", "how many of them are read rightly"),
        Column("mean_error", "float64", "mean of the number read minus the number [1]"),
    ),
}
"""Columns of the kinds of table that stages exchange; tables of other kinds are free in form."""

EXTENSIBLE = frozenset({"dataset", "probes", "spectra", "interventions"})
"""Kinds whose declared columns are followed by others of the study's own."""
