"""Declarations of the figures of circuits: titles, captions and what they read."""

from mechflow.studies.declaration import Figure

FIGURES: tuple[Figure, ...] = (
    Figure(
        "induction_heads",
        "induction_heads",
        ("curves", "progress"),
        "Do induction heads form when the loss drops?",
        "Against the step, a column for each variant. Above: test loss in nats, with the loss of "
        "the best answer that ignores the sequence (blind), of the best one that knows where "
        "copies can stand but compares no tokens (positional), and of the best one there is "
        "(optimal). A loss that grows far above blind, as on a small train set, leaves the "
        "panel. Below: mean attention to the token before, within the interval of the first copy; "
        "attention from the tokens of later "
        "copies to whatever followed the same token earlier (prefix matching); and the copying "
        "score of the head's map from tokens to logits, the sum of its eigenvalues over the sum "
        "of their sizes. Coloured: the head of each replicate that plays a part best after "
        "training, thin lines for replicates, thick for their mean (of losses the geometric one), "
        "bands for its 95 % interval (Student's t). Grey: all other heads; dashed: what uniform "
        "attention scores. Shaded: from the first replicate that has made a quarter of the drop "
        "of its loss to the last one that has made three quarters. The circuit is there if both "
        "attention scores rise within the shaded steps; a model of one layer can have neither the "
        "drop nor the rise.",
    ),
    Figure(
        "composition",
        "composition",
        ("progress",),
        "Do the two heads of the induction circuit compose?",
        "How much the later head reads of what the earlier one writes, through keys, queries or "
        "values: norm of the product of their circuits over the product of the norms, between 0 "
        "and 1. Above: the best previous-token head with the best induction head, chosen in each "
        "replicate by their attention after training (thin lines; thick: mean, band: its 95 % "
        "interval, Student's t, cut at 0 and 1), before all other pairs of all replicates. Below: "
        "each replicate after training, its circuit as a diamond. Grey area: where 95 % of pairs "
        "of heads with Gaussian weights lie. An induction circuit composes through the keys: its "
        "K-composition should end above the grey area and above most other pairs, and rise "
        "with the drop of the loss. Where several heads share a part, so do their pairs.",
    ),
    Figure(
        "head_patterns",
        "head_patterns",
        ("spectra_arrays", "progress"),
        "What the two heads of the induction circuit attend to",
        "Attention in the first test sequence of one trained network, queries down and keys "
        "along, darker for more (by the square root, which shows weak attention). Bars along the "
        "edges: the first copy of the subsequence and the later ones. Outlined for the "
        "previous-token head: the token before each query; for the induction head: the position "
        "behind the place in the first copy where the query's token stood, whose token comes "
        "next. Right: the attention on the outlined keys, by query position. The circuit needs "
        "the previous-token head in the first copy, and the induction head in the later ones.",
    ),
    Figure(
        "trigger_circuit",
        "triggers_circuit",
        ("curves", "progress", "spectra_arrays"),
        "The circuit of the skip trigram",
        "Above, against the step: test loss for each trigger (logarithmic), attention from the "
        "query at the end to the trigger, and the gradient of the mean loss with respect to that "
        "attention: below 0 more attention would help. Thin lines: the triggers of one "
        "replicate, in shades. Black: mean over triggers and replicates (of losses the geometric "
        "one), band: its 95 % interval over replicates (Student's t, shares cut at 0 and 1). "
        "Dashed: uniform attention; dotted: the loss that ignores the sequence. Below, in the "
        "same replicate, before training, amid the drop and after it: the score of the query "
        "with each token (QK, minus the mean over tokens) and what attention to a token adds to "
        "the logit of each answer (OV, minus the mean over answers); each scale is the same for "
        "all steps. A trigger is found if its QK score lies above that of noise, and told if its "
        "OV row is largest at its own answer: a dark diagonal.",
    ),
    Figure(
        "ablations",
        "ablations",
        ("interventions", "progress"),
        "What is lost without single parts",
        "Test loss of the networks without some of their heads, or an MLP, whose outputs are "
        "replaced as the note says (by their mean over sequences at each position, or by zero); "
        "logarithmic. Above: at checkpoints through training. Below: after it. Induction: at once "
        "all heads whose attention score for a part is, after training, at least half as high as "
        "the best, and, in grey, as many other heads of the same layers (mean over a few draws; "
        "dashed and square for the previous-token heads), where there are any. Addition and skip "
        "trigram: each head alone. Heads are ranked in each replicate by the loss without them "
        "after training, since their numbers mean nothing across replicates; the source data have "
        "their names. Thin lines and dots: "
        "replicates; thick lines and bars: geometric means with 95 % intervals (Student's t), "
        "for ranked heads below only. Dotted: the loss that ignores the sequence. A part that "
        "matters brings the loss back to that line or above; what the loss without it was before "
        "the drop says whether the part was there before.",
    ),
)
"""Figures of what the heads of induction and of the skip trigram do."""
