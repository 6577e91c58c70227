"""What is measured while training: losses, accuracies, weight norms, flipped levels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mechflow.config.sections import Transformer
from mechflow.models.factorised import StackedWeights
from mechflow.models.quantise import levels
from mechflow.models.stacked import StackedTransformer
from mechflow.training.examples import Examples


def replicate_losses(
    logits: Float[Tensor, "R n classes"], labels: Int[Tensor, "R n"], dtype: torch.dtype
) -> Float[Tensor, " R"]:
    """Mean cross-entropy of each replicate in nats, log-softmax in ``dtype``."""
    losses = functional.cross_entropy(
        logits.flatten(0, 1).to(dtype), labels.flatten(), reduction="none"
    )
    return losses.unflatten(0, labels.shape).mean(1)


@torch.no_grad()
def loss_and_accuracy(
    model: StackedTransformer, weights: StackedWeights, examples: Examples, dtype: torch.dtype
) -> Float[Tensor, "2 R"]:
    """Loss (nats) and accuracy of each replicate, in float64 on the CPU."""
    logits = model.last_logits(weights, examples.tokens)
    loss = replicate_losses(logits, examples.labels, dtype)
    accuracy = (logits.argmax(-1) == examples.labels).to(torch.float64).mean(1)
    return torch.stack([loss.double(), accuracy]).cpu()


def quantisable(weights: StackedWeights) -> tuple[str, ...]:
    """Names of the matrices inside the blocks, which precision may quantise."""
    return tuple(n for n in weights if n.startswith("blocks.") and ".W_" in n)


@torch.no_grad()
def matrix_levels(weights: StackedWeights, cfg: Transformer) -> StackedWeights:
    """Level of every quantisable weight: -1, 0 or 1 (the sign at full precision)."""
    return {n: levels(weights[n], cfg.precision, stacked=True) for n in quantisable(weights)}


@torch.no_grad()
def flip_rates(before: StackedWeights, after: StackedWeights) -> Float[Tensor, "matrix R"]:
    """Share of the weights of each matrix whose level differs, in float64 on the CPU."""
    changed = [(before[n] != after[n]).double().flatten(1).mean(1) for n in before]
    return torch.stack(changed).cpu()
