"""Declarations of the figures and tables of probes: titles, captions and what they read."""

from mechflow.studies.declaration import Figure, Table

FIGURES: tuple[Figure, ...] = (
    Figure(
        "accuracy_by_layer",
        "accuracy",
        ("readout", "probes"),
        "How many numbers each probe reads, by layer",
        "Share of held-out numbers that probes read from the residual stream at the last token of "
        "the operand, by layer: each number counts alike, with the share of its prompts from "
        "which it is read. Left: probes trained by gradient descent with a code for the numbers; "
        "random codes are as wide as the sinusoidal one and tell structure from width. Right: "
        "least squares on the number, its logarithm (inverted rightly) and its decimal digits "
        "(dashed), which count if all of them are right. Lines: mean over folds of the numbers, "
        "bands: 95 % interval (Student's t), cut at 0 and 1. 'emb' is the embedding, 'norm' the "
        "stream after the final norm. Pale lines, if the model is that of the published notebook: "
        "its numbers, which count prompts. Look for the order of the codes, and for the layer at "
        "which they rise.",
    ),
    Figure(
        "selectivity",
        "selectivity",
        ("readout", "probes"),
        "What is left of the probes' accuracy after controls",
        "Above: share of held-out numbers read by a probe, minus the share read by the same kind "
        "of probe on a control, by layer; the difference is taken within each fold of the "
        "numbers, or from the mean of the controls where a fold has none of its own. Below: the "
        "shares themselves, of the probe (coloured) and of the controls. Shuffled values: every "
        "number has the code of another. Shuffled labels: prompts have the number of another "
        "prompt. Gaussian states: states drawn with the covariance of "
        "the real ones and nothing else. Random weights: the same architecture and tokens, "
        "without any training. Lines and bands: mean over folds with 95 % interval (Student's "
        "t). What random weights give is in the tokens already, and what the other controls give "
        "is the probe's own doing; only what remains above 0 is due to what the model learnt.",
    ),
    Figure(
        "digit_gathering",
        "gathering",
        ("probes",),
        "Where the digits of a number are gathered",
        "Share of held-out numbers of which a decimal place, or all of them together, is read by "
        "least squares from the last token of the operand, by layer (on a square-root scale, which "
        "spreads the first layers). A model that reads one digit "
        "a token has only the ones there at first: the layer at which tens and hundreds rise is "
        "where attention has brought the number together. Coloured: the trained model, grey "
        "dotted: the same with random weights. Lines and bands: mean over folds with 95 % "
        "interval (Student's t), cut at 0 and 1. Triangle: the first layer at which the mean "
        "reaches 90 % of its maximum over layers. Dotted level: a digit guessed.",
    ),
    Figure(
        "failures",
        "failures",
        ("readout", "readout_values", "probes"),
        "Which numbers are not read",
        "Held-out answers of two codes at one layer, the configured one or the one where most "
        "valid numbers are read. Map: share of the prompts from which each number is read, a "
        "hundred numbers in a row; white: in no fold that was fitted. Middle: that share by size "
        "(one digit, two digits, then each hundred) and by last digit; dots are means over "
        "numbers, bars 95 % intervals over numbers (Student's t, cut at 0 and 1). Below left: how "
        "far off the wrong answers to a number are, on average, as shares of the numbers that are "
        "ever read wrongly (each class of size ends at the bound written). Below right: numbers "
        "with exactly one wrong answer, of which the answer is therefore known, by the digit that "
        "is wrong; several can be. Bars there: Wilson's 95 % interval. Errors of a single digit "
        "speak for a code by digits, errors to numbers nearby for one by magnitude.",
    ),
    Figure(
        "sums",
        "sums",
        ("readout", "readout_values", "probes", "behaviour"),
        "The sum where the answer begins",
        "Left: share of held-out sums that probes read at the end of the prompt, by layer: codes "
        "trained by gradient descent (solid), least squares on the number, its logarithm and its "
        "digits (the latter dashed), and the trained codes with their rows shuffled (grey "
        "dotted). Middle: each decimal place of the sum by least squares (dotted level: a digit "
        "guessed). Lines and bands: mean over folds with 95 % interval (Student's t), cut at 0 "
        "and 1. Black levels and bands: how many of its answers the model itself gets right, and "
        "how many of their first tokens, with Wilson's interval. Right: by the number of digits "
        "of the sum, the model's own answers (Wilson) and what each code reads at the layer where "
        "it reads most valid sums (Student's t over numbers). Axes end where the values do. Pale "
        "line, if the model is that of the published notebook: its numbers. A model that writes "
        "one digit a token needs only the first of them here: look for places that are read, and "
        "places that are not, before taking the whole sum for absent.",
    ),
    Figure(
        "precision",
        "precision",
        ("extraction",),
        "Error of the number format",
        "Distance between the stored states and those of a forward pass in float32 on the same "
        "prompts, relative to the norm of the latter, by layer (logarithmic): median (solid) and "
        "largest (dotted) over the prompts that were checked, for every variant. Errors of 0 are "
        "not drawn. Dotted level: the largest error of rounding one number to the format. Errors "
        "far below the distances between numbers do not matter to probes.",
    ),
)
"""Figures of what probes read."""

TABLES: tuple[Table, ...] = (
    Table(
        "accuracy",
        ("readout", "probes"),
        "Accuracy of every probe at every layer",
        "The published notebook's final table for this model: accuracy over held-out prompts in "
        "per cent, mean over folds of the numbers (n). Numbered columns are layers: 0 is the "
        "embedding, the last one the stream after the final norm, the one before it the last "
        "block's output. 'best': at the layer that each fold's valid numbers choose, with its "
        "95 % interval (Student's t). log is inverted rightly, log_published as in the notebook, "
        "which adds 2 to every answer.",
    ),
    Table(
        "best",
        ("readout", "probes"),
        "Every probe at its best layer, beside controls",
        "Share of held-out numbers read, each number counting alike, at the layer that each "
        "fold's valid numbers choose; 'layer' is the one that they choose on average. Width: how "
        "many numbers the probe predicts from a state. Controls at the same layers: means over "
        "folds. Selectivity: accuracy minus accuracy on shuffled values, fold by fold, or minus "
        "its mean where a fold has no control of its own. In brackets: 95 % intervals over n "
        "folds (Student's t).",
    ),
    Table(
        "addition",
        ("readout", "readout_values", "behaviour"),
        "The model's own addition beside its probes",
        "By number of digits: the share of sums that the model itself answers rightly, with "
        "Wilson's 95 % interval over answers, and the share of numbers that each trained code "
        "reads at the layer where it reads most valid numbers, with the 95 % interval over "
        "numbers (Student's t). 'number' is what is read or answered, the sum or an operand; "
        "digits are those of that number.",
    ),
    Table(
        "periods",
        ("geometry", "probes"),
        "Periods of the mean states",
        "Share of the power of the mean states over the number line, the straight trend removed, "
        "at each period, at the layer where the digits of most valid numbers are read. In "
        "brackets: 95 % interval of the jackknife over groups of prompts. Permuted: mean and "
        "maximum over random orders of the numbers, and how many of those have less.",
    ),
)
"""Tables of what probes read."""
