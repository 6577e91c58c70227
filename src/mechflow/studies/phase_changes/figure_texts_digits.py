"""Declarations of the figures of digits, of probes and of singular values."""

from mechflow.studies.declaration import Figure

FIGURES: tuple[Figure, ...] = (
    Figure(
        "fourier_basis",
        "digit_basis",
        ("spectra_arrays",),
        "The Fourier basis of the digits, and the digit embeddings in it",
        "Above: the orthonormal Fourier basis of ten points, one function of the digit a row (the "
        "last one alternates in sign), and the inner products of its rows, which must be the "
        "identity; the error written is rounding. Below, for one network of each variant: inner "
        "products of the digits' embeddings after their mean is taken away, between digits and "
        "between rows of the basis, after and before training, on one scale of colours. Ticks of "
        "the basis stand between cosine and sine. If only the difference of two digits mod ten "
        "mattered, the matrix would be diagonal in this basis. Above right: the share of the sum "
        "of squares that is off the diagonal, among digits, in the Fourier basis, and as expected "
        "in a random basis of what is not constant. Dots are training seeds, bars means with 95 % "
        "interval (Student's t, cut at 0 and 1); untrained networks stand right of their variant. "
        "Less in the Fourier basis than in a random one would speak for a circle of digits. A "
        "small share in every basis only says that all directions are equally strong.",
    ),
    Figure(
        "digit_spectrum",
        "digit_basis",
        ("spectra",),
        "Which frequencies the digits' embeddings and unembeddings use",
        "Norm of each row of the Fourier basis of ten points in the digits' embeddings (above) and "
        "in the maps to their logits (below), over cosines and sines of rising frequency; 'const' "
        "is what all digits share. Dots are training seeds, bars means with 95 % interval "
        "(Student's t). Open grey: before training, when all rows are alike. Gini: how unequal "
        "the norms are (0 if they are equal), mean over seeds. A network that adds by turning "
        "would keep few frequencies and drop the rest; one that only knows which digits are near "
        "one another has more at low frequencies, without any of them being key.",
    ),
    Figure(
        "digit_neurons",
        "digit_neurons",
        ("spectra", "spectra_arrays"),
        "What neurons do with the two digits of a column",
        "Activations of the last block's neurons where each digit of the answer is predicted, as "
        "functions of the two digits x and y of that column, all other digits averaged out. Upper "
        "rows: share of all neurons' variance at each frequency of x, of y, or of both, for the "
        "answer's digits as they are written; products of two frequencies are in none. Dots are "
        "training seeds, bars means with 95 % interval (Student's t, cut at 0 and 1). Dotted: what "
        "noise would have. The percentages are the share of the variance that is noise of "
        "averaging over a finite sample, after and before training: where it is high, an "
        "untrained network does not react to the column at all. Once an earlier digit of the "
        "answer is in the sequence it tells of the next column, so that the digits after it are "
        "tuned even before training. Lower rows, where the units are predicted: the root of the "
        "share of power at every pair of rows of the basis, mean over seeds, then the neurons of "
        "one network that vary most, each over its own largest mean (its number and that mean are "
        "above it). A neuron that computes mod ten repeats along diagonals; one that weighs how "
        "large x + y is changes once, which needs the lowest frequency as well.",
    ),
    Figure(
        "carries",
        "carries",
        ("progress",),
        "Are sums with carries learnt later?",
        "Test sums in which no column carries, exactly one does by itself, or a column carries "
        "only because a carry comes in (cascade), by training step. From above: loss "
        "(logarithmic; dashed: all sums of the test set, dotted: the best answer that ignores the "
        "sum), share of right digits, and that share minus the one on sums without a carry, "
        "network by network. Thin lines are training seeds, thick lines means (geometric for the "
        "loss), bands 95 % intervals (Student's t), accuracies cut at 0 and 1. Below: the first "
        "checkpoint from which several in a row reach the accuracy that is marked above, with "
        "how many never do, and how much later cascades get there than sums without a carry, as "
        "mean and interval over the networks that learnt both. Right digits are fed in, so a "
        "wrong carry costs one digit only; below the line in the third row, carries lag behind.",
    ),
    Figure(
        "carry_probes",
        "probe_map",
        ("probes",),
        "Where each carry can be read",
        "Held-out accuracy of a linear probe for whether a column carries, minus that of the same "
        "probe on shuffled labels, mean over training seeds, at each site of the residual stream "
        "(panels), for each column (rows, by power of ten) and at the position that predicts each "
        "digit of the answer (columns, in the order of writing). Below each: the same before "
        "training. Orange: the carry that the predicted digit needs. Circles: the trained "
        "networks give more than the untrained ones, paired by seed, with a 95 % interval "
        "(Student's t) above 0; cells are not corrected for their number. White is nothing, and "
        "the end of the scale is all that two equally frequent classes allow. The first digit of "
        "the answer is the last carry, and later digits tell of further ones, so that what was "
        "written can be read without training: what was learnt is the excess over that.",
    ),
    Figure(
        "task_probes",
        "probe_map",
        ("probes",),
        "At which layer triggers and tokens can be read",
        "Held-out accuracy of linear probes of the residual stream, by layer: which trigger there "
        "was, at the query of skip trigrams; in repeated subsequences, at a few places of later "
        "copies the token itself and the one that follows, and the one before it at a few places "
        "of the interval of the first copy, from where copies are continued. Dots are "
        "training seeds, bars means with 95 % interval (Student's t, cut at 0 and 1). Open grey: "
        "the same probes before training, which tell what the architecture gives away. Crosses: "
        "labels dealt out at random, which is chance. An induction circuit has to bring in the "
        "token before after its first block, and the token that follows after its second.",
    ),
    Figure(
        "circuit_singular_values",
        "singular",
        ("spectra",),
        "Singular values of the heads' circuits",
        "Singular values, by rank, of what each head compares (QK) and what it moves (OV), in the "
        "residual stream and, through embedding and unembedding, between tokens, for a model of "
        "each task trained on infinite data; a row of panels for each block. Heads are ordered by "
        "the norm of the circuit within each network, the strongest darkest, since their numbers "
        "mean nothing across networks. Lines: mean over training seeds, bands: 95 % interval "
        "(Student's t, cut at 0). Grey, dashed: the same heads before training, ordered alike. "
        "Effective rank: mean over heads and seeds. Circuits of copying and matching are broad, "
        "those that single out one kind of token have few large values.",
    ),
)
"""Figures of digits, of probes and of singular values."""
