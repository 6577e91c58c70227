"""Ridge regression from streamed Gram matrices, with its penalty chosen on the train rows alone.

One pass over the rows leaves everything that the fit needs (`Moments`), so the cost of choosing a
penalty, and of adding targets, does not depend on the number of rows. All sums are float64.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

PENALTIES: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Default grid of penalties, in units of the mean eigenvalue of the centred Gram matrix."""

COLUMNS_AT_ONCE = 96
"""Blocks in which a Gram matrix is summed, above its diagonal only: it is symmetric."""

TOO_FEW_ROWS = "a linear fit needs at least 2 train rows, got {}"


@dataclass(frozen=True)
class Moments:
    """First and second moments of features and targets, the second ones summed about the mean."""

    count: int
    feature_mean: Float[Tensor, " d"]
    target_mean: Float[Tensor, " t"]
    gram: Float[Tensor, "d d"]
    cross: Float[Tensor, "d t"]
    target_squares: Float[Tensor, " t"]


@dataclass(frozen=True)
class RidgeFit:
    """A linear map with bias for each target, and the relative penalty chosen for it."""

    weights: Float[Tensor, "d t"]
    bias: Float[Tensor, " t"]
    penalty: Float[Tensor, " t"]

    def predict(self, X: Float[Tensor, "n d"]) -> Float[Tensor, "n t"]:
        """Predict every target in float64."""
        return torch.addmm(self.bias, X.double(), self.weights)


def centred_moments(
    batches: Iterable[tuple[Float[Tensor, "n d"], Float[Tensor, "n t"]]],
) -> Moments:
    """Moments of (features, targets) batches, enough rows for a fit.

    Raises:
        ValueError: if there are fewer than two rows, or a feature or target is not finite.
    """
    moments = accumulate_moments(batches)
    if moments.count < 2:
        raise ValueError(TOO_FEW_ROWS.format(moments.count))
    return moments


def accumulate_moments(
    batches: Iterable[tuple[Float[Tensor, "n d"], Float[Tensor, "n t"]]],
) -> Moments:
    """Accumulate the moments of (features, targets) batches in one pass; one row is enough.

    The sums are taken about the mean of the first batch and moved to the overall mean at the end,
    so a mean that is large beside the spread costs no precision.

    Raises:
        ValueError: if there is no row, or a feature or target is not finite.
    """
    count, origin = 0, None
    for features, targets in batches:
        joint = torch.cat([features, targets.double()], dim=1)  # promoted to float64
        if origin is None:
            n_features = features.shape[1]
            origin = joint.mean(dim=0)
            sums = torch.zeros_like(origin)
            products = origin.new_zeros(n_features, len(origin))
            target_squares = origin.new_zeros(len(origin) - n_features)
        joint -= origin
        count += len(joint)
        sums += joint.sum(dim=0)
        for start in range(0, n_features, COLUMNS_AT_ONCE):
            block = slice(start, min(start + COLUMNS_AT_ONCE, n_features))
            products[block, start:].addmm_(joint[:, block].T, joint[:, start:])
        target_squares += joint[:, n_features:].square().sum(dim=0)
    if origin is None or not count:
        raise ValueError(TOO_FEW_ROWS.format(0))

    gram = products[:, :n_features]
    gram.copy_(gram.triu() + gram.triu(1).T)
    shift = sums / count
    mean = origin + shift
    products -= count * torch.outer(shift[:n_features], shift)
    target_squares -= count * shift[n_features:].square()
    if not (products.isfinite().all() and target_squares.isfinite().all()):
        raise ValueError("a train row holds a feature or a target that is not finite")
    return Moments(
        count=count,
        feature_mean=mean[:n_features],
        target_mean=mean[n_features:],
        gram=gram,
        cross=products[:, n_features:],
        target_squares=target_squares,
    )


def combine(parts: Sequence[Moments]) -> Moments:
    """Moments of all rows of disjoint parts (Chan, Golub and LeVeque 1983, with many parts).

    Nothing is subtracted, so leaving out a part by combining the others loses no precision.

    Raises:
        ValueError: if there are no parts.
    """
    if not parts:
        raise ValueError("no moments to combine")
    counts = parts[0].gram.new_tensor([part.count for part in parts])
    feature_means = torch.stack([part.feature_mean for part in parts])
    target_means = torch.stack([part.target_mean for part in parts])
    feature_mean, target_mean = (
        means[0] + counts @ (means - means[0]) / counts.sum()
        for means in (feature_means, target_means)
    )
    feature_shifts, target_shifts = feature_means - feature_mean, target_means - target_mean
    weighted = counts[:, None] * feature_shifts
    gram, cross = weighted.T @ feature_shifts, weighted.T @ target_shifts
    target_squares = counts @ target_shifts.square()
    for part in parts:
        gram += part.gram
        cross += part.cross
        target_squares += part.target_squares
    count = sum(part.count for part in parts)
    return Moments(count, feature_mean, target_mean, gram, cross, target_squares)


