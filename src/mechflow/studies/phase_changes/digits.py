"""Fourier analysis of the addition model: its digit embeddings, and its neurons.

Digits are residues mod 10, so the basis is that of 10 points, with the alternating sign as its
last row. Unlike in modular addition nothing forces a model to use it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechflow import fourier
from mechflow.config.sections import Transformer
from mechflow.models.factorised import StackedWeights
from mechflow.observations import Observations
from mechflow.progress import gini_of_components
from mechflow.seeds import Seeds
from mechflow.studies.phase_changes.model import stacked_model
from mechflow.studies.phase_changes.tasks.addition import BASE, Addition

EXAMPLE_NEURONS = 6


class Subject(NamedTuple):
    """What a number was measured on: columns of the table."""

    model: str
    matrix: str


@dataclass(frozen=True)
class PairMeans:
    """What the neurons do with the pair of digits (x, y) of a column, other digits averaged out."""

    means: Float[Tensor, "R digit pairs d_mlp"]
    """Mean activation for each pair, row 10 x + y, where digit k of the answer is predicted."""
    sampling_share: Float[Tensor, "R digit"]
    """Share of the variance of the means, over all neurons, that comes from the finite sample."""


def balanced_sums(
    task: Addition, examples: int, generator: torch.Generator
) -> tuple[Int[Tensor, "n pos"], Int[Tensor, "n digit"]]:
    """Sums in which each column, units first, holds each of the 100 pairs equally often.

    The columns are ordered independently of one another, so one set serves them all: given the
    pair of one column, the pairs of the others are uniform.

    Returns:
        Tokens of 100 × examples sums, and the pair of each column as 10 x + y.
    """
    every = torch.arange(BASE**2).repeat(examples)
    columns = [every[torch.randperm(len(every), generator=generator)] for _ in range(task.n_digits)]
    pairs = torch.stack(columns, dim=1)
    leading_first = pairs.flip(1)
    return task.written(leading_first // BASE, leading_first % BASE).tokens, pairs


def pair_means(
    weights: StackedWeights,
    cfg: Transformer,
    task: Addition,
    examples: int,
    streams: tuple[Seeds, range],
) -> PairMeans:
    """Average the neurons of the last block over ``examples`` sums for each pair of digits.

    With V the mean squared distance of a neuron's activations from the mean of their pair, the
    means carry sampling noise of variance V / (examples - 1) around the true ones.

    Args:
        weights: stacked weights of a model with an MLP.
        cfg: its architecture.
        task: addition.
        examples: sums for each pair, at least two.
        streams: seeds, and the replicates' numbers.
    """
    seeds, replicates = streams
    stacked = stacked_model(task, cfg)
    site = f"blocks.{cfg.n_layers - 1}.mlp.hook_post"
    positions = task.read_positions().flip(0)[: task.n_digits]
    means, shares = [], []
    for index, replicate in enumerate(replicates):
        tokens, pairs = balanced_sums(task, examples, seeds.torch(replicate, "sums of digit pairs"))
        with torch.no_grad():
            _, cache = stacked.module(weights, index).run_with_cache(tokens, names_filter=[site])
        found = [
            _by_pair(cache[site][:, position], column, examples)
            for position, column in zip(positions.tolist(), pairs.unbind(1), strict=True)
        ]
        means.append(torch.stack([mean for mean, _ in found]))
        shares.append(torch.stack([share for _, share in found]))
    return PairMeans(torch.stack(means), torch.stack(shares))


def _by_pair(
    post: Float[Tensor, "n d_mlp"], pairs: Int[Tensor, " n"], examples: int
) -> tuple[Float[Tensor, "pairs d_mlp"], Float[Tensor, ""]]:
    grouped = post[pairs.argsort(stable=True)].double().unflatten(0, (-1, examples))
    means = grouped.mean(1)
    noise = grouped.var(1).mean(0).sum() / examples
    total = means.var(0).sum()
    return means, torch.where(total > 0, noise / total, 0.0)


def observe_digits(rows: Observations, model: str, weights: StackedWeights) -> None:
    """Fourier norms, power by frequency and Gini of the digits' embeddings and unembeddings."""
    for name, matrix in digit_matrices(weights).items():
        subject = Subject(model, name)
        spectrum = fourier.transform_1d(matrix)
        rows.add_series(subject, "fourier_norm", spectrum.norm(dim=-1))
        power = fourier.frequency_power(spectrum, share=True)
        rows.add_series(subject, "frequency_power", power, first=1)
        rows.add(subject, "gini", gini_of_components(matrix))


