"""Multinomial logistic regression for stacked replicates, all of them fitted together."""

import warnings
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

LOSS_SCALE = 1e8
"""Factor on the loss: `torch.optim.LBFGS` drops curvature pairs of absolute size below 1e-10."""


@dataclass(frozen=True)
class LogisticFit:
    """Softmax classifiers of stacked replicates; a class absent from train has bias -inf."""

    weights: Float[Tensor, "replicate d c"]
    bias: Float[Tensor, "replicate c"]

    def log_probabilities(
        self, X: Float[Tensor, "replicate n d"]
    ) -> Float[Tensor, "replicate n c"]:
        """Log-probability of every class in float64."""
        return torch.log_softmax(X.double() @ self.weights + self.bias[:, None], dim=-1)


def fit_logistic(
    X: Float[Tensor, "replicate n d"],
    labels: Int[Tensor, "replicate n"],
    train_mask: Bool[Tensor, "replicate n"],
    inverse_penalty: float = 1.0,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
) -> LogisticFit:
    """Minimise ‖W‖²/2 + C · Σ cross-entropy over the train rows of each replicate.

    This is the objective of `sklearn.linear_model.LogisticRegression` with C = `inverse_penalty`
    and an unpenalised bias, except that two classes too are treated by a softmax. L-BFGS starts
    from zero, in float64, in coordinates in which the Hessian at the start is the identity:
    activations are ill-conditioned, and plain L-BFGS crawls on them. A warning tells of a fit that
    stopped early.

    Args:
        X: features; rows outside the mask are not read.
        labels: classes, from 0.
        train_mask: the rows to fit.
        inverse_penalty: C, positive.
        tolerance: largest gradient entry, of the mean loss in those coordinates, at which to stop.
        max_iterations: L-BFGS steps at most.

    Raises:
        ValueError: if a replicate has no train row or C is not positive.
    """
    if inverse_penalty <= 0:
        raise ValueError(f"inverse_penalty must be positive, got {inverse_penalty}")
    if not train_mask.any(dim=1).all():
        raise ValueError("a replicate has no train rows")
    features, targets, weight = _train_rows(X, labels, train_mask)
    n_classes = int(targets.max()) + 1
    present = F.one_hot(targets, n_classes).mul(weight[..., None]).sum(dim=1) > 0
    n_present = present.sum(dim=1).double()[:, None, None]
    penalty = 1 / (inverse_penalty * weight.sum(dim=1))[:, None, None]
    share = (weight / weight.sum(dim=1, keepdim=True))[..., None]

    mean = (share * features).sum(dim=1)
    features = features - mean[:, None]
    identity = torch.eye(features.shape[2], dtype=torch.float64, device=X.device)
    hessian = (share * features).mT @ features / n_present + penalty * identity
    factor = torch.linalg.cholesky(hessian)
    whitened = torch.linalg.solve_triangular(factor, features.mT, upper=False).mT
    absent_logit = torch.zeros_like(present, dtype=torch.float64)
    absent_logit = absent_logit.masked_fill(~present, -torch.inf)[:, None]

    coefficients = features.new_zeros(len(X), features.shape[2], n_classes, requires_grad=True)
    offsets = features.new_zeros(len(X), 1, n_classes, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [coefficients, offsets],
        max_iter=max_iterations,
        max_eval=2 * max_iterations,
        history_size=20,
        tolerance_grad=LOSS_SCALE * tolerance,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def unwhitened() -> Float[Tensor, "replicate d c"]:
        return torch.linalg.solve_triangular(factor.mT, coefficients, upper=True)

    def objective() -> Float[Tensor, ""]:
        optimiser.zero_grad()
        logits = whitened @ coefficients + offsets * n_present.sqrt() + absent_logit
        log_probability = torch.log_softmax(logits, dim=-1).gather(-1, targets[..., None])
        loss = (0.5 * penalty * unwhitened().square()).sum() - (share * log_probability).sum()
        loss = LOSS_SCALE * loss
        loss.backward()
        return loss

    optimiser.step(objective)
    objective()
    steepest = [float(p.grad.abs().max()) for p in (coefficients, offsets) if p.grad is not None]
    gradient = max(steepest) / LOSS_SCALE
    if gradient > tolerance:
        warnings.warn(
            f"logistic probe stopped with gradient {gradient:.1e} (tolerance {tolerance:.1e})",
            stacklevel=2,
        )
    with torch.no_grad():
        weights = unwhitened()
        bias = (offsets * n_present.sqrt() + absent_logit - mean[:, None] @ weights)[:, 0]
    return LogisticFit(weights=weights, bias=bias)


def _train_rows(
    X: Float[Tensor, "replicate n d"],
    labels: Int[Tensor, "replicate n"],
    train_mask: Bool[Tensor, "replicate n"],
) -> tuple[
    Float[Tensor, "replicate m d"], Int[Tensor, "replicate m"], Float[Tensor, "replicate m"]
]:
    """Train rows of every replicate, padded to the longest with zero rows of weight zero."""
    m = int(train_mask.sum(dim=1).max())
    features = X.new_zeros(len(X), m, X.shape[2], dtype=torch.float64)
    targets = labels.new_zeros(len(X), m, dtype=torch.int64)
    weight = features.new_zeros(len(X), m)
    for replicate, mask in enumerate(train_mask):
        count = int(mask.sum())
        features[replicate, :count] = X[replicate, mask].double()
        targets[replicate, :count] = labels[replicate, mask]
        weight[replicate, :count] = 1
    return features, targets, weight
