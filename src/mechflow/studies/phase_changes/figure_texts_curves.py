"""Declarations of the figures and tables of losses: titles, captions and what they read."""

from mechflow.studies.declaration import Figure, Table

_REFERENCES = (
    "Dotted: the loss of holding all possible answers for equally likely (uniform), of the best "
    "answer that ignores the sequence (blind), and of the best answer (optimal; at 0 it is not on "
    "a logarithmic scale). "
)
_BANDS = (
    "Thick lines and bands: geometric mean over training seeds with 95 % interval (Student's t of "
    "the logarithms); thin lines: seeds. "
)

FIGURES: tuple[Figure, ...] = (
    Figure(
        "infinite_data",
        "curves",
        ("curves", "progress"),
        "Loss on infinite data",
        "Loss against the step, in nats, linear above and logarithmic below, for networks that see "
        "fresh sequences in every update. "
        + _BANDS
        + "Thin, black and dashed: the mean loss on the batch of the update, which differs from "
        "the test loss by noise alone. "
        + _REFERENCES
        + "A capability that appears at once shows as a plateau that ends in a steep fall, on both "
        "scales. A one-layer network cannot look for what followed an earlier token: on the "
        "induction task it only narrows the answer down to tokens that have occurred, and must "
        "stay on a plateau far above the optimum.",
    ),
    Figure(
        "finite_data",
        "curves",
        ("curves", "progress"),
        "Loss on finite train sets",
        "Loss against the step, in nats, linear above and logarithmic below, for networks that see "
        "the same train set again and again. Solid: test sequences, none of which is in the train "
        "set; dashed: the train set. "
        + _BANDS
        + _REFERENCES
        + "Between the panels: how many seeds learn each set, that is, reach an accuracy of 90 % "
        "in three evaluations in a row, and the median delay. A test loss that rises while the "
        "train loss falls means that sequences are memorised; if it falls later, the network "
        "groks.",
    ),
    Figure(
        "digits",
        "groups",
        ("curves", "progress"),
        "Loss of each digit of a sum",
        "Test loss of each digit of the answer against the step, in nats, linear above and "
        "logarithmic below; digits are named by their power of ten, the highest one being a carry "
        "alone. "
        + _BANDS
        + "Dotted: the loss of the best answer that ignores the summands, which is lower for the "
        "highest digit. Each digit has a plateau and a fall of its own, so that the sum of "
        "several sharp changes looks gradual in the mean loss.",
    ),
    Figure(
        "triggers",
        "groups",
        ("curves", "progress"),
        "Loss of each skip trigram",
        "Test loss of the sequences with each trigger against the step, in nats, linear above and "
        "logarithmic below. Lines: geometric mean over training seeds; where there are few "
        "triggers, with a 95 % band (Student's t of the logarithms) and thin lines of single "
        "seeds. Dotted: the loss of the best answer that ignores the sequence. Lines that fall "
        "together mean that all triggers are learnt in one phase change, lines that fall one by "
        "one that each is a change of its own.",
    ),
    Figure(
        "copies",
        "groups",
        ("curves", "progress"),
        "Loss in each copy of a subsequence",
        "Test loss in each later copy of the repeated subsequence against the step, in nats, "
        "linear above and logarithmic below. "
        + _BANDS
        + "Dotted: the loss of the best answer that ignores the sequence. From the second copy on "
        "there are several earlier ones to look at, so that its loss can be lower.",
    ),
    Figure(
        "phase_times",
        "phase_times",
        ("curves", "progress"),
        "When the loss falls, and how sharply",
        "The phase change of every network on infinite data, for the whole test loss and for each "
        "group of answers. A line is a training seed: it goes from the step at which 75 % of the "
        "drop remain to that at which 25 % remain; the dot is where log loss falls most steeply "
        "in between. The drop is that from the best answer that ignores the sequence to the end "
        "of training; it counts if it is at least half of the way to the best answer. Diamond: "
        "mean of the steepest steps with 95 % interval (Student's t), if the loss falls in all "
        "seeds; else the number of seeds in which it does. Short lines mean a sharp change; "
        "groups at different steps mean several changes.",
    ),
    Figure(
        "grokking",
        "grokking",
        ("curves",),
        "When finite train sets are learnt, and the test set",
        "For each network with a finite train set, the step from which its accuracy on the train "
        "set (open) and on the test set (filled) stays at 90 % or above for three evaluations in a "
        "row. A triangle behind the dotted end of training means that this never happens. Long "
        "lines are grokking: the train set is known long before the test set. Above the panels: "
        "how many networks learn the test set, and the median delay, in which a network that "
        "never does comes last.",
    ),
)

TABLES: tuple[Table, ...] = (
    Table(
        "phase_times",
        ("curves", "progress"),
        "When the loss falls, and how sharply",
        "Phase change of the test loss, for all answers and for each group: number of replicates "
        "(n) and of those in which the loss falls at least half of the way from the best answer "
        "that ignores the sequence to the best answer (changed); step at which log loss falls "
        "most steeply; steps at which 75 %, 50 % and 25 % of the drop remain; width, from the "
        "first to the last of these, and width in units of the middle one. Means over replicates "
        "with 95 % intervals (Student's t), empty where a replicate has no phase change.",
    ),
    Table(
        "final_losses",
        ("curves", "progress"),
        "Losses at the end of training",
        "Loss in nats and accuracy on both splits, medians over the last tenth of training; on "
        "infinite data, train is the batch of the update. Loss: geometric mean over replicates, "
        "accuracy: mean, each with its 95 % interval (Student's t). Beside them the loss of "
        "holding all possible answers for equally likely, of the best answer that ignores the "
        "sequence, and of the best answer.",
    ),
    Table(
        "grokking",
        ("curves",),
        "When finite train sets are learnt, and the test set",
        "Steps from which accuracy stays at 90 % or above for three evaluations in a row, on the "
        "train set and on the test set, and the delay between them: the median, from the earliest "
        "to the latest replicate. A replicate that never gets there counts as later than all "
        "others (inf). A negative delay means that the test set comes first.",
    ),
)
