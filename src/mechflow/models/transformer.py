"""The hooked toy transformer: TransformerLens' names on a module that can be binarised.

``HookedRootModule`` gives ``run_with_cache``, ``run_with_hooks`` and ``ActivationCache``. Shapes
and names of parameters and hooks are TransformerLens'.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformer_lens.hook_points import HookPoint
from transformer_lens.HookedRootModule import HookedRootModule

from mechflow.config.sections import Transformer
from mechflow.models.layers import (
    ACTIVATIONS,
    QUANTISED,
    Normalization,
    attention_divisor,
    carried,
    head_width,
    sinusoidal_positions,
)
from mechflow.models.quantise import quantise


class Embed(nn.Module):
    """Token embedding."""

    def __init__(self, d_vocab: int, d_model: int) -> None:
        super().__init__()
        self.W_E = nn.Parameter(torch.empty(d_vocab, d_model))

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        return self.W_E[tokens]


class PosEmbed(nn.Module):
    """Positional embedding, learned or sinusoidal."""

    W_pos: Tensor

    def __init__(self, n_ctx: int, d_model: int, *, learned: bool) -> None:
        super().__init__()
        if learned:
            self.W_pos = nn.Parameter(torch.empty(n_ctx, d_model))
        else:
            self.register_buffer("W_pos", sinusoidal_positions(n_ctx, d_model), persistent=False)

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "pos d_model"]:
        return self.W_pos[: tokens.shape[-1]]


class Attention(nn.Module):
    """Multi-head self-attention; its four maps may be quantised."""

    def __init__(self, cfg: Transformer) -> None:
        super().__init__()
        self.cfg = cfg
        heads, width = cfg.n_heads, cfg.d_model
        d_head = head_width(cfg)
        for name in ("W_Q", "W_K", "W_V"):
            self.register_parameter(name, nn.Parameter(torch.empty(heads, width, d_head)))
        self.W_O = nn.Parameter(torch.empty(heads, d_head, width))
        if "attn" in cfg.biases:
            for name in ("b_Q", "b_K", "b_V"):
                self.register_parameter(name, nn.Parameter(torch.zeros(heads, d_head)))
            self.b_O = nn.Parameter(torch.zeros(width))
        self.hook_q = HookPoint()
        self.hook_k = HookPoint()
        self.hook_v = HookPoint()
        self.hook_z = HookPoint()
        self.hook_attn_scores = HookPoint()
        self.hook_pattern = HookPoint()

    def _project(
        self, resid: Float[Tensor, "batch pos d_model"], letter: str
    ) -> Float[Tensor, "batch pos head d_head"]:
        weight = _weight(self, f"W_{letter}", self.cfg)
        projected = torch.einsum("bpd,hde->bphe", resid, weight)
        return projected + getattr(self, f"b_{letter}") if "attn" in self.cfg.biases else projected

    def forward(
        self, resid: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        q = self.hook_q(self._project(resid, "Q"))
        k = self.hook_k(self._project(resid, "K"))
        v = self.hook_v(self._project(resid, "V"))
        scores = torch.einsum("bqhe,bkhe->bhqk", q, k) / attention_divisor(self.cfg)
        if self.cfg.causal:
            size = scores.shape[-1]
            future = torch.ones(size, size, dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(future, -math.inf)
        pattern = self.hook_pattern(self.hook_attn_scores(scores).softmax(dim=-1))
        z = self.hook_z(torch.einsum("bhqk,bkhe->bqhe", pattern, v))
        out = torch.einsum("bqhe,hed->bqd", z, _weight(self, "W_O", self.cfg))
        return out + self.b_O if "attn" in self.cfg.biases else out


class MLP(nn.Module):
    """Two linear maps with a nonlinearity between; both may be quantised."""

    def __init__(self, cfg: Transformer) -> None:
        super().__init__()
        self.cfg = cfg
        self.W_in = nn.Parameter(torch.empty(cfg.d_model, cfg.d_mlp))
        self.W_out = nn.Parameter(torch.empty(cfg.d_mlp, cfg.d_model))
        if "mlp" in cfg.biases:
            self.b_in = nn.Parameter(torch.zeros(cfg.d_mlp))
            self.b_out = nn.Parameter(torch.zeros(cfg.d_model))
        self.hook_pre = HookPoint()
        self.hook_post = HookPoint()

    def forward(
        self, resid: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        biased = "mlp" in self.cfg.biases
        pre = resid @ _weight(self, "W_in", self.cfg)
        pre = self.hook_pre(pre + self.b_in if biased else pre)
        post = self.hook_post(ACTIVATIONS[self.cfg.activation](pre))
        out = post @ _weight(self, "W_out", self.cfg)
        return out + self.b_out if biased else out


class TransformerBlock(nn.Module):
    """Attention and MLP, each added to the residual stream."""

    def __init__(self, cfg: Transformer) -> None:
        super().__init__()
        self.cfg = cfg
        self.ln1 = Normalization(cfg, "attn")
        self.attn = Attention(cfg)
        self.hook_resid_pre = HookPoint()
        self.hook_attn_out = HookPoint()
        self.hook_resid_post = HookPoint()
        self.has_mlp = cfg.d_mlp > 0
        if self.has_mlp:
            self.ln2 = Normalization(cfg, "mlp")
            self.mlp = MLP(cfg)
            self.hook_resid_mid = HookPoint()
            self.hook_mlp_out = HookPoint()

    def forward(
        self, resid: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        resid = self.hook_resid_pre(resid)
        resid = carried(resid, self.cfg) + self.hook_attn_out(self.attn(self.ln1(resid)))
        if self.has_mlp:
            resid = self.hook_resid_mid(resid)
            resid = resid + self.hook_mlp_out(self.mlp(self.ln2(resid)))
        return self.hook_resid_post(resid)


class Unembed(nn.Module):
    """Linear map from the residual stream to logits, at full precision."""

    def __init__(self, cfg: Transformer, d_vocab_out: int) -> None:
        super().__init__()
        self.W_U = nn.Parameter(torch.empty(cfg.d_model, d_vocab_out))
        self.b_U = nn.Parameter(torch.zeros(d_vocab_out)) if "unembed" in cfg.biases else None

    def forward(
        self, resid: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_vocab_out"]:
        return functional.linear(resid, self.W_U.T, self.b_U)


class HookedToyTransformer(HookedRootModule):
    """A decoder-only transformer whose every intermediate has a TransformerLens hook.

    Parameters are uninitialised until :func:`mechflow.models.initialise.initialise` fills them or
    a state dict is loaded.

    Args:
        cfg: the architecture.
        d_vocab: number of input tokens.
        d_vocab_out: number of output classes.
        n_ctx: longest sequence.
    """

    def __init__(self, cfg: Transformer, *, d_vocab: int, d_vocab_out: int, n_ctx: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.embed = Embed(d_vocab, cfg.d_model)
        self.hook_embed = HookPoint()
        self.has_positions = cfg.positions != "none"
        if self.has_positions:
            self.pos_embed = PosEmbed(n_ctx, cfg.d_model, learned=cfg.positions == "learned")
            self.hook_pos_embed = HookPoint()
        self.blocks = nn.ModuleList(TransformerBlock(cfg) for _ in range(cfg.n_layers))
        self.ln_final = Normalization(cfg, "final")
        self.unembed = Unembed(cfg, d_vocab_out)
        self.hook_logits = HookPoint()
        self.setup()  # type: ignore[no-untyped-call]

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_vocab_out"]:
        resid = self.hook_embed(self.embed(tokens))
        if self.has_positions:
            resid = resid + self.hook_pos_embed(self.pos_embed(tokens))
        for block in self.blocks:
            resid = block(resid)
        return self.hook_logits(self.unembed(self.ln_final(resid)))


def _weight(module: nn.Module, name: str, cfg: Transformer) -> Tensor:
    """The parameter as the forward pass uses it: quantised if the architecture says so."""
    parameter: Tensor = getattr(module, name)
    assert name in QUANTISED
    return quantise(parameter, cfg.precision, scale=cfg.weight_scale)
