"""Configuration of the phase changes study."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from mechflow.config.base import Section
from mechflow.config.sections import (
    RIDGE_PENALTIES,
    Fraction,
    Penalties,
    PositiveInt,
    Training,
    Transformer,
)
from mechflow.config.study import ShownReplicate, TrainedStudyBlock

AtLeastTwo = Annotated[int, Field(ge=2, strict=True)]


class Addition(Section):
    """Addition of two numbers, written out digit by digit."""

    n_digits: Annotated[int, Field(ge=2, le=15, strict=True)] = 5
    """Digits of each number, leading zeros included; the answer has one more."""


class SkipTrigram(Section):
    """One trigger among noise, and a query at the end that asks which it was."""

    n_triggers: AtLeastTwo = 10
    """Number of triggers, and of noise tokens."""
    seq_len: PositiveInt = 40
    """Positions of noise, one of which holds the trigger; start and query come on top."""


class Induction(Section):
    """Random tokens in which one subsequence comes back."""

    seq_len: AtLeastTwo = 85
    """Tokens of a sequence, the start token included."""
    subseq_len: AtLeastTwo = 16
    """Tokens of the subsequence."""
    repeats: AtLeastTwo = 3
    """Copies of the subsequence, the first included; each lies in its share of the sequence."""
    d_vocab: Annotated[int, Field(ge=3, strict=True)] = 128
    """Number of tokens, the start token included."""

    @model_validator(mode="after")
    def _copies_fit(self) -> "Induction":
        interval = (self.seq_len - 1) // self.repeats
        if self.subseq_len > interval:
            raise PydanticCustomError(
                "conflict",
                "at most {interval}: {repeats} copies share {room} positions",
                {
                    "key": "subseq_len",
                    "value": self.subseq_len,
                    "interval": interval,
                    "repeats": self.repeats,
                    "room": self.seq_len - 1,
                },
            )
        return self


class Data(Section):
    """The task, and how much is held out for tests."""

    task: Literal["addition", "skip_trigram", "induction"] = "addition"
    """Which of the three tasks; the section of its name describes it, the others are not used."""
    addition: Addition = Addition()
    """Addition of numbers."""
    skip_trigram: SkipTrigram = SkipTrigram()
    """Skip trigrams."""
    induction: Induction = Induction()
    """Repeated subsequences."""
    test_examples: PositiveInt = 512
    """Sequences of each test set; addition has further ones by carries."""


class Finite(Section):
    """A train set of so many examples, disjoint from the test sets, seen again and again."""

    examples: PositiveInt
    """Sequences of the train set."""


class StreamTraining(Training):
    """AdamW on batches: fresh ones for ever, or those of a finite train set."""

    steps: PositiveInt = 3000
    """Optimiser updates."""
    weight_decay: Annotated[float, Field(ge=0.0, strict=True)] = 0.1
    """Decoupled weight decay (AdamW)."""
    batch_size: PositiveInt | None = 64
    """Sequences of a batch. With a finite train set batches go through it in a new order each
    time, and null takes all of it for every update."""
    loss_factor: Literal["mean", "published"] = "mean"
    """mean: the loss is the mean over answers. published: that times S / (S - 1) for sequences of
    S tokens, which is what the induction notebook's masked mean comes to."""
    eval_every: PositiveInt = 10
    """Steps between measurements of loss and accuracy on both splits."""
    checkpoint_spacing: Literal["log", "linear"] = "linear"
    """How the kept weights are spread over the steps."""


class Probe(Section):
    """Linear probes at every layer and position that is read."""

    examples: Annotated[int, Field(ge=10, strict=True)] = 1500
    """Fresh sequences that probes are fitted to and tested on."""
    train_fraction: Fraction = 0.7
    """Share of them that probes are fitted to."""
    penalties: Penalties = RIDGE_PENALTIES
    """Ridge penalties relative to the mean variance of the features, chosen on train data."""


class Spectra(Section):
    """Singular values of the heads' circuits, and the Fourier spectra of digits."""

    examples: AtLeastTwo = 32
    """For addition: sums that each pair of digits is averaged over to see what neurons do."""


class Progress(Section):
    """Scores of circuits at checkpoints."""

    checkpoints: AtLeastTwo | None = None
    """At most so many of the kept checkpoints, evenly spread; null takes all."""
    examples: PositiveInt = 256
    """Sequences out of the test set that attention is scored on."""
    random_draws: PositiveInt = 20
    """Random heads that composition scores are set against."""


class Interventions(Section):
    """Heads ablated at checkpoints."""

    checkpoints: AtLeastTwo | None = 12
    """At most so many of the kept checkpoints, evenly spread; null takes all."""
    examples: PositiveInt = 256
    """Sequences out of the test set."""
    ablation: Literal["zero", "mean"] = "mean"
    """What takes the place of a head's output: nothing, or its mean over the sequences."""


class Variant(Section):
    """One variant of the study: everything its stages use."""

    data: Data = Data()
    """The task."""
    finite: Finite | None = None
    """The finite train set; null trains on infinite data."""
    model: Transformer = Transformer()
    """The architecture."""
    training: StreamTraining = StreamTraining()
    """The optimisation."""
    probe: Probe = Probe()
    """Linear probes."""
    spectra: Spectra = Spectra()
    """Singular values and Fourier spectra."""
    progress: Progress = Progress()
    """Scores of circuits."""
    interventions: Interventions = Interventions()
    """Ablations."""

    @model_validator(mode="after")
    def _batches_come_from_somewhere(self) -> "Variant":
        size = self.training.batch_size
        if size is None and self.finite is None:
            raise PydanticCustomError(
                "conflict",
                "infinite data come in batches: give a number, or a finite train set",
                {"key": "training.batch_size", "value": None},
            )
        if size is not None and self.finite is not None and size > self.finite.examples:
            raise PydanticCustomError(
                "conflict",
                "at most finite.examples ({examples}); null takes all of them",
                {
                    "key": "training.batch_size",
                    "value": size,
                    "examples": self.finite.examples,
                },
            )
        return self

    @model_validator(mode="after")
    def _train_set_leaves_sums_to_test(self) -> "Variant":
        sums = 100**self.data.addition.n_digits
        finite = self.finite if self.data.task == "addition" else None
        if finite is not None and 2 * finite.examples > sums:
            raise PydanticCustomError(
                "conflict",
                "at most {most}, half of the {sums} sums of so many digits",
                {
                    "key": "finite.examples",
                    "value": finite.examples,
                    "most": sums // 2,
                    "sums": sums,
                },
            )
        return self

    @model_validator(mode="after")
    def _models_see_only_the_past(self) -> "Variant":
        if not self.model.causal:
            raise PydanticCustomError(
                "conflict",
                "the answers are part of the sequences, so attention must be causal",
                {"key": "model.causal", "value": False},
            )
        return self


class Figures(ShownReplicate):
    """What the study's figures show."""


class PhaseChanges(TrainedStudyBlock):
    """The study's block in the configuration."""

    defaults: Variant = Variant()
    """Values that all variants share."""
    figures: Figures = Figures()
    """What figures show."""
