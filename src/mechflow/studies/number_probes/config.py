"""Configuration of the number probes study."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from mechflow.config.base import Section
from mechflow.config.language_models import LanguageModelUse
from mechflow.config.sections import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Switch,
)
from mechflow.config.study import StudyBlock, VariantName

Basis = Literal[
    "sinusoidal",
    "random_fourier",
    "random_code",
    "digits",
    "binary",
    "sinusoidal_narrow",
    "random_fourier_narrow",
    "random_code_narrow",
]
"""A code for the numbers; narrow ones are as wide as the binary code, `binary` and `digits` have
their own width, all others are as wide as the model's residual stream."""
Control = Literal["shuffled_values", "shuffled_labels", "gaussian"]
Template = Annotated[
    str,
    Field(
        pattern=r"^[^{}]*\{a\}[^{}]*\{b\}[^{}]*$",
        json_schema_extra={"$comment": "text with {a} and then {b} in it, and no other braces"},
    ),
]


class Prompts(Section):
    """The sums that the model reads, and the number that probes look for."""

    template: Template = "{a} + {b}"
    """The prompt, with {a} and {b} for the operands."""
    label: Literal["a", "b", "sum"] = "b"
    """The number that probes look for."""
    limit: Annotated[int, Field(ge=10, strict=True)] = 1000
    """Operands are all pairs of whole numbers with a sum below this."""
    sample: PositiveInt | None = 20000
    """How many of the pairs; null takes all."""
    sampling: Literal["balanced", "uniform"] = "balanced"
    """balanced: each number is the label equally often, as far as there are pairs. uniform: every
    pair is as likely as any other, so small operands are commoner, as published."""


class Extraction(Section):
    """How the hidden states are read."""

    position: Literal["a", "b", "last"] = "b"
    """The last token of an operand, or of the prompt."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Number format of the forward pass and of the stored states."""
    shard_prompts: PositiveInt = 2048
    """Prompts in one file; an interrupted extraction goes on after the last whole file."""
    check_prompts: NonNegativeInt = 128
    """Prompts that are computed again in float32, to measure the error of the number format."""


class Folds(Section):
    """How the numbers, not the prompts, are divided."""

    split: Literal["folds", "published"] = "folds"
    """folds: every number is a test number in exactly one of equal folds. published: one split by
    independent draws, 90 % train, 5 % valid, 5 % test."""
    folds: Annotated[int, Field(ge=2, strict=True)] = 5
    """Equal folds of the numbers."""
    fitted: PositiveInt | None = None
    """Folds for which probes are fitted, the first ones; null fits all of them."""
    valid_share: Annotated[float, Field(gt=0.0, lt=0.5, strict=True)] = 0.05
    """Share of all numbers that chooses the checkpoint, out of those not in the test fold."""


class Readout(Section):
    """Probes with a code for the numbers, trained by gradient descent."""

    bases: Annotated[tuple[Basis, ...], Field(min_length=1)] = (
        "sinusoidal",
        "random_fourier",
        "random_code",
        "digits",
        "binary",
    )
    """Codes for the numbers."""
    controls: tuple[Control, ...] = ("shuffled_values", "shuffled_labels", "gaussian")
    """What the scores are set against."""
    controlled_bases: tuple[Basis, ...] = ("sinusoidal", "digits")
    """Bases whose probes are trained on the controls too."""
    control_folds: PositiveInt = 1
    """Folds, the first ones, for which the controls are trained: most score next to nothing, and
    differ little between folds."""
    hidden_dim: PositiveInt = 100
    """Width between the two maps of a probe."""
    steps: PositiveInt = 200
    """Updates at most."""
    batch_size: PositiveInt = 256
    """Prompts in each update, drawn with replacement."""
    lr: PositiveFloat = 1e-2
    """Learning rate of Adam."""
    decay: Literal["none", "linear", "cosine"] = "linear"
    """How the learning rate falls to zero by the last update."""
    l1: NonNegativeFloat = 3e-3
    """Weight of the sum of absolute parameters in the loss."""
    standardise: Literal["none", "scale", "whiten"] = "whiten"
    """What is done to the states of a layer for training, and taken back in the probe that is kept.
    Norms grow with depth, so unstandardised states give one learning rate another meaning at every
    layer. scale: centre and divide by one number. whiten: equal variance in all directions."""
    eval_every: PositiveInt = 50
    """Updates between evaluations on valid prompts."""
    valid_prompts: PositiveInt = 512
    """Valid prompts evaluated, at most."""
    patience: NonNegativeInt = 0
    """Evaluations without a better valid accuracy after which a probe stops; 0 never stops."""
    softmax: Literal["train", "train_valid"] = "train"
    """Numbers that the training softmax chooses among. train_valid: as published, valid numbers
    stay in as answers that are never right."""
    restore: Literal["best", "last"] = "best"
    """The weights that are tested. last: what the published code restores, since it keeps a
    reference to the weights and no copy."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Number format of the matrix products; weights and moments are float32 always."""


