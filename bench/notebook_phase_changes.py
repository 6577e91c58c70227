"""The phase-change notebook's models and training loops, written in plain torch.

What a researcher would write: every position is computed, einsum over heads, the mask added to
the scores, the default AdamW with a warm-up by LambdaLR, and losses read to the host at every
step. One model, one seed. Three details follow the package instead, so that the same weights give
the same losses: the first update of the warm-up has a rate above zero, batches are passed in, and
the induction loss is the mean over answers without the notebook's factor of 85/84.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mechflow.config.sections import Training, Transformer
from mechflow.training.sequences import Sequences

MASKED = 1e10
Loop = Callable[["NotebookTransformer", Training, Iterator[Sequences]], Iterator[float]]


class NotebookTransformer(nn.Module):
    """Attention and MLP at all positions, without normalisation."""

    def __init__(self, cfg: Transformer, d_vocab: int, d_vocab_out: int, n_ctx: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.W_E = nn.Parameter(torch.empty(cfg.d_model, d_vocab))
        self.W_pos = nn.Parameter(torch.empty(n_ctx, cfg.d_model))
        self.blocks = nn.ModuleList(_Block(cfg, n_ctx) for _ in range(cfg.n_layers))
        self.W_U = nn.Parameter(torch.empty(cfg.d_model, d_vocab_out))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [batch, pos, class] of tokens [batch, pos]."""
        x = torch.einsum("dbp->bpd", self.W_E[:, tokens])
        x = x + self.W_pos[: tokens.shape[-1]]
        for block in self.blocks:
            x = block(x)
        return x @ self.W_U

    def load(self, weights: dict[str, Tensor]) -> None:
        """Take over the weights of one model of the package (names of its state dict)."""
        self.W_E.data.copy_(weights["embed.W_E"].T)
        self.W_pos.data.copy_(weights["pos_embed.W_pos"])
        self.W_U.data.copy_(weights["unembed.W_U"])
        for layer, block in enumerate(self.blocks):
            prefix = f"blocks.{layer}."
            for name, parameter in block.named_parameters():
                value = weights[prefix + name]
                parameter.data.copy_(value.transpose(-1, -2) if value.dim() > 1 else value)


class _Block(nn.Module):
    def __init__(self, cfg: Transformer, n_ctx: int) -> None:
        super().__init__()
        self.gain = cfg.residual_gain
        self.attn = _Attention(cfg, n_ctx)
        self.mlp = _MLP(cfg) if cfg.d_mlp else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.gain * x + self.attn(x)
        return x if self.mlp is None else x + self.mlp(x)


class _Attention(nn.Module):
    mask: Tensor

    def __init__(self, cfg: Transformer, n_ctx: int) -> None:
        super().__init__()
        d_head = cfg.d_head or cfg.d_model // cfg.n_heads
        for name in ("W_K", "W_Q", "W_V"):
            weight = torch.empty(cfg.n_heads, d_head, cfg.d_model)
            self.register_parameter(name, nn.Parameter(weight))
        self.W_O = nn.Parameter(torch.empty(cfg.n_heads, cfg.d_model, d_head))
        self.register_buffer("mask", torch.ones(n_ctx, n_ctx).tril())
        self.pattern = nn.Identity()
        self.d_head = d_head

    def forward(self, x: Tensor) -> Tensor:
        k, q, v = (torch.einsum("ihd,bpd->biph", w, x) for w in (self.W_K, self.W_Q, self.W_V))
        scores = torch.einsum("biph,biqh->biqp", k, q)
        length = x.shape[-2]
        masked = scores.tril() - MASKED * (1 - self.mask[:length, :length])
        pattern = self.pattern(functional.softmax(masked / math.sqrt(self.d_head), dim=-1))
        z = torch.einsum("biph,biqp->biqh", v, pattern)
        return torch.einsum("idh,biqh->biqd", self.W_O, z).sum(1)


