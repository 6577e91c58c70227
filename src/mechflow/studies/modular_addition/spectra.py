"""Fourier and singular value analysis of the final weights, neurons, logits and attention."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechflow import fourier, svd
from mechflow.config.sections import Transformer
from mechflow.models.factorised import StackedWeights
from mechflow.models.quantise import Precision, quantise
from mechflow.observations import Observations
from mechflow.progress import gini_of_components
from mechflow.seeds import Seeds
from mechflow.studies.modular_addition.config import KeyFrequencies, Spectra
from mechflow.studies.modular_addition.inputs import modulus
from mechflow.training.checkpoints import untrained

QUANTISED_MATRICES = ("attn.W_Q", "attn.W_K", "attn.W_V", "attn.W_O", "mlp.W_in", "mlp.W_out")


def run(
    *,
    dataset: pd.DataFrame,
    weights: StackedWeights,
    checkpoints: StackedWeights,
    activations: dict[str, Tensor],
    model: Transformer,
    spectra: Spectra,
    seeds: Seeds,
    replicates: range,
) -> dict[str, pd.DataFrame | dict[str, Tensor]]:
    """The spectra of one block, as a table and as the arrays that figures draw."""
    p = modulus(dataset)
    rows = Observations(replicates)
    views = [
        View("trained", p, model, weights, activations),
        View("untrained", p, model, untrained(checkpoints), activations),
    ]
    for view in views:
        _weights(rows, view)
        _neurons(rows, view, spectra.key_frequencies.neuron_fraction)
    for name, matrix in views[0].matrices.items():
        draws = [
            svd.gaussian_control(m, seeds.torch(r, f"gaussian control of {name}"))
            for r, m in zip(replicates, matrix, strict=True)
        ]
        _singular_values(rows, "gaussian", "latent", name, torch.stack(draws))
    key = key_frequency_mask(views[0], spectra.key_frequencies)
    _key_frequencies(rows, views[0], key)
    return {"spectra": rows.table(), "spectra_arrays": _arrays(views[0], spectra)}


class Subject(NamedTuple):
    """What a number was measured on: columns of the table."""

    model: str
    weights: str
    matrix: str


@dataclass(frozen=True)
class View:
    """Weights and activations of the trained or the untrained models of a block."""

    name: str
    p: int
    cfg: Transformer
    weights: StackedWeights
    activations: dict[str, Tensor]

    def at(self, site: str) -> Tensor:
        """Activations at a site of the last block, or at the logits."""
        full = site if site == "hook_logits" else f"blocks.{self.cfg.n_layers - 1}.{site}"
        return self.activations[f"{self.name}/{full}"]

    @property
    def W_E(self) -> Float[Tensor, "R p d_model"]:
        """Embeddings of the p residues, without "="."""
        return self.weights["embed.W_E"][:, : self.p]

    @cached_property
    def neuron_fraction(self) -> Float[Tensor, "R n_freq d_mlp"]:
        """Share of each neuron's variance that each frequency explains."""
        return fourier.neuron_fraction_explained(self.at("mlp.hook_post"), self.p)

    @cached_property
    def matrices(self) -> dict[str, Float[Tensor, "R m n"]]:
        """The matrices whose singular values are compared with controls."""
        heads = self.at("attn.hook_pattern")[..., 0].unflatten(1, (self.p, self.p))
        patterns = {f"pattern.h{h}": heads[..., h] for h in range(self.cfg.n_heads)}
        return {"W_E": self.W_E, "W_L": self.neuron_logit_map(self.cfg.precision), **patterns}

    def block_weight(self, name: str, precision: Precision) -> Float[Tensor, "R ..."]:
        """A matrix of the last block, latent (precision full) or as the forward pass uses it."""
        latent = self.weights[f"blocks.{self.cfg.n_layers - 1}.{name}"]
        return quantise(latent, precision, scale=self.cfg.weight_scale, stacked=True)

    def neuron_logit_map(self, precision: Precision) -> Float[Tensor, "R p d_mlp"]:
        """W_L, transposed to residues by neurons: W_out, the final gain if any, and W_U."""
        W_out = self.block_weight("mlp.W_out", precision)
        if "ln_final.w" in self.weights:
            W_out = W_out * self.weights["ln_final.w"][:, None]
        return (W_out @ self.weights["unembed.W_U"]).mT


