"""Fourier analysis of functions of one residue x, or of a pair (a, b), modulo p.

A pair is stored as row ``a * p + b`` of an axis called ``pairs``. Every basis here is real and
orthonormal, so sums of squares of coefficients are sums of squares of values (Parseval) and a
frequency's share of a variance is a ratio of such sums.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

Definition = Literal["sum_directions", "block_2x2", "all_products_of_frequency"]
KeyRule = Literal["norm_ratio", "power_share", "neuron_clusters"]
LinearForm = tuple[int, int]

BLOCK_2X2_FORMS: tuple[LinearForm, ...] = ((1, 1), (1, -1))
ALL_PRODUCTS_FORMS: tuple[LinearForm, ...] = (*BLOCK_2X2_FORMS, (1, 0), (0, 1))


def frequencies(p: int) -> Int[Tensor, " n_freq"]:
    """Frequencies 1 .. p // 2; for even p the last one is the Nyquist frequency."""
    return torch.arange(1, p // 2 + 1)


def component_frequency(p: int) -> Int[Tensor, " p"]:
    """Frequency of each row of `fourier_basis`; 0 for the constant."""
    return (torch.arange(p) + 1) // 2


def component_labels(p: int) -> list[str]:
    """Names of the rows of `fourier_basis`: const, cos 1, sin 1, cos 2, ..."""
    return ["const"] + [f"{'cos' if row % 2 else 'sin'} {(row + 1) // 2}" for row in range(1, p)]


def fourier_basis(p: int) -> Float[Tensor, "p p"]:
    """Orthonormal real Fourier basis of the functions on the residues mod p, in float64.

    Rows are const, cos 1, sin 1, cos 2, sin 2, ...: exactly p of them. For even p the last row is
    the alternating sign, whose sine does not exist.

    Raises:
        ValueError: p is smaller than 2.
    """
    if p < 2:
        raise ValueError(f"a Fourier basis needs p >= 2, not {p}")
    # Reduced as integers first, so that the angles keep full precision.
    turns = torch.outer(component_frequency(p), torch.arange(p)) % p
    angle = 2 * math.pi * turns.double() / p
    basis = torch.where(torch.arange(p).unsqueeze(1) % 2 == 1, angle.cos(), angle.sin())
    basis[0] = 1.0
    return torch.nn.functional.normalize(basis, dim=1)


def component_mask(mask: Bool[Tensor, "*batch n_freq"], p: int) -> Bool[Tensor, "*batch p"]:
    """Rows of `fourier_basis` whose frequency is in the mask; the constant never is."""
    padded = torch.cat([torch.zeros_like(mask[..., :1]), mask], dim=-1)
    return padded[..., component_frequency(p).to(mask.device)]


def transform_1d(values: Float[Tensor, "*batch p d"]) -> Float[Tensor, "*batch p d"]:
    """Fourier coefficients along the second-last axis, in the precision of the values."""
    return fourier_basis(values.shape[-2]).to(values) @ values


def inverse_1d(spectrum: Float[Tensor, "*batch p d"]) -> Float[Tensor, "*batch p d"]:
    """Values whose `transform_1d` is the spectrum."""
    return fourier_basis(spectrum.shape[-2]).to(spectrum).T @ spectrum


def transform_2d(values: Float[Tensor, "*batch pairs d"], p: int) -> Float[Tensor, "*batch p p d"]:
    """Coefficients of functions of (a, b) on the products of two basis rows, first axis for a."""
    basis = fourier_basis(p).to(values)
    grid = rearrange(values, "... (a b) d -> ... a b d", a=p, b=p)
    return torch.einsum("ia,...ajd->...ijd", basis, basis @ grid)


def inverse_2d(spectrum: Float[Tensor, "*batch p p d"]) -> Float[Tensor, "*batch pairs d"]:
    """Functions of (a, b) whose `transform_2d` is the spectrum."""
    basis = fourier_basis(spectrum.shape[-2]).to(spectrum)
    return torch.einsum("ia,...ibd->...abd", basis, basis.T @ spectrum).flatten(-3, -2)


def sum_by_frequency(components: Float[Tensor, "*batch p d"]) -> Float[Tensor, "*batch n_freq d"]:
    """Sum of the cosine row and the sine row of each frequency, without the constant."""
    p = components.shape[-2]
    membership = frequencies(p).unsqueeze(1) == component_frequency(p)
    return membership.to(components) @ components


def frequency_power(
    spectrum: Float[Tensor, "*batch p d"], *, share: bool = False
) -> Float[Tensor, "*batch n_freq"]:
    """Sum of squared coefficients of each frequency over both rows and all d columns.

    The constant is left out. With `share`, divided by the sum over frequencies (0 where that is 0).
    """
    power = sum_by_frequency(spectrum.square()).sum(dim=-1)
    if not share:
        return power
    total = power.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, power / total, 0.0)


