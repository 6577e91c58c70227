"""The notebook's model and training loop, written in plain torch: what a researcher would write.

Separate linear layers, logits at all positions, test loss at every epoch, a host read of both
losses each time. One model, one seed.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from mechflow.config.sections import Training, Transformer


class BitLinear(nn.Linear):
    """Linear map by the signs of its centred weights, gradient straight through."""

    def forward(self, x: Tensor) -> Tensor:
        """Rows of x times the signs."""
        centred = self.weight - self.weight.mean()
        signs = centred + (centred.sign() - centred).detach()
        return functional.linear(x, signs, self.bias)


class NotebookTransformer(nn.Module):
    """One block, computed at all positions; binary maps or ordinary ones."""

    def __init__(self, cfg: Transformer, d_vocab: int, d_vocab_out: int, n_ctx: int) -> None:
        super().__init__()
        linear = BitLinear if cfg.precision == "binary" else nn.Linear
        width = cfg.d_model
        self.cfg = cfg
        self.emb = nn.Embedding(d_vocab, width)
        self.pos = nn.Embedding(n_ctx, width) if cfg.positions == "learned" else None
        self.q, self.k, self.v, self.o = (linear(width, width, bias=False) for _ in range(4))
        self.up = linear(width, cfg.d_mlp, bias=False)
        self.down = linear(cfg.d_mlp, width, bias=False)
        self.gain = nn.Parameter(torch.ones(width)) if cfg.normalization == "RMS" else None
        self.head = nn.Linear(width, d_vocab_out, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [batch, pos, class] of tokens [batch, pos]."""
        x = self.emb(tokens)
        if self.pos is not None:
            x = x + self.pos.weight
        x = x + self._attention(x)
        x = x + self.down(functional.relu(self.up(x)))
        if self.gain is not None:
            x = functional.normalize(x, dim=-1) * math.sqrt(x.shape[-1]) * self.gain
        return self.head(x)

    def _attention(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        heads = self.cfg.n_heads
        q, k, v = (
            linear(x).view(batch, length, heads, -1).transpose(1, 2)
            for linear in (self.q, self.k, self.v)
        )
        size = width if self.cfg.attention_scale == "sqrt_d_model" else width // heads
        scores = q @ k.transpose(-1, -2) / math.sqrt(size)
        if self.cfg.causal:
            future = torch.ones(length, length, dtype=torch.bool).triu(1)
            scores = scores.masked_fill(future, -math.inf)
        z = scores.softmax(-1) @ v
        return self.o(z.transpose(1, 2).reshape(batch, length, width))

    def weights(self) -> dict[str, Tensor]:
        """The weights under the package's names; the inverse of `load`."""
        heads = self.cfg.n_heads
        found = {"embed.W_E": self.emb.weight, "unembed.W_U": self.head.weight.T}
        for linear, letter in self._heads():
            split = linear.weight.T.unflatten(1, (heads, -1)).transpose(0, 1)
            found[f"blocks.0.attn.W_{letter}"] = split
        found["blocks.0.attn.W_O"] = self.o.weight.T.unflatten(0, (heads, -1))
        found["blocks.0.mlp.W_in"] = self.up.weight.T
        found["blocks.0.mlp.W_out"] = self.down.weight.T
        if self.pos is not None:
            found["pos_embed.W_pos"] = self.pos.weight
        if self.gain is not None:
            found["ln_final.w"] = self.gain
        return {name: w.detach() for name, w in found.items()}

    def load(self, weights: dict[str, Tensor]) -> None:
        """Take over the weights of one model of the package (names of its state dict)."""
        flat = {n.removeprefix("blocks.0."): w for n, w in weights.items()}
        pairs: list[tuple[nn.Embedding | nn.Linear, Tensor]] = [
            (self.emb, flat["embed.W_E"]),
            *((m, flat[f"attn.W_{n}"].transpose(0, 1).flatten(1).T) for m, n in self._heads()),
            (self.o, flat["attn.W_O"].flatten(0, 1).T),
            (self.up, flat["mlp.W_in"].T),
            (self.down, flat["mlp.W_out"].T),
            (self.head, flat["unembed.W_U"].T),
        ]
        if self.pos is not None:
            pairs.append((self.pos, flat["pos_embed.W_pos"]))
        for module, value in pairs:
            module.weight.data.copy_(value)

    def _heads(self) -> tuple[tuple[nn.Linear, str], ...]:
        return (self.q, "Q"), (self.k, "K"), (self.v, "V")


def train(
    model: NotebookTransformer,
    cfg: Training,
    train_set: tuple[Tensor, Tensor],
    test_set: tuple[Tensor, Tensor],
) -> Iterator[tuple[float, float]]:
    """Train for ever, an epoch at a time; yields the train and test loss of each epoch."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay, betas=cfg.betas
    )
    while True:
        train_loss = _loss(model(train_set[0]), train_set[1])
        train_loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.inference_mode():
            test_loss = _loss(model(test_set[0]), test_set[1])
        yield train_loss.item(), test_loss.item()


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    log_probs = logits[:, -1].to(torch.float64).log_softmax(dim=-1)
    return -log_probs.gather(-1, labels[:, None])[:, 0].mean()