def key_frequency_mask(view: View, cfg: KeyFrequencies) -> Bool[Tensor, "R n_freq"]:
    """The key frequencies of each replicate, by the configured rule."""
    if cfg.rule == "neuron_clusters":
        clusters = fourier.neuron_clusters(view.neuron_fraction, cfg.neuron_fraction)
        evidence = fourier.cluster_sizes(clusters, view.p)
    else:
        evidence = fourier.frequency_power(fourier.transform_1d(view.matrices[cfg.matrix].double()))
    return fourier.key_frequencies(
        evidence,
        cfg.rule,
        ratio=cfg.norm_ratio,
        share=cfg.power_share,
        min_neurons=cfg.min_neurons,
    )


def _weights(rows: Observations, view: View) -> None:
    """Fourier norms, Gini and singular values of W_E, W_L and the attention patterns."""
    kinds = ["latent"] if view.cfg.precision == "full" else ["latent", "quantised"]
    for kind in kinds:
        precision: Precision = "full" if kind == "latent" else view.cfg.precision
        matrices = {"W_L": view.neuron_logit_map(precision)}
        if kind == "latent":
            matrices["W_E"] = view.W_E
        for name, matrix in matrices.items():
            subject = Subject(view.name, kind, name)
            norms = fourier.transform_1d(matrix.double()).norm(dim=-1)
            rows.add_series(subject, "fourier_norm", norms)
            rows.add(subject, "gini", gini_of_components(matrix))
            _singular_values(rows, view.name, kind, name, matrix)
        for name in QUANTISED_MATRICES:
            values = svd.singular_values(_as_matrix(view.block_weight(name, precision), name))
            subject = Subject(view.name, kind, name.split(".")[1])
            rows.add(subject, "effective_rank", svd.effective_rank(values))
    for name, matrix in view.matrices.items():
        if name.startswith("pattern"):
            _singular_values(rows, view.name, "latent", name, matrix)


def _as_matrix(weight: Tensor, name: str) -> Float[Tensor, "R d_in d_out"]:
    """Heads side by side: d_model by d_model for the attention maps."""
    if weight.dim() == 3:
        return weight
    return weight.flatten(1, 2) if name == "attn.W_O" else weight.transpose(1, 2).flatten(2)


def _singular_values(
    rows: Observations, model: str, weights: str, name: str, matrix: Float[Tensor, "R m n"]
) -> None:
    values = svd.singular_values(matrix)
    subject = Subject(model, weights, name)
    rows.add_series(subject, "singular_value", values)
    rows.add(subject, "effective_rank", svd.effective_rank(values))


def _neurons(rows: Observations, view: View, threshold: float) -> None:
    """How much of each neuron one frequency explains, and the clusters that this makes."""
    fraction = view.neuron_fraction
    clusters = fourier.neuron_clusters(fraction, threshold)
    subject = Subject(view.name, "", "neurons")
    rows.add_series(subject, "neuron_fraction_explained", fraction.amax(1))
    rows.add_series(subject, "neuron_frequency", clusters)
    sizes = fourier.cluster_sizes(clusters, view.p)
    rows.add_series(subject, "cluster_size", sizes, first=1)


def _key_frequencies(rows: Observations, view: View, key: Bool[Tensor, "R n_freq"]) -> None:
    """Power of each frequency in W_E, W_L and the logits, and which of them are key."""
    for name in ("W_E", "W_L"):
        subject = Subject(view.name, "", name)
        spectrum = fourier.transform_1d(view.matrices[name].double())
        power = fourier.frequency_power(spectrum, share=True)
        rows.add_series(subject, "frequency_power", power, first=1)
    subject = Subject(view.name, "", "")
    rows.add_present(subject, "key_frequency", key, first=1)
    logits = view.at("hook_logits").double()
    centred = logits - logits.mean(-2, keepdim=True)
    explained = fourier.direction_spectra(centred, view.p).power().sum(-1)
    share = explained / centred.square().sum((-2, -1))[:, None]
    subject = Subject(view.name, "", "logits")
    rows.add_series(subject, "frequency_power", share, first=1)
    rows.add(subject, "logit_variance_explained", (share * key).sum(-1))


def _arrays(view: View, cfg: Spectra) -> dict[str, Tensor]:
    """What figures show of single models, all with a leading replicate axis."""
    p = view.p
    neurons = view.at("mlp.hook_post")
    patterns = view.at("attn.hook_pattern").permute(0, 2, 3, 1)
    directions = svd.principal_directions(view.W_E, cfg.principal_directions)
    return {
        "W_E_fourier": fourier.transform_1d(view.W_E.double()).float(),
        "W_E_directions": directions.U.float().contiguous(),
        "example_neurons": neurons[..., : cfg.example_neurons]
        .mT.unflatten(-1, (p, p))
        .contiguous(),
        "neuron_fraction": view.neuron_fraction.float().contiguous(),
        "attention": patterns.unflatten(-1, (p, p)).contiguous(),
    }