class LeastSquares(Section):
    """Linear, logarithmic and digit probes, by ridge regression."""

    controls: tuple[Control, ...] = ("shuffled_values", "shuffled_labels", "gaussian")
    """What the scores are set against."""
    published_inverse: Switch = True
    """Score the log probe also with the published inverse exp(x) + 1 of log(1 + n)."""


class Geometry(Section):
    """Mean states over the number line."""

    periods: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (2, 5, 10, 100, 1000)
    """Periods whose power is measured; each must divide the number of numbers."""
    permutations: PositiveInt = 20
    """Random orders of the numbers that the power is set against."""
    jackknife_groups: Annotated[int, Field(ge=2, strict=True)] = 10
    """Groups of prompts, each left out once, for the intervals."""
    components: PositiveInt = 6
    """Principal components kept for the figures."""


class ReadoutSpectra(Section):
    """Singular values of the trained probes."""

    bases: Annotated[tuple[Basis, ...], Field(min_length=1)] = ("sinusoidal", "digits")
    """Out of readout.bases."""
    singular_functions: PositiveInt = 6
    """Leading functions of the number kept for the figures."""


class Behaviour(Section):
    """The model's own answers."""

    prompts: NonNegativeInt = 0
    """Prompts that the model is let to complete; 0 asks nothing."""
    max_new_tokens: PositiveInt = 5
    """Tokens of an answer, at most."""


class Interchange(Section):
    """One prompt's operand put into another prompt's run."""

    pairs: NonNegativeInt = 0
    """Pairs of prompts; 0 leaves the check out."""
    operand_digits: Annotated[int, Field(ge=1, le=2, strict=True)] = 2
    """Digits of all operands in these pairs, so that their prompts are equally long. Models that
    add badly add small numbers best, and only what a model does can be changed."""
    tokens: Annotated[tuple[Literal["last", "operand"], ...], Field(min_length=1)] = (
        "last",
        "operand",
    )
    """What is replaced: the operand's last token, or all of its tokens."""
    basis: Basis = "digits"
    """The probes that are asked which number they read; out of readout.bases."""


