"""Declaration of the modular addition study."""

from mechflow.studies.declaration import Figure, Stage, Study, Table
from mechflow.studies.modular_addition.config import ModularAddition, Variant

STAGES = (
    Stage("dataset", uses=("dataset",), seeded=True),
    Stage("train", reads=("dataset",), uses=("model", "training"), seeded=True),
    Stage(
        "activations",
        reads=("dataset", "weights", "checkpoints"),
        uses=("model", "activations"),
    ),
    Stage("probe", reads=("dataset", "activations"), uses=("probe",), seeded=True),
    Stage(
        "spectra",
        reads=("dataset", "weights", "checkpoints", "activations"),
        uses=("model", "spectra"),
        seeded=True,
    ),
    Stage(
        "progress",
        reads=("dataset", "checkpoints", "spectra"),
        uses=("model", "dataset.task", "progress"),
        seeded=True,
    ),
    Stage(
        "interventions",
        reads=("dataset", "weights", "spectra"),
        uses=("model", "interventions"),
        seeded=True,
    ),
)

FIGURES: tuple[Figure, ...] = (
    Figure(
        "summary",
        "summary",
        ("curves", "spectra", "progress", "interventions"),
        "Is the algorithm of quantised networks another one?",
        "Each panel is one number of every trained network. Dots are training seeds; a bar is "
        "their mean with its 95 % interval (Student's t), on logarithmic axes the geometric mean. "
        "Intervals end where values become impossible or the axis ends. Below each variant: "
        "Cliff's delta against the full-precision variant (+1: every network has more of it, -1: "
        "every network has less) and the P value of a Mann-Whitney test, corrected by Holm's "
        "method within the panel, not over panels. With few seeds P cannot be small, however "
        "different the variants are: read delta first. The first two panels are about "
        "training; networks that never keep 99 % test accuracy are counted as 'never', rank last, "
        "and leave no mean. The others: how sparse the spectra are, how few dimensions the weights "
        "use (W_L as the forward pass uses it), and how far the key frequencies carry the network: "
        "ratios of test losses are 1 where the change does nothing. Speaking for another "
        "algorithm: key frequencies that explain few neurons or little of the logits, or that can "
        "be removed without harm. "
        "Speaking against it: the same signature, at whatever final loss.",
    ),
    Figure(
        "training_curves",
        "training",
        ("curves",),
        "Training curves",
        "Loss (above, logarithmic) and accuracy (below) of every variant on train pairs (dashed) "
        "and test pairs (solid), over the training step (logarithmic; the untrained network at "
        "step 0 is left out). Thin lines: training seeds. Thick line and band: their mean with its "
        "95 % interval (Student's t), for losses the geometric mean. The band is cut at the range "
        "of the measured values. Triangles: the step from which a seed keeps 99 % test accuracy "
        "for several evaluations, that is, generalises. Dotted: the loss of a network that holds "
        "all answers for equally likely. Generalisation long after memorisation is grokking. A "
        "variant with random labels is the negative control: its test accuracy must stay at "
        "chance.",
    ),
    Figure(
        "progress_measures",
        "progress",
        ("progress",),
        "Progress measures through training",
        "Measures on every checkpoint over the training step (both logarithmic), with the key "
        "frequencies of the final weights. Restricted loss: only the key frequencies' part of the "
        "logits is kept. Excluded loss: only that part is taken away. Both in the variant's "
        "colour, beside the same for as many random frequencies (grey, the mean over draws within "
        "each seed) and the whole network's loss on the same pairs (dotted). Solid and dashed "
        "differ in which directions belong to a frequency: cos and sin of the sum, or their whole "
        "2 × 2 block. Below: Gini coefficients of the Fourier norms of W_E and W_L, and the sum "
        "of all squared weights. Thick lines and bands: mean over training seeds with 95 % "
        "interval (Student's t; geometric for losses); thin lines: seeds. A circuit that forms "
        "before generalisation shows as a restricted loss that falls, and an excluded loss that "
        "rises, while the test loss is still high. If random frequencies do the same, the key "
        "frequencies are not special.",
    ),
    Figure(
        "ablations",
        "causal",
        ("interventions",),
        "Ablations of key frequencies and neuron clusters",
        "Test loss (logarithmic) of the final networks: untouched (open), after an intervention "
        "(coloured), and after the same done to as many random frequencies or neurons (grey; "
        "geometric mean over draws within each seed). A dot is a training seed, a bar their "
        "geometric mean with its 95 % interval (Student's t), cut at the axis. For clusters a dot "
        "is the geometric mean over the seed's key frequencies; a seed without clusters has none. "
        "If the key frequencies are the mechanism, removing them is far worse than removing "
        "others, keeping only them costs little, and keeping as many others costs all.",
    ),
    Figure(
        "embedding_norms",
        "embedding",
        ("spectra",),
        "Norm of each frequency in W_E and W_L",
        "Norm of each Fourier component of the embedding W_E and of the neuron-logit map W_L for "
        "one training seed: cosines upwards, sines downwards, key frequencies coloured. Grey line: "
        "mean of the untrained networks, scaled to the same total norm, which is how the bars look "
        "without structure. Lowest row: the key frequencies of every seed. A Fourier algorithm "
        "needs few tall bars, at the same frequencies in both matrices, cosine and sine alike; "
        "which frequencies these are differs between seeds.",
    ),
    Figure(
        "embedding_fourier",
        "embedding",
        ("spectra", "spectra_arrays"),
        "The embedding in the Fourier basis",
        "Coefficients of W_E: rows are cosines and sines of each frequency (the constant lowest), "
        "columns are dimensions of the residual stream. Colours are symmetric about 0 and scaled "
        "to each variant. Triangles mark key frequencies. One training seed of each variant. Few "
        "coloured rows mean that the embedding uses few frequencies.",
    ),
    Figure(
        "key_inner_products",
        "embedding",
        ("spectra", "spectra_arrays"),
        "Angles between the key components of W_E",
        "Cosine of the angle between each two of the rows of W_E in the Fourier basis that belong "
        "to key frequencies, cosine before sine. One training seed of each variant. Only the "
        "diagonal is coloured if every key component has a direction of its own; other colours "
        "show components that share directions.",
    ),
    Figure(
        "constructive_interference",
        "interference",
        ("spectra",),
        "Constructive interference of the key frequencies",
        "Cosines of the key frequencies (thin) and their mean (thick) as functions of a + b - c, "
        "where c is the answer; dashed: the mean weighted by the size of each frequency in the "
        "logits. One training seed of each variant. The margin is the distance from the peak at 0, "
        "the right answer, to the next highest value: a network that computes with these "
        "frequencies can tell answers apart only as well as that.",
    ),
    Figure(
        "principal_directions",
        "singular",
        ("spectra_arrays",),
        "Principal directions of the embedding over the residues",
        "First left singular vectors of W_E (nothing centred) as functions of the residue; above "
        "each, its strongest frequency and that frequency's share of the vector's power. One "
        "training seed of each variant. A Fourier embedding has directions that are waves; two "
        "frequencies of equal strength may mix within a direction.",
    ),
    Figure(
        "singular_values",
        "singular",
        ("spectra",),
        "Singular values of W_E, W_L and attention",
        "Singular values over their rank, divided by the Frobenius norm of the matrix (attention: "
        'that from "=" to a in the first head, over a and b): trained '
        "(solid, in the variant's colour), trained with quantised weights as the forward pass uses "
        "them (dashed), untrained (grey, dashed) and Gaussian matrices of equal norm (grey, "
        "dotted). Lines: means over training seeds; bands: 95 % intervals (Student's t), left out "
        "for quantised weights. The effective rank is that of the trained latent weights. A steep "
        "fall below both controls means that the matrix uses few dimensions.",
    ),
    Figure(
        "neurons_explained",
        "neurons",
        ("spectra",),
        "Share of each neuron explained by one frequency",
        "For every variant, the share of each neuron's variance over all pairs that its best "
        "single frequency explains, neurons sorted from best to worst. Thick line and band: mean "
        "over training seeds with 95 % interval (Student's t); thin lines: seeds; grey: untrained "
        "networks. Above each panel: the share of neurons above the threshold (dotted), mean and "
        "95 % interval. A network of single-frequency neurons has a high plateau; neurons that "
        "never fire count as unexplained.",
    ),
    Figure(
        "neuron_activations",
        "neurons",
        ("spectra_arrays",),
        "The first neurons over all pairs",
        "Activation of the first neurons of the MLP (not chosen by what they show) at the '=' "
        "token for every pair: a upwards, b to the right, each divided by its largest value, which "
        "stands above it. One training seed of each variant. Neurons of a Fourier algorithm are "
        "regular lattices of a single period.",
    ),
    Figure(
        "neuron_spectra",
        "neurons",
        ("spectra_arrays",),
        "Two-dimensional spectra of the same neurons",
        "Norm of the same neurons at each pair of frequencies in a (upwards) and in b (to the "
        "right), without the constant, divided by the largest. Above each: the best single "
        "frequency and its share of the variance. A neuron of one frequency k has power only at "
        "(k, 0), (0, k) and (k, k).",
    ),
    Figure(
        "attention",
        "attention",
        ("spectra_arrays",),
        "Attention from '=' to a",
        "Share of the attention of each head that goes from the '=' token to a, for every pair: a "
        "upwards, b to the right. One training seed of each variant. The scale is the same "
        "everywhere, from 0 to 1. Regular stripes mean that attention is periodic in a and b; a "
        "flat map means that the head attends regardless of them.",
    ),
    Figure(
        "probes",
        "probes",
        ("probes", "spectra"),
        "What linear probes read at each site",
        "Scores on held-out pairs of linear probes fitted on train pairs. Top: accuracy for a, b "
        "and their sum. Middle: selectivity, which is accuracy minus that of the same probe on "
        "shuffled labels. Bottom: R² for cosines and sines of the sum, the mean over key and over "
        "other frequencies; scores far below 0 are left out of the picture. Filled: trained "
        "networks; open: untrained networks; crosses: trained networks, shuffled labels; dotted: "
        "chance. A dot is a training seed, a bar their mean with its 95 % interval (Student's t), "
        "cut where values become impossible. The sum is computed where its score exceeds that of "
        "the untrained network. Networks that cannot tell a from b read each of them in one case "
        "out of two.",
    ),
    Figure(
        "bit_flips",
        "training",
        ("curves",),
        "Signs that flip in each step",
        "Share of each matrix's weights whose sign changes in one update, over the training step "
        "(both logarithmic), averaged over stretches of training of equal length on the axis. "
        "Latent weights for quantised networks, the weights themselves for full precision. Thick "
        "lines and bands: mean over training seeds with 95 % interval (Student's t), cut at the "
        "range of the measured values; thin lines: seeds. Lines end where no sign flips. Rates "
        "that stay high late in training mean that quantised weights do not settle.",
    ),
)
TABLES: tuple[Table, ...] = (
    Table(
        "training",
        ("curves",),
        "When the networks generalise",
        "For each variant: replicates (n), how many of them generalised, and the epoch from which "
        "test accuracy stays at 99 % or above for two evaluations in a row (or for as many as an "
        "early stop asks for): the median, from the earliest to the latest replicate. A replicate "
        "that never gets there counts as later than all others (inf). Final losses and accuracy "
        "are medians over the last tenth of training, because late curves are spiky. Losses: "
        "geometric mean over replicates, accuracy: mean, each with its 95 % interval (Student's "
        "t).",
    ),
    Table(
        "spectra",
        ("spectra",),
        "Key frequencies and what they explain",
        "Number of key frequencies, by the configured rule; share of the neurons of which one "
        "frequency explains more than the configured share of the variance; share of the logits' "
        "variance in the key frequencies; Gini coefficients of the Fourier norms of W_E and W_L, "
        "the latter for latent and for quantised weights. Means over replicates with 95 % "
        "intervals (Student's t). Last column: the key frequencies of each replicate.",
    ),
    Table(
        "effective_ranks",
        ("spectra",),
        "Effective rank of W_E and W_L",
        "Trained networks (latent and quantised weights) beside a Gaussian matrix of equal norm "
        "and the untrained network. Means over replicates with 95 % intervals (Student's t).",
    ),
    Table(
        "comparison",
        ("curves", "spectra", "progress", "interventions"),
        "Quantised against full-precision networks",
        "Variants that differ from the full-precision one in nothing but the precision of their "
        "weights: difference of means with Welch's 95 % interval, Cliff's delta, and the p value "
        "of a Mann-Whitney test, corrected by Holm's method over the variants compared by one "
        "quantity, not over quantities. Empty where a replicate never reaches 99 % test accuracy. "
        "Five against five replicates cannot give a p value below 0.008.",
    ),
)

STUDY = Study(
    name="modular_addition",
    title="Binarised modular addition",
    config=ModularAddition,
    variant_config=Variant,
    stages=STAGES,
    figures=FIGURES,
    tables=TABLES,
    claim_reads=("dataset", "curves", "spectra", "progress", "interventions"),
)