def residues(p: int, form: LinearForm) -> Int[Tensor, " pairs"]:
    """(form[0] * a + form[1] * b) mod p for every pair."""
    x = torch.arange(p)
    return ((form[0] * x.unsqueeze(1) + form[1] * x) % p).flatten()


def sum_directions(p: int, k: int, sign: int = 1) -> Float[Tensor, "rows pairs"]:
    """The orthonormal functions cos and sin of w_k (a + sign * b) on the grid of pairs.

    For sign = 1 these are (cos x cos - sin x sin) / sqrt 2 and (sin x cos + cos x sin) / sqrt 2
    in products of basis rows. One row at the Nyquist frequency, two elsewhere.
    """
    rows = fourier_basis(p)[component_frequency(p) == k]
    return rows[:, residues(p, (1, sign))] / math.sqrt(p)


def block_2x2(p: int, k: int) -> Float[Tensor, "rows pairs"]:
    """The products {cos k, sin k} x {cos k, sin k}: four rows, one at the Nyquist frequency."""
    rows = fourier_basis(p)[component_frequency(p) == k]
    return torch.einsum("ia,jb->ijab", rows, rows).flatten(2, 3).flatten(0, 1)


def project_on_directions(
    values: Float[Tensor, "*batch pairs d"], directions: Float[Tensor, "rows pairs"]
) -> Float[Tensor, "*batch pairs d"]:
    """Orthogonal projection of functions of (a, b) on orthonormal directions, as written."""
    directions = directions.to(values)
    return directions.T @ (directions @ values)


@dataclass(frozen=True, eq=False)
class DirectionSpectra:
    """Coefficients of functions of (a, b) on the directions of every single frequency.

    All directions of one frequency are waves of a residue r = (i * a + j * b) mod p, for a few
    linear forms (i, j): summing a function over the pairs of equal r and transforming p numbers
    gives the same coefficients as p^2-long inner products, about p times cheaper.
    """

    p: int
    forms: tuple[LinearForm, ...]
    coefficients: tuple[Float[Tensor, "*batch p d"], ...]

    def power(self) -> Float[Tensor, "*batch n_freq d"]:
        """Sum of squares explained by each frequency, per column."""
        squares = torch.stack([rows.square() for rows in self.coefficients]).sum(dim=0)
        return sum_by_frequency(squares)

    def tables(self, mask: Bool[Tensor, "*sets n_freq"]) -> list[Float[Tensor, "*out p d"]]:
        """The part in the masked frequencies, as one function of the residue per linear form."""
        rows = component_mask(mask, self.p).unsqueeze(-1)
        return [inverse_1d(c * rows) / math.sqrt(self.p) for c in self.coefficients]

    def combine(self, mask: Bool[Tensor, "*sets n_freq"]) -> Float[Tensor, "*out pairs d"]:
        """The part in the masked frequencies, on the grid; leading axes broadcast."""
        parts = (
            table.index_select(-2, residues(self.p, form).to(table.device))
            for form, table in zip(self.forms, self.tables(mask), strict=True)
        )
        part = next(parts)
        for other in parts:
            part += other
        return part


