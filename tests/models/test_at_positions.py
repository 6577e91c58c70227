"""The forward at read positions equals the hooked module's: values and gradients."""

from itertools import product

import pytest
import torch

from mechflow.config.sections import Transformer
from mechflow.models.stacked import StackedTransformer

R, N, LENGTH, READS, VOCAB, CLASSES = 2, 5, 9, 3, 11, 4

# Every combination of what chooses the way through the forward, with the rest taken in turns.
RESTS = (
    {},
    {"normalization": "LN", "biases": ("attn", "mlp", "unembed"), "activation": "gelu"},
    {"normalization": "RMS", "normalization_sites": ("mlp", "final"), "biases": ("attn",)},
    {"precision": "binary", "weight_scale": True, "biases": ("mlp",), "activation": "silu"},
    {"precision": "ternary", "weight_scale": True, "residual_gain": 2.0},
    {"residual_gain": 0.5, "d_head": 3, "attention_scale": "sqrt_d_model", "biases": ("attn",)},
    {"d_head": 40, "biases": ("attn", "unembed"), "initialization": "head_scaled"},
)
ARCHITECTURES = [
    {"n_layers": layers, "d_mlp": d_mlp, "causal": causal, "positions": positions, **rest}
    for layers, d_mlp, causal, positions, rest in product(
        (1, 2), (0, 12), (True, False), ("none", "learned", "sinusoidal"), RESTS
    )
    if d_mlp or "mlp" not in rest.get("biases", ())
] + [{"n_layers": 3, "d_mlp": 12, **rest} for rest in RESTS]


def stacked(cfg: Transformer) -> tuple[StackedTransformer, dict[str, torch.Tensor]]:
    model = StackedTransformer(cfg, d_vocab=VOCAB, d_vocab_out=CLASSES, n_ctx=LENGTH)
    weights = model.initial(torch.Generator().manual_seed(r) for r in range(R))
    generator = torch.Generator().manual_seed(9)
    for name, w in weights.items():
        if ".b" in name or name.endswith(".w"):
            w.normal_(generator=generator)
    return model, weights


def examples() -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens, and positions out of order, some twice, none of them the last."""
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(VOCAB, (R, N, LENGTH), generator=generator)
    return tokens, torch.randint(LENGTH - 1, (R, N, READS), generator=generator)


def differentiated(
    model: StackedTransformer, weights: dict[str, torch.Tensor], forward: str
) -> dict[str, torch.Tensor]:
    """Logits, and the gradients of something that depends on all of them."""
    leaves = {n: w.clone().requires_grad_() for n, w in weights.items()}
    logits = getattr(model, forward)(leaves, *examples())
    logits.logsumexp(-1).square().sum().backward()
    grads = {n: torch.zeros_like(w) if w.grad is None else w.grad for n, w in leaves.items()}
    return {"logits": logits.detach(), **grads}


@pytest.mark.parametrize("changes", ARCHITECTURES, ids=str)
def test_values_and_gradients_are_the_hooked_modules(changes: dict[str, object]) -> None:
    model, weights = stacked(Transformer(**{"d_model": 16, "n_heads": 2, **changes}))
    weights = {n: w.double() for n, w in weights.items()}
    expected = differentiated(model, weights, "plain_logits_at")
    for name, found in differentiated(model, weights, "logits_at").items():
        scale = 1.0 + expected[name].abs().max().item()
        torch.testing.assert_close(found, expected[name], rtol=0.0, atol=1e-10 * scale, msg=name)


@pytest.mark.parametrize("layers", [1, 2])
def test_float32_stays_float32_and_close(layers: int) -> None:
    model, weights = stacked(Transformer(d_model=16, d_mlp=12, n_heads=2, n_layers=layers))
    expected = differentiated(model, weights, "plain_logits_at")
    for name, found in differentiated(model, weights, "logits_at").items():
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("layers", [1, 2])
def test_same_inputs_give_the_same_bits(layers: int) -> None:
    model, weights = stacked(Transformer(d_model=16, d_mlp=12, n_heads=2, n_layers=layers))
    first, again = (differentiated(model, weights, "logits_at") for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("layers", [1, 2])
def test_tokens_after_the_last_read_do_not_matter_to_a_causal_model(layers: int) -> None:
    model, weights = stacked(Transformer(d_model=16, d_mlp=12, n_heads=2, n_layers=layers))
    tokens, positions = examples()
    before = model.logits_at(weights, tokens, positions)
    tokens[..., positions.max() + 1 :] = 0
    assert torch.equal(model.logits_at(weights, tokens, positions), before)


def test_reading_the_last_position_is_what_last_logits_does() -> None:
    model, weights = stacked(Transformer(d_model=16, d_mlp=12, n_heads=2))
    tokens, _ = examples()
    tokens[..., -1] = 3
    last = torch.full((R, N, 1), LENGTH - 1)
    at_last = model.logits_at(weights, tokens, last)[:, :, 0]
    torch.testing.assert_close(at_last, model.last_logits(weights, tokens), rtol=1e-4, atol=1e-5)


def test_the_callers_tokens_and_weights_stay_as_they_are() -> None:
    model, weights = stacked(Transformer(d_model=16, d_mlp=12, n_heads=2))
    tokens, positions = examples()
    copies = tokens.clone(), {n: w.clone() for n, w in weights.items()}
    model.logits_at(weights, tokens, positions)
    assert torch.equal(tokens, copies[0])
    assert all(torch.equal(w, copies[1][n]) for n, w in weights.items())