class Variant(Section):
    """One variant of the study: everything its stages use."""

    model: LanguageModelUse = LanguageModelUse()
    """The language model."""
    prompts: Prompts = Prompts()
    """The prompts and the label."""
    extraction: Extraction = Extraction()
    """Reading the hidden states."""
    folds: Folds = Folds()
    """Held-out numbers."""
    readout: Readout = Readout()
    """Trained probes."""
    probe: LeastSquares = LeastSquares()
    """Least-squares probes."""
    geometry: Geometry = Geometry()
    """Where the mean states of the numbers lie."""
    spectra: ReadoutSpectra = ReadoutSpectra()
    """What trained probes are made of."""
    behaviour: Behaviour = Behaviour()
    """Asking the model itself."""
    interventions: Interchange = Interchange()
    """Causal checks."""

    @model_validator(mode="after")
    def _bases_are_trained(self) -> "Variant":
        wanted = [
            *(("spectra.bases", name) for name in self.spectra.bases),
            *(("readout.controlled_bases", name) for name in self.readout.controlled_bases),
        ]
        if self.interventions.pairs:
            wanted.append(("interventions.basis", self.interventions.basis))
        for key, name in wanted:
            if name not in self.readout.bases:
                raise PydanticCustomError(
                    "conflict",
                    "not among readout.bases: {bases}",
                    {"key": key, "value": name, "bases": ", ".join(self.readout.bases)},
                )
        return self

    @model_validator(mode="after")
    def _periods_divide_the_numbers(self) -> "Variant":
        for index, period in enumerate(self.geometry.periods):
            if self.prompts.limit % period or period < 2:
                raise PydanticCustomError(
                    "conflict",
                    "a period must divide prompts.limit ({limit}) and be 2 at least",
                    {"key": f"geometry.periods.{index}", "value": period}
                    | {"limit": self.prompts.limit},
                )
        return self

    @model_validator(mode="after")
    def _every_split_has_numbers(self) -> "Variant":
        limit, folds = self.prompts.limit, self.folds
        untested = limit * (folds.folds - 1) // folds.folds
        if folds.split == "folds" and not 0 < round(folds.valid_share * limit) < untested:
            raise PydanticCustomError(
                "conflict",
                "of {untested} numbers outside a test fold, some must be valid and some train",
                {"key": "folds.valid_share", "value": folds.valid_share, "untested": untested},
            )
        if folds.split == "folds" and folds.folds > limit:
            raise PydanticCustomError(
                "conflict",
                "more folds than numbers; prompts.limit is {limit}",
                {"key": "folds.folds", "value": folds.folds, "limit": limit},
            )
        return self

    @model_validator(mode="after")
    def _there_are_pairs(self) -> "Variant":
        smallest = 10 ** (self.interventions.operand_digits - 1)
        least = 2 * smallest + 2
        if self.interventions.pairs and self.prompts.limit < least:
            raise PydanticCustomError(
                "conflict",
                "there are no two sums of such numbers below prompts.limit ({limit}), which must "
                "be {least} at least",
                {"key": "interventions.operand_digits", "value": self.interventions.operand_digits}
                | {"limit": self.prompts.limit, "least": least},
            )
        return self

    @model_validator(mode="after")
    def _label_stands_before_the_position(self) -> "Variant":
        label, position = self.prompts.label, self.extraction.position
        if position == "a" and label != "a":
            raise PydanticCustomError(
                "conflict",
                "here the model has read a only, and prompts.label is {label}; allowed: b, last",
                {"key": "extraction.position", "value": position, "label": label},
            )
        return self


class Figures(Section):
    """What the study's figures compare and show."""

    main: VariantName = "operand"
    """The variant whose probes, spectra and failures are drawn."""
    untrained: VariantName | None = "random_model"
    """The same with random weights, drawn as its control; null for none."""
    sums: VariantName | None = "sum"
    """The variant that looks for the sum; null for none."""
    causal: VariantName | None = "in_context"
    """The variant with interchange interventions; null for none."""
    layer: NonNegativeInt | None = None
    """Layer of the pictures that show a single one; null takes the one where most is read."""


class NumberProbes(StudyBlock):
    """The study's block in the configuration."""

    defaults: Variant = Variant()
    """Values that all variants share."""
    figures: Figures = Figures()
    """What figures compare and show."""

    @model_validator(mode="after")
    def _shown_variants_run(self) -> "NumberProbes":
        for key in ("main", "untrained", "sums", "causal"):
            name = getattr(self.figures, key)
            if name is not None and name not in self.run:
                raise PydanticCustomError(
                    "conflict",
                    "not among the variants to run: {run}",
                    {"key": f"figures.{key}", "value": name, "run": ", ".join(self.run)},
                )
        return self
