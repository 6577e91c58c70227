"""Initial weights: their scale, and that they come from the passed generator alone."""

import math

import pytest
import torch

from mechflow.config.sections import Transformer
from mechflow.models.initialise import initialise
from mechflow.models.transformer import HookedToyTransformer


def weights(cfg: Transformer, seed: int = 0) -> dict[str, torch.Tensor]:
    model = HookedToyTransformer(cfg, d_vocab=200, d_vocab_out=199, n_ctx=3)
    initialise(model, cfg, torch.Generator().manual_seed(seed))
    return model.state_dict()


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("transformer_lens", {"embed.W_E": 0.8 / 8, "unembed.W_U": 0.8 / 8, "W_in": 0.8 / 8}),
        ("variance_scaled", {"embed.W_E": 1 / 8, "unembed.W_U": 199**-0.5, "W_out": 1 / 8}),
        (
            "head_scaled",
            {"embed.W_E": 1 / 8, "unembed.W_U": 199**-0.5, "W_in": 1 / 8},
        ),
        ("torch", {"embed.W_E": 1.0, "unembed.W_U": 1 / 8 / math.sqrt(3), "W_out": 1 / 48}),
    ],
)
def test_standard_deviations(scheme: str, expected: dict[str, float]) -> None:
    drawn = weights(Transformer(d_model=64, d_mlp=768, initialization=scheme))
    for name, deviation in expected.items():
        full_name = name if "." in name else f"blocks.0.mlp.{name}"
        assert drawn[full_name].std().item() == pytest.approx(deviation, rel=0.03)


def test_only_queries_keys_and_values_scale_with_the_head() -> None:
    drawn = weights(Transformer(d_model=64, n_heads=4, d_head=100, initialization="head_scaled"))
    for letter, deviation in (("Q", 1 / 10), ("K", 1 / 10), ("V", 1 / 10), ("O", 1 / 8)):
        found = drawn[f"blocks.0.attn.W_{letter}"].std().item()
        assert found == pytest.approx(deviation, rel=0.03), letter


def test_same_generator_state_gives_the_same_weights_and_no_global_state_is_touched() -> None:
    cfg = Transformer(d_model=16, d_mlp=24)
    before = torch.get_rng_state()
    first, again, other = weights(cfg, 1), weights(cfg, 1), weights(cfg, 2)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not torch.equal(first["embed.W_E"], other["embed.W_E"])
