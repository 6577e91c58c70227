"""Configuration of the modular addition study."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from mechflow.config.base import Section
from mechflow.config.sections import (
    RIDGE_PENALTIES,
    Fraction,
    NonNegativeInt,
    Penalties,
    PositiveInt,
    Training,
    Transformer,
)
from mechflow.config.study import ShownReplicate, TrainedStudyBlock, VariantName


class Dataset(Section):
    """All pairs (a, b) of residues, their labels, and the split."""

    p: Annotated[int, Field(gt=2, strict=True)] = 113
    """The modulus; inputs are the p squared ordered pairs."""
    task: Literal["add", "subtract", "quadratic", "random_labels"] = "add"
    """a + b, a - b, a^2 + ab + b^2 (all mod p), or a label drawn at random for each pair."""
    train_fraction: Fraction = 0.3
    """Share of the pairs in the train split."""
    split: Literal["ordered", "unordered"] = "unordered"
    """ordered: (a, b) and (b, a) fall apart at random, as published. unordered: they stay on the
    same side, so that no test pair is the mirror image of a train pair."""
    split_seed: NonNegativeInt | None = None
    """Draw the same split for all replicates from this seed, as torch.randperm did in the
    notebook; null gives each replicate its own split."""

    @model_validator(mode="after")
    def _both_splits_hold_examples(self) -> "Dataset":
        units = self.p**2 if self.split == "ordered" else self.p * (self.p + 1) // 2
        if not 1 <= self.train_fraction * units <= units - 1:
            raise PydanticCustomError(
                "conflict",
                "one split would be empty: p {p} gives {units} {split} pairs to divide",
                {
                    "key": "train_fraction",
                    "value": self.train_fraction,
                    "p": self.p,
                    "units": units,
                    "split": self.split,
                },
            )
        return self


class Activations(Section):
    """What is read from the models at the "=" position."""

    sites: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "blocks.0.hook_resid_pre",
        "blocks.0.attn.hook_z",
        "blocks.0.hook_resid_mid",
        "blocks.0.mlp.hook_pre",
        "blocks.0.mlp.hook_post",
        "blocks.0.hook_resid_post",
        "hook_logits",
    )
    """TransformerLens hook names."""


class Probe(Section):
    """Linear probes with their controls."""

    sites: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "blocks.0.hook_resid_mid",
        "blocks.0.mlp.hook_post",
        "blocks.0.hook_resid_post",
    )
    """Hook names, out of activations.sites."""
    classifier: Literal["ridge", "logistic"] = "ridge"
    """How a, b and the sum are read: least squares on one-hot targets, or logistic regression."""
    penalties: Penalties = RIDGE_PENALTIES
    """Ridge penalties relative to the mean variance of the features, chosen on train data."""


class KeyFrequencies(Section):
    """The rule by which a frequency counts as key."""

    rule: Literal["norm_ratio", "power_share", "neuron_clusters"] = "norm_ratio"
    """norm_ratio: norm of the matrix's component above a ratio of the largest. power_share: the
    smallest set that holds a share of its power. neuron_clusters: enough neurons belong to the
    frequency."""
    matrix: Literal["W_E", "W_L"] = "W_L"
    """For norm_ratio and power_share: the embedding, or the neuron-logit map W_L = W_U W_out as the
    forward pass uses it, whose spectrum is the cleaner one when weights are quantised."""
    norm_ratio: Fraction = 0.25
    """For norm_ratio: the ratio."""
    power_share: Fraction = 0.9
    """For power_share: the share."""
    neuron_fraction: Fraction = 0.85
    """A neuron belongs to a frequency that explains more than this share of its variance."""
    min_neurons: PositiveInt = 2
    """For neuron_clusters: the number of neurons."""


class Spectra(Section):
    """Fourier and singular value analysis of weights, neurons and logits."""

    key_frequencies: KeyFrequencies = KeyFrequencies()
    """How key frequencies are chosen, for the final weights."""
    example_neurons: PositiveInt = 6
    """Neurons kept whole, as functions of (a, b), for the figures."""
    principal_directions: PositiveInt = 6
    """Left singular vectors of W_E kept for the figures."""


class Progress(Section):
    """Progress measures on every checkpoint."""

    definitions: Annotated[
        tuple[Literal["sum_directions", "block_2x2"], ...], Field(min_length=1)
    ] = ("sum_directions", "block_2x2")
    """Which directions of a frequency are kept: cos and sin of w(a+b), or all four products."""
    random_draws: NonNegativeInt = 20
    """Random frequency sets of equal size, as control."""


class Interventions(Section):
    """Causal checks on the final weights."""

    random_draws: PositiveInt = 20
    """Random frequency sets of equal size that each ablation is set against."""
    neuron_ablation: Literal["mean", "zero"] = "mean"
    """What replaces the activation of an ablated neuron cluster."""


class Variant(Section):
    """One variant of the study: everything its stages use."""

    dataset: Dataset = Dataset()
    """The task and the split."""
    model: Transformer = Transformer()
    """The architecture."""
    training: Training = Training()
    """The optimisation."""
    activations: Activations = Activations()
    """What is read from the models."""
    probe: Probe = Probe()
    """Linear probes."""
    spectra: Spectra = Spectra()
    """Fourier and singular value analysis."""
    progress: Progress = Progress()
    """Progress measures."""
    interventions: Interventions = Interventions()
    """Causal checks."""

    @model_validator(mode="after")
    def _sites_exist(self) -> "Variant":
        layer = ["hook_resid_pre", "attn.hook_pattern", "attn.hook_z"]
        if self.model.d_mlp:
            layer += ["hook_resid_mid", "mlp.hook_pre", "mlp.hook_post"]
        layer += ["hook_resid_post"]
        sites = [f"blocks.{i}.{hook}" for i in range(self.model.n_layers) for hook in layer]
        sites.append("hook_logits")
        for index, site in enumerate(self.activations.sites):
            if site not in sites:
                raise PydanticCustomError(
                    "conflict",
                    "no such site in a model of {n_layers} layer(s) with d_mlp {d_mlp}; "
                    "allowed: {sites}",
                    {
                        "key": f"activations.sites.{index}",
                        "value": site,
                        "n_layers": self.model.n_layers,
                        "d_mlp": self.model.d_mlp,
                        "sites": ", ".join(sites),
                    },
                )
        return self

    @model_validator(mode="after")
    def _probed_sites_are_read(self) -> "Variant":
        vectors = [site for site in self.activations.sites if not site.endswith("hook_pattern")]
        for index, site in enumerate(self.probe.sites):
            if site not in vectors:
                raise PydanticCustomError(
                    "conflict",
                    "not a vector among activations.sites; allowed: {sites}",
                    {
                        "key": f"probe.sites.{index}",
                        "value": site,
                        "sites": ", ".join(vectors),
                    },
                )
        return self

    @model_validator(mode="after")
    def _enough_directions_and_neurons(self) -> "Variant":
        for key, value, limit, reason in (
            (
                "principal_directions",
                self.spectra.principal_directions,
                min(self.model.d_model, self.dataset.p),
                "the smaller of d_model and p",
            ),
            ("example_neurons", self.spectra.example_neurons, self.model.d_mlp, "d_mlp"),
            (
                "key_frequencies.min_neurons",
                self.spectra.key_frequencies.min_neurons,
                self.model.d_mlp,
                "d_mlp",
            ),
        ):
            if limit and value > limit:
                raise PydanticCustomError(
                    "conflict",
                    "at most {limit} ({reason})",
                    {
                        "key": f"spectra.{key}",
                        "value": value,
                        "limit": limit,
                        "reason": reason,
                    },
                )
        return self


class Figures(ShownReplicate):
    """What the study's figures compare and show."""

    compare: Annotated[tuple[VariantName, ...], Field(min_length=1)] = ("full", "binary", "ternary")
    """Variants of one matched architecture, set side by side."""


class ModularAddition(TrainedStudyBlock):
    """The study's block in the configuration."""

    defaults: Variant = Variant()
    """Values that all variants share."""
    figures: Figures = Figures()
    """What figures compare and show."""

    @model_validator(mode="after")
    def _compared_variants_exist(self) -> "ModularAddition":
        for index, name in enumerate(self.figures.compare):
            if name not in self.variants:
                raise PydanticCustomError(
                    "conflict",
                    "unknown variant; known variants: {known}",
                    {
                        "key": f"figures.compare.{index}",
                        "value": name,
                        "known": ", ".join(self.variants),
                    },
                )
        if not set(self.figures.compare) & set(self.run):
            raise PydanticCustomError(
                "conflict",
                "none of these variants is run; run: {run}",
                {
                    "key": "figures.compare",
                    "value": list(self.figures.compare),
                    "run": ", ".join(self.run),
                },
            )
        return self