def fit_ridge(
    moments: Moments,
    penalties: Sequence[float] = PENALTIES,
    groups: Int[Tensor, " t"] | None = None,
) -> RidgeFit:
    """Fit all targets by ridge regression with an unpenalised bias.

    A penalty q stands for λ = q · trace(G) / d, with G the centred Gram matrix (λ is scikit-learn's
    `alpha`). One penalty is solved by Cholesky; of several, each group of targets takes the one
    with the least generalised cross-validation error (Golub, Heath and Wahba 1979), which a single
    eigendecomposition gives for the whole path. Features without any variance get zero weight.

    Args:
        moments: moments of the train rows.
        penalties: relative penalties, positive.
        groups: targets with the same number share their penalty, as the classes of one label
            must; by default each target has its own.

    Raises:
        ValueError: if the grid is empty or holds a penalty that is not positive and finite, or a
            single penalty is lost in the rounding of a singular Gram matrix.
    """
    grid = moments.gram.new_tensor(sorted(penalties, reverse=True))
    if len(grid) == 0 or not (grid.isfinite().all() and (grid > 0).all()):
        raise ValueError(f"penalties must be positive and finite, got {list(penalties)}")
    mean_eigenvalue = moments.gram.trace() / len(moments.gram)
    n_targets = len(moments.target_mean)

    if mean_eigenvalue <= 0:
        weights = torch.zeros_like(moments.cross)
        penalty = grid[:1].expand(n_targets)
    elif len(grid) == 1:
        weights = _solve(moments, grid[0] * mean_eigenvalue)
        penalty = grid.expand(n_targets)
    else:
        if groups is None:
            groups = torch.arange(n_targets, device=grid.device)
        weights, chosen = _solve_path(moments, grid * mean_eigenvalue, groups)
        penalty = grid[chosen]
    bias = moments.target_mean - moments.feature_mean @ weights
    return RidgeFit(weights=weights, bias=bias, penalty=penalty)


def _solve(moments: Moments, alpha: Float[Tensor, ""]) -> Float[Tensor, "d t"]:
    identity = torch.eye(len(moments.gram), dtype=torch.float64, device=alpha.device)
    factor, failure = torch.linalg.cholesky_ex(moments.gram + alpha * identity)
    if failure:
        raise ValueError("the penalty is too small for features that depend on one another")
    return torch.cholesky_solve(moments.cross, factor)


def _solve_path(
    moments: Moments, alphas: Float[Tensor, " q"], groups: Int[Tensor, " t"]
) -> tuple[Float[Tensor, "d t"], Int[Tensor, " t"]]:
    """Weights of the best penalty, and its place in the grid, for each target."""
    eigenvalues, eigenvectors = torch.linalg.eigh(moments.gram)
    resolution = max(moments.count, len(eigenvalues)) * torch.finfo(torch.float64).eps
    kept = eigenvalues > resolution * eigenvalues[-1]
    eigenvalues, eigenvectors = eigenvalues[kept], eigenvectors[:, kept]
    projections = eigenvectors.T @ moments.cross

    errors = _gcv_errors(moments, eigenvalues, projections, alphas)
    group_errors = errors.new_zeros(len(alphas), int(groups.max()) + 1)
    group_errors.index_add_(1, groups, errors)
    chosen = group_errors.argmin(dim=0)[groups]
    weights = eigenvectors @ (projections / (eigenvalues[:, None] + alphas[chosen]))
    return weights, chosen


def _gcv_errors(
    moments: Moments,
    eigenvalues: Float[Tensor, " rank"],
    projections: Float[Tensor, "rank t"],
    alphas: Float[Tensor, " q"],
) -> Float[Tensor, "q t"]:
    """Generalised cross-validation error: (RSS / n) / (1 - degrees of freedom / n)².

    Both the residual and the degrees of freedom left over are written as sums of terms that are
    never negative, because a difference of nearly equal numbers decides nothing when there are as
    many features as rows.
    """
    rows_beyond_rank = moments.count - 1 - len(eigenvalues)
    explained = projections.square() / eigenvalues[:, None]
    unexplained = (moments.target_squares - explained.sum(dim=0)).clamp_min(0)
    if rows_beyond_rank <= 0:
        unexplained = torch.zeros_like(unexplained)
    shrinkage = alphas[:, None] / (eigenvalues + alphas[:, None])
    residual = unexplained + shrinkage.square() @ explained
    freedom_left = max(rows_beyond_rank, 0) + shrinkage.sum(dim=1, keepdim=True)
    return moments.count * residual / freedom_left.square()
