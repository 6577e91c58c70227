"""Declarations of the figures about the number line, the probes' maps and interventions."""

from mechflow.studies.declaration import Figure

FIGURES: tuple[Figure, ...] = (
    Figure(
        "period_spectrum",
        "periods",
        ("geometry", "geometry_arrays"),
        "At which periods do the model's numbers repeat?",
        "The mean states of the numbers, taken as a function along the number line without its "
        "straight trend, have power at each period. Left: that power over its mean after dealing "
        "the numbers out at random, by layer (upwards) and period (logarithmic). White is the "
        "null; red periods stand out, blue ones are weaker than in random order, which they must "
        "be somewhere, since shares add up to one. Where frequencies are close together a column "
        "shows the strongest of them, so that single lines can be seen. Right: the share of all "
        "power at each of the marked periods (logarithmic, small shares cut off), with 95 % "
        "intervals that come from leaving out groups of prompts; grey: where 95 % of the "
        "permutations lie. Below: the same for random weights, where what repeats was not learnt. "
        "Periods that divide a digit's turn, and their overtones, speak for digits; a smooth code "
        "of n has power at long periods without overtones.",
    ),
    Figure(
        "principal_components",
        "components",
        ("geometry", "geometry_arrays"),
        "The numbers along their principal components",
        "Scores of the mean states on their first principal components at a few layers (rows), "
        "over the number; a dot is a number, and its colour the last digit. Each row is scaled to "
        "its largest score. Percentages: share of the variance between numbers. Right: the first "
        "component against the second, coloured along the number line. Level bands of one "
        "colour mean that the component sees the last digit only; steps, that it sees another "
        "digit; one smooth curve for all colours, that it sees how large the number is. A circle "
        "in the right panel that the colours run around once would be a circle of numbers. Signs "
        "of components mean nothing.",
    ),
    Figure(
        "helix_or_digits",
        "helix",
        ("geometry",),
        "A helix, or digits?",
        "Above: share of the variance of the mean states of held-out numbers that each of two "
        "fits of about equal width explains, by layer: circles along the number and a line "
        "(solid colours: a helix of several periods), and circles that turn in steps with each "
        "decimal digit. Below: the difference, fold by fold. Lines are means over folds of the "
        "numbers with 95 % intervals (Student's t); folds share most of their training numbers, "
        "so the intervals are somewhat too narrow. Dashed: the model with random weights. Grey: "
        "the numbers dealt out at random, which must give 0 or less. Both fits hold the same "
        "functions of the last digit, so they differ in the higher digits only: above the dotted "
        "line these turn smoothly, below it in steps.",
    ),
    Figure(
        "probe_maps",
        "probe_maps",
        ("spectra", "spectra_arrays", "readout"),
        "What the trained probes are made of",
        "For each code: the linear map from states to the scores of all numbers that training "
        "found, centred over the numbers. Above, left: its singular values over the largest, at "
        "some layers (logarithmic, small ones cut off). Middle: effective rank by layer, the "
        "number of directions that would carry as much if they were equal. Right: share of the "
        "map's power at each period along the number line (logarithmic). Below: its leading "
        "singular functions of the number, and the share of the squared singular values each "
        "holds, at the layer where the code reads most on valid numbers. Probes of the first "
        "fold; with several replicates, lines are means with 95 % intervals (Student's t). A map "
        "of few directions with digit-like functions uses little of its code; many equal "
        "singular values mean that the probe spreads over what training did not decide. A code "
        "can only draw functions that lie in it.",
    ),
    Figure(
        "interchange",
        "interchange",
        ("interventions",),
        "Does the model use the number that probes read?",
        "The states of operand b in one prompt (base) are replaced, at one layer, by those of "
        "another prompt (source) that differs in b only. Above: share of pairs whose next token "
        "is then the source's (blue) or still the base's (orange), by layer; only pairs whose "
        "own next tokens differ can tell and are counted. The next token only begins the answer: "
        "it is the first digit, where a model writes one digit a token. Right: mean change of the "
        "log-probability of both tokens. Grey, dashed: the base's states moved as far in a "
        "random direction. Below, left: share of pairs in which probes read the source's number, "
        "where it was put in and after the last block; middle: the same for every layer that "
        "reads. Bands: 95 % intervals (Wilson). All tokens exchanged at the embedding make the "
        "run the source's own, so that line begins at 1; the layer at which it falls is where "
        "the model has carried the number elsewhere. The last token alone begins to matter where "
        "it holds what the answer needs; where probes read the number there and the next token "
        "does not follow, the model does not use what they read. In words: how often the model "
        "begins the right sum when it is left alone (if that is rare, following is about its own, "
        "often wrong, answers), and how many of the pairs that it begins rightly both ways follow "
        "after an exchange half-way.",
    ),
)