def direction_spectra(
    values: Float[Tensor, "*batch pairs d"],
    p: int,
    definition: Definition = "sum_directions",
    sign: int = 1,
) -> DirectionSpectra:
    """Project functions of (a, b) on the directions of every frequency at once.

    Args:
        values: functions of (a, b), one per column.
        p: the modulus.
        definition: what belongs to frequency k. `sum_directions`: cos and sin of w_k (a + sign b).
            `block_2x2`: {cos k, sin k} of a times {cos k, sin k} of b, that is, waves of a + b
            and of a - b. `all_products_of_frequency`: that block and the waves of a alone and of
            b alone, i.e. {const, cos k, sin k}^2 without the constant. Products of two different
            frequencies belong to none.
        sign: -1 when the task subtracts; only `sum_directions` depends on it.

    Raises:
        ValueError: there are not p^2 pairs.
    """
    if values.shape[-2] != p * p:
        raise ValueError(f"expected {p * p} pairs for p = {p}, found {values.shape[-2]}")
    forms = {
        "sum_directions": ((1, sign),),
        "block_2x2": BLOCK_2X2_FORMS,
        "all_products_of_frequency": ALL_PRODUCTS_FORMS,
    }[definition]
    coefficients = []
    for form in forms:
        order = residues(p, form).argsort(stable=True).to(values.device)
        fibres = rearrange(values.index_select(-2, order), "... (r x) d -> ... r x d", r=p)
        rows = transform_1d(fibres.sum(dim=-2)) / math.sqrt(p)
        if form == (1, -1) and len(forms) > 1 and p % 2 == 0:
            rows[..., -1, :] = 0.0  # (-1)^(a-b) is (-1)^(a+b), which is counted already
        coefficients.append(rows)
    return DirectionSpectra(p, forms, tuple(coefficients))


def neuron_fraction_explained(
    activations: Float[Tensor, "*batch pairs d_mlp"], p: int
) -> Float[Tensor, "*batch n_freq d_mlp"]:
    """Share of each neuron's variance over (a, b) in the degree-2 polynomials of one frequency.

    That is the 3 x 3 block {const, cos k, sin k}^2 of the 2-D spectrum without its constant, over
    everything but the constant (Nanda et al. 2023, section 4). Neurons that do not vary get 0.
    """
    centred = activations - activations.mean(dim=-2, keepdim=True)
    norm = torch.linalg.vector_norm(centred, dim=-2)
    rounding = 16 * torch.finfo(activations.dtype).eps
    silent = norm <= rounding * torch.linalg.vector_norm(activations, dim=-2)
    explained = direction_spectra(centred, p, "all_products_of_frequency").power()
    fraction = explained / torch.where(silent, 1.0, norm).square().unsqueeze(-2)
    return fraction.masked_fill(silent.unsqueeze(-2), 0.0)


def neuron_clusters(
    fraction: Float[Tensor, "*batch n_freq d_mlp"], threshold: float = 0.85
) -> Int[Tensor, "*batch d_mlp"]:
    """Frequency that explains more than the threshold of a neuron, or 0 where none does."""
    best = fraction.max(dim=-2)
    return torch.where(best.values > threshold, best.indices + 1, 0)


def cluster_sizes(clusters: Int[Tensor, "*batch d_mlp"], p: int) -> Int[Tensor, "*batch n_freq"]:
    """Number of neurons in the cluster of each frequency."""
    return (clusters.unsqueeze(-2) == frequencies(p).to(clusters).unsqueeze(-1)).sum(dim=-1)


def key_frequencies(
    evidence: Float[Tensor, "*batch n_freq"] | Int[Tensor, "*batch n_freq"],
    rule: KeyRule = "norm_ratio",
    *,
    ratio: float = 0.25,
    share: float = 0.9,
    min_neurons: int = 5,
) -> Bool[Tensor, "*batch n_freq"]:
    """Mask of the frequencies that a network uses, by a stated rule.

    Args:
        evidence: `frequency_power` (of W_E, say) for the first two rules, `cluster_sizes` for
            the last.
        rule: `norm_ratio`: norm, the root of the power, above `ratio` times the largest norm
            (the cut of TransformerLens' grokking demo, there per component). `power_share`: the
            fewest frequencies that hold `share` of the power. `neuron_clusters`: at least
            `min_neurons` neurons in the frequency's cluster (Nanda et al. 2023).
        ratio: for `norm_ratio`.
        share: for `power_share`.
        min_neurons: for `neuron_clusters`.
    """
    match rule:
        case "norm_ratio":
            return evidence > ratio**2 * evidence.amax(dim=-1, keepdim=True)
        case "power_share":
            power, order = evidence.double().sort(dim=-1, descending=True, stable=True)
            held = power.cumsum(dim=-1)
            needed = held - power < share * held[..., -1:]
            return torch.zeros_like(needed).scatter(-1, order, needed)
        case "neuron_clusters":
            return evidence >= min_neurons
