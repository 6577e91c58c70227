"""Small architectures that together use every option of the transformer."""

import pytest
import torch

from mechflow.config.sections import Transformer

SMALL = {"d_model": 16, "d_mlp": 24, "n_heads": 4}
ARCHITECTURES = {
    "plain": {},
    "published_binary": {
        "positions": "none",
        "causal": False,
        "normalization": "RMS",
        "normalization_sites": ("final",),
        "attention_scale": "sqrt_d_model",
        "precision": "binary",
        "initialization": "torch",
    },
    "everything": {
        "normalization": "LN",
        "biases": ("attn", "mlp", "unembed"),
        "positions": "sinusoidal",
        "activation": "gelu",
        "initialization": "transformer_lens",
    },
    "scaled_ternary": {
        "normalization": "RMS",
        "precision": "ternary",
        "weight_scale": True,
        "causal": False,
        "activation": "silu",
    },
    "attention_only": {"d_mlp": 0, "positions": "none"},
    "doubled_stream": {
        "d_mlp": 0,
        "n_heads": 3,
        "d_head": 5,
        "residual_gain": 2.0,
        "initialization": "head_scaled",
    },
    "gained_mlp": {
        "d_head": 2,
        "residual_gain": 0.5,
        "normalization": "RMS",
        "normalization_sites": ("mlp",),
        "biases": ("attn", "mlp"),
    },
}


@pytest.fixture(params=ARCHITECTURES)
def cfg(request: pytest.FixtureRequest) -> Transformer:
    return Transformer(**{**SMALL, **ARCHITECTURES[request.param]})


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