class _MLP(nn.Module):
    def __init__(self, cfg: Transformer) -> None:
        super().__init__()
        self.W_in = nn.Parameter(torch.empty(cfg.d_mlp, cfg.d_model))
        self.b_in = nn.Parameter(torch.zeros(cfg.d_mlp))
        self.W_out = nn.Parameter(torch.empty(cfg.d_model, cfg.d_mlp))
        self.b_out = nn.Parameter(torch.zeros(cfg.d_model))

    def forward(self, x: Tensor) -> Tensor:
        post = functional.relu(torch.einsum("md,bpd->bpm", self.W_in, x) + self.b_in)
        return torch.einsum("dm,bpm->bpd", self.W_out, post) + self.b_out


def addition(
    model: NotebookTransformer, training: Training, batches: Iterator[Sequences]
) -> Iterator[float]:
    """Train on addition for ever; yields the loss of each step, keeps that of each digit."""
    optimizer, scheduler = _optimizer(model, training)
    digit_losses: list[np.ndarray] = []
    for batch in batches:
        reads = batch.targets.shape[-1]
        log_probs = model(batch.tokens)[:, -reads - 1 : -1].to(torch.float64).log_softmax(-1)
        each = -log_probs.gather(-1, batch.targets[..., None])[..., 0].mean(0)
        digit_losses.append(each.detach().cpu().numpy())
        loss = each.mean()
        loss.backward()
        _update(optimizer, scheduler)
        yield loss.item()


def skip_trigram(
    model: NotebookTransformer, training: Training, batches: Iterator[Sequences]
) -> Iterator[float]:
    """Train on skip trigrams for ever; keeps the loss and the attention gradient per trigger."""
    optimizer, scheduler = _optimizer(model, training)
    losses: list[list[float]] = []
    gradients: list[list[float]] = []
    n_triggers = model.W_U.shape[1]
    block = model.blocks[0]
    assert isinstance(block, _Block)
    pattern = block.attn.pattern
    for batch in batches:
        cache: dict[str, Tensor] = {}
        hook = pattern.register_full_backward_hook(partial(_keep_gradient, cache))
        answers = batch.targets[:, 0]
        log_probs = model(batch.tokens)[:, -1].to(torch.float64).log_softmax(-1)
        each = -log_probs.gather(-1, answers[:, None])[:, 0]
        loss = each.mean()
        losses.append([each[answers == i].mean().item() for i in range(n_triggers)])
        loss.backward()
        rows = torch.arange(len(answers))
        gradient = cache["pattern"][rows, 0, -1, batch.tokens.argmax(1)]
        gradients.append([gradient[answers == i].mean().item() for i in range(n_triggers)])
        hook.remove()
        _update(optimizer, scheduler)
        yield loss.item()


def _keep_gradient(
    cache: dict[str, Tensor], _module: nn.Module, _inputs: object, outputs: tuple[Tensor, ...]
) -> None:
    cache["pattern"] = outputs[0]


def induction(
    model: NotebookTransformer, training: Training, batches: Iterator[Sequences]
) -> Iterator[float]:
    """Train on induction for ever: a mask over all positions chooses what the loss counts."""
    optimizer, scheduler = _optimizer(model, training)
    for batch in batches:
        mask = torch.zeros(batch.tokens.shape, dtype=torch.float64).scatter(1, batch.positions, 1.0)
        log_probs = functional.log_softmax(model(batch.tokens)[:, :-1], dim=-1)
        right = log_probs.gather(-1, batch.tokens[:, 1:, None])[..., 0] * mask[:, :-1]
        loss = -right.mean() * mask[:, :-1].numel() / mask.sum()
        loss.backward()
        _update(optimizer, scheduler)
        yield loss.item()


def _optimizer(
    model: nn.Module, cfg: Training
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay, betas=cfg.betas
    )
    warmup = max(cfg.warmup_steps, 1)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, 1.0)
    )


def _update(optimizer: torch.optim.AdamW, scheduler: torch.optim.lr_scheduler.LambdaLR) -> None:
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
