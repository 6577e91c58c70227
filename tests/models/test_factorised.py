"""The fast forward equals the plain one: values, gradients, training trajectories."""

import torch

from mechflow.config.sections import Transformer
from mechflow.models.stacked import StackedTransformer

P = 7
R = 3


def stacked(cfg: Transformer) -> tuple[StackedTransformer, dict[str, torch.Tensor]]:
    model = StackedTransformer(cfg, d_vocab=P + 1, d_vocab_out=P, n_ctx=3)
    weights = model.initial(torch.Generator().manual_seed(r) for r in range(R))
    generator = torch.Generator().manual_seed(9)
    for name, w in weights.items():
        if ".b" in name or name.endswith(".w"):
            w.normal_(generator=generator)
    return model, weights


def random_examples(n: int = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    pairs = torch.randint(P, (R, n, 2), generator=generator)
    return torch.cat([pairs, torch.full((R, n, 1), P)], -1)


def test_fast_logits_equal_the_hooked_modules_own(cfg: Transformer) -> None:
    model, weights = stacked(cfg)
    tokens = random_examples()
    fast = model.last_logits(weights, tokens)
    for r in range(R):
        expected = model.module(weights, r)(tokens[r])[:, -1]
        torch.testing.assert_close(fast[r], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.plain_last_logits(weights, tokens), fast, rtol=1e-4, atol=1e-5)


def test_fast_gradients_equal_the_plain_ones(cfg: Transformer) -> None:
    model, weights = stacked(cfg)
    weights = {n: w.double() for n, w in weights.items()}
    tokens = random_examples()
    gradients = []
    for forward in (model.last_logits, model.plain_last_logits):
        leaves = {n: w.clone().requires_grad_() for n, w in weights.items()}
        forward(leaves, tokens).logsumexp(-1).square().sum().backward()
        gradients.append({n: w.grad for n, w in leaves.items()})
    fast, plain = gradients
    for name in weights:
        torch.testing.assert_close(fast[name], plain[name], rtol=1e-6, atol=1e-9, msg=name)


def test_replicates_do_not_mix(cfg: Transformer) -> None:
    model, weights = stacked(cfg)
    tokens = random_examples()
    alone = {n: w[1:2] for n, w in weights.items()}
    together = model.last_logits(weights, tokens)[1:2]
    torch.testing.assert_close(together, model.last_logits(alone, tokens[1:2]))


def test_a_deeper_model_takes_the_plain_path() -> None:
    cfg = Transformer(d_model=16, d_mlp=24, n_layers=2)
    model, weights = stacked(cfg)
    tokens = random_examples()
    torch.testing.assert_close(
        model.last_logits(weights, tokens)[2],
        model.module(weights, 2)(tokens[2])[:, -1],
        rtol=1e-4,
        atol=1e-5,
    )
