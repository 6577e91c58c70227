"""The training loop of readouts: a stack of equal shapes, its gradient written out by hand.

With h = W_in x + b_in, z_n = W_out s_n + b_out and p the softmax of h · z_n over the candidate
numbers, the cross entropy of label y has the gradients Σ_n (p_n - [n = y]) z_n in h and
(p_n - [n = y]) h in z_n; all else is linear. The latter sum to zero over n, so b_out, which adds
one number to all logits of a prompt, has no gradient but that of the L1 term. By hand this needs
few passes over the logits, which cost as much as the products, and no graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from mechflow.probes.readout_settings import ReadoutSettings

ROWS_PER_BATCH = 1024
"""Valid prompts whose logits are held at a time."""

LEAST_EXPONENT = -80.0
"""Least argument of the exponential: what float32 holds as a denormal number is many times slower
to compute, and too little to matter."""


class Weights(NamedTuple):
    """Parameters of readouts, with or without a leading axis over a stack."""

    W_in: Float[Tensor, "*stack hidden d"]
    b_in: Float[Tensor, "*stack hidden"]
    W_out: Float[Tensor, "*stack hidden width"]
    b_out: Float[Tensor, "*stack hidden"]


class Outcome(NamedTuple):
    """What training leaves of one readout."""

    weights: Weights
    steps: int
    kept_step: int


@dataclass(frozen=True)
class Examples:
    """Prompts that a stack trains on, and those that choose its checkpoint."""

    train: Float[Tensor, "train_row d"]
    """In the number format of the products."""
    train_labels: Int[Tensor, " train_row"]
    valid: Float[Tensor, "valid_row d"]
    """In the number format of the weights."""
    valid_labels: Int[Tensor, " valid_row"]


def product_dtype(settings: ReadoutSettings) -> torch.dtype:
    """Number format of the matrix products."""
    return getattr(torch, settings.precision)


def weight_dtype(settings: ReadoutSettings) -> torch.dtype:
    """Number format of the weights, of Adam and of the softmax."""
    return torch.float64 if settings.precision == "float64" else torch.float32


def initial_weights(d: int, width: int, hidden: int, generator: torch.Generator) -> Weights:
    """Weights and biases as `torch.nn.Linear` draws them: U(-1/√fan_in, 1/√fan_in), float32."""

    def uniform(fan_in: int, *shape: int) -> Tensor:
        return (torch.rand(*shape, generator=generator) * 2 - 1) / fan_in**0.5

    return Weights(
        W_in=uniform(d, hidden, d),
        b_in=uniform(d, hidden),
        W_out=uniform(width, hidden, width),
        b_out=uniform(width, hidden),
    )


def train_stack(
    examples: Examples,
    bases: Sequence[Float[Tensor, "numbers width"]],
    candidates: Int[Tensor, " candidate"],
    settings: ReadoutSettings,
    generators: Sequence[torch.Generator],
) -> list[Outcome]:
    """Train readouts that share their prompts, candidates and shapes.

    Args:
        examples: prompts, already standardised if they are to be.
        bases: one basis for each readout.
        candidates: numbers of the training softmax, in order.
        settings: how to train.
        generators: one for each readout; it draws the initial weights, then the minibatches.
    """
    stack = ReadoutStack(examples, bases, candidates, settings, generators)
    step = 0
    while step < settings.steps and stack.active:
        count = min(settings.eval_every, settings.steps - step)
        for rows in stack.minibatches(count):
            stack.update(rows, settings.rate(step))
            step += 1
        stack.evaluate(step)
    return stack.outcomes()


class ReadoutStack:
    """Weights, moments and checkpoints of readouts that train together."""

    def __init__(
        self,
        examples: Examples,
        bases: Sequence[Float[Tensor, "numbers width"]],
        candidates: Int[Tensor, " candidate"],
        settings: ReadoutSettings,
        generators: Sequence[torch.Generator],
    ) -> None:
        device, exact = examples.train.device, weight_dtype(settings)
        d, (numbers, width) = examples.train.shape[1], bases[0].shape
        self.settings, self.examples, self.generators = settings, examples, generators
        self.shapes = [(settings.hidden, d), (settings.hidden,)]
        self.shapes += [(settings.hidden, width), (settings.hidden,)]
        initial = [initial_weights(d, width, settings.hidden, g) for g in generators]
        flat = torch.stack([torch.cat([part.flatten() for part in w]) for w in initial])
        self.flat = flat.to(device, exact).requires_grad_()
        self.flat.grad = torch.zeros_like(self.flat)
        self.gradient = self._parts(self.flat.grad)
        self.signs = torch.empty_like(self.flat.grad)
        self.optimizer = torch.optim.Adam(
            [self.flat], lr=settings.lr, betas=settings.betas, fused=True
        )
        self.rounded = self.flat.detach().to(product_dtype(settings))
        """The weights as the products see them; the weights themselves if formats agree."""
        self.factors = self._parts(self.rounded)

        self.basis = torch.stack(list(bases)).to(device, exact)
        self.candidate_basis = self.basis[:, candidates.to(device)].to(product_dtype(settings))
        place = torch.full((numbers,), -1)
        place[candidates] = torch.arange(len(candidates))
        self.targets = place.to(device)[examples.train_labels]

        logits = (len(bases), settings.batch, len(candidates))
        self.odds = torch.empty(logits, dtype=exact, device=device)
        self.residual = self.odds.to(product_dtype(settings), copy=True)

        self.kept = self.flat.detach().clone()
        self.kept_step = [0] * len(bases)
        self.steps = [0] * len(bases)
        self.best = [(-1.0, 0.0)] * len(bases)
        self.waited = [0] * len(bases)
        self.stopped = [False] * len(bases)

    @property
    def active(self) -> bool:
        """Whether a readout has not stopped early."""
        return not all(self.stopped)

    def minibatches(self, count: int) -> Int[Tensor, "count stack batch"]:
        """Rows of the next updates, each readout's own."""
        shape = (count, self.settings.batch)
        n = len(self.examples.train)
        rows = [torch.randint(n, shape, generator=g) for g in self.generators]
        return torch.stack(rows, dim=1).to(self.flat.device)

    @torch.no_grad()
    def update(self, rows: Int[Tensor, "stack batch"], rate: float) -> None:
        """One step of Adam."""
        self._cross_entropy_gradient(rows)
        weights, gradient = self.flat.detach(), self.flat.grad
        assert gradient is not None
        torch.sign(weights, out=self.signs)
        gradient.add_(self.signs, alpha=self.settings.l1)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        if self.rounded.dtype != weights.dtype:
            self.rounded.copy_(weights)

    def _cross_entropy_gradient(self, rows: Int[Tensor, "stack batch"]) -> None:
        W_in, b_in, W_out, b_out = self.factors
        x = self.examples.train.index_select(0, rows.flatten()).unflatten(0, rows.shape)
        labels = self.targets.take(rows)[..., None]
        h = torch.baddbmm(b_in[:, None], x, W_in.mT)
        z = torch.baddbmm(b_out[:, None], self.candidate_basis, W_out.mT)
        # Products of bfloat16 are fastest with contiguous operands. What is as large as the logits
        # stays in two buffers: fresh memory costs more here than arithmetic.
        odds = self.odds.copy_(h @ z.mT.contiguous())
        odds.sub_(odds.amax(-1, keepdim=True)).clamp_(min=LEAST_EXPONENT).exp_()
        total = odds.sum(-1, keepdim=True)
        odds.scatter_add_(-1, labels, -total)
        share = (1 / (rows.shape[1] * total)).to(h.dtype)
        residual = self.residual.copy_(odds)
        grad_h = (residual @ z).mul_(share).mT.contiguous()
        grad_z = (h * share).mT.contiguous() @ residual
        self.gradient.W_in.copy_(grad_h @ x)
        self.gradient.b_in.copy_(grad_h.to(self.flat.dtype).sum(-1))
        self.gradient.W_out.copy_(grad_z @ self.candidate_basis)
        self.gradient.b_out.zero_()

    @torch.no_grad()
    def evaluate(self, step: int) -> None:
        """Score each readout that has not stopped, and keep its weights if they are to be kept."""
        for member, stopped in enumerate(self.stopped):
            if stopped:
                continue
            self.steps[member] = step
            score = self._valid_score(member)
            better = score > self.best[member]
            self.waited[member] = 0 if better else self.waited[member] + 1
            if better:
                self.best[member] = score
            if better or self.settings.restore == "last":
                self.kept[member].copy_(self.flat[member])
                self.kept_step[member] = step
            patience = self.settings.patience
            self.stopped[member] = patience is not None and self.waited[member] >= patience

    def _valid_score(self, member: int) -> tuple[float, float]:
        """Accuracy among all numbers and minus the loss, on the valid prompts."""
        W_in, b_in, W_out, b_out = (part[member] for part in self._parts(self.flat.detach()))
        codes = torch.addmm(b_out, self.basis[member], W_out.T).T.contiguous()
        correct = loss = 0.0
        for start in range(0, len(self.examples.valid), ROWS_PER_BATCH):
            rows = slice(start, start + ROWS_PER_BATCH)
            labels = self.examples.valid_labels[rows]
            logits = torch.addmm(b_in, self.examples.valid[rows], W_in.T) @ codes
            correct += (logits.max(-1).indices == labels).sum().item()
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
        n = len(self.examples.valid)
        return correct / n, -loss / n

    def outcomes(self) -> list[Outcome]:
        """The kept weights, in float32 at least, on the CPU."""
        parts = self._parts(self.kept.cpu())
        return [
            Outcome(Weights(*(part[i].clone() for part in parts)), steps, kept_step)
            for i, (steps, kept_step) in enumerate(zip(self.steps, self.kept_step, strict=True))
        ]

    def _parts(self, flat: Float[Tensor, "stack parameter"]) -> Weights:
        """Views of a flat vector of parameters for each readout."""
        sizes = [torch.Size(shape).numel() for shape in self.shapes]
        parts = flat.split(sizes, dim=1)
        return Weights(*(p.unflatten(1, s) for p, s in zip(parts, self.shapes, strict=True)))