def observe_neurons(rows: Observations, model: str, found: PairMeans) -> None:
    """How much of each neuron one frequency of (x, y) explains, for each column of digits.

    Two things look like frequency 1 without being waves. A ramp or a step in x + y, as a carry is
    one, has up to 0.67 of its variance there, and a rectified ramp in one digit up to 0.75; the
    threshold of tuned neurons is above both. And the leading column is seen by every model,
    trained or not, in the carry that is written just before its digit: the untrained models show
    how much that gives.
    """
    for digit, means in enumerate(found.means.unbind(1)):
        subject = Subject(model, f"neurons.digit.{digit}")
        fraction = fourier.neuron_fraction_explained(means, BASE)
        clusters = fourier.neuron_clusters(fraction)
        rows.add_series(subject, "neuron_fraction_explained", fraction.amax(1))
        rows.add_series(subject, "neuron_frequency", clusters)
        rows.add_series(subject, "cluster_size", fourier.cluster_sizes(clusters, BASE), first=1)
        rows.add(subject, "tuned_neurons", (clusters > 0).sum(1))
        variance = means.var(1, correction=0)
        total = variance.sum(-1, keepdim=True)
        power = (fraction * variance.unsqueeze(1)).sum(-1) / torch.where(total > 0, total, 1.0)
        rows.add_series(subject, "frequency_power", power, first=1)
        rows.add(subject, "sampling_share", found.sampling_share[:, digit])


def digit_matrices(weights: StackedWeights) -> dict[str, Float[Tensor, "R 10 d_model"]]:
    """One row for each digit, in float64."""
    return {
        "W_E": weights["embed.W_E"][:, :BASE].double(),
        "W_U": weights["unembed.W_U"].mT.double(),
    }


def digit_arrays(weights: StackedWeights, suffix: str = "") -> dict[str, Tensor]:
    """The embeddings in the Fourier basis, and their Gram matrix in both bases.

    W_E_fourier [R, 10, d_model] and, of embeddings from which their mean is taken, digit_gram
    [R, 10, 10] and digit_gram_fourier [R, 10, 10], the latter with basis rows for digits; each
    name ends in the suffix.
    """
    W_E = digit_matrices(weights)["W_E"]
    centred = W_E - W_E.mean(-2, keepdim=True)
    spectrum = fourier.transform_1d(centred)
    found = {
        "W_E_fourier": fourier.transform_1d(W_E),
        "digit_gram": centred @ centred.mT,
        "digit_gram_fourier": spectrum @ spectrum.mT,
    }
    return {name + suffix: value.float().contiguous() for name, value in found.items()}


def neuron_arrays(found: PairMeans) -> dict[str, Tensor]:
    """What the neurons do with pairs of digits.

    - pair_power [R, digit, 10, 10]: squared coefficients on products of two basis rows, the first
      for x, summed over all neurons; the constant is left out, and they sum to 1 unless all
      neurons are dead.
    - pair_means [R, neuron, 10, 10] over (x, y) and pair_mean_neurons [R, neuron]: the neurons
      whose means vary most where the units are predicted, and which they are.
    """
    power = fourier.transform_2d(found.means, BASE).square().sum(-1)
    power[..., 0, 0] = 0.0
    total = power.sum((-2, -1), keepdim=True)
    units = found.means[:, 0]
    chosen = units.var(1).topk(min(EXAMPLE_NEURONS, units.shape[-1])).indices
    shown = units.take_along_dim(chosen.unsqueeze(1), dim=-1)
    return {
        "pair_power": (power / torch.where(total > 0, total, 1.0)).float(),
        "pair_means": shown.mT.unflatten(-1, (BASE, BASE)).float().contiguous(),
        "pair_mean_neurons": chosen,
    }
