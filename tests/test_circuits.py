import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mechflow import circuits, svd
from mechflow.circuits import Factors
from mechflow.config.sections import Transformer
from mechflow.models.initialise import initialise
from mechflow.models.transformer import HookedToyTransformer

sizes = st.integers(min_value=1, max_value=7)
seeds = st.integers(min_value=0, max_value=2**32)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def heads(seed: int, d_model: int = 6, d_head: int = 2) -> dict[str, Tensor]:
    names = ("W_Q", "W_K", "W_V", "W_O")
    weights = {n: normal(seed + i, 2, 3, d_model, d_head) for i, n in enumerate(names)}
    return weights | {"W_O": weights["W_O"].mT}


def test_circuits_are_the_products_of_their_weights() -> None:
    w, W_E, W_pos, W_U = heads(0), normal(4, 2, 5, 6), normal(5, 2, 4, 6), normal(6, 2, 6, 5)
    qk, ov = circuits.qk_circuit(w["W_Q"], w["W_K"]), circuits.ov_circuit(w["W_V"], w["W_O"])
    scores = circuits.qk_circuit(w["W_Q"], w["W_K"], W_E, W_pos, 3.0)
    half = circuits.qk_circuit(w["W_Q"], w["W_K"], keys=W_pos)
    full = circuits.ov_circuit(w["W_V"], w["W_O"], W_E, W_U)
    for r in range(2):
        for h in range(3):
            W_Q, W_K, W_V, W_O = (w[name][r, h] for name in ("W_Q", "W_K", "W_V", "W_O"))
            for found, expected in (
                (qk, W_Q @ W_K.T),
                (ov, W_V @ W_O),
                (scores, W_E[r] @ W_Q @ W_K.T @ W_pos[r].T / 3),
                (half, W_Q @ W_K.T @ W_pos[r].T),
                (full, W_E[r] @ W_V @ W_O @ W_U[r]),
            ):
                torch.testing.assert_close(found.product()[r, h], expected)
                torch.testing.assert_close(found.transpose().product()[r, h], expected.T)


def test_circuits_of_float32_weights_are_float64() -> None:
    w = {name: tensor.float() for name, tensor in heads(1).items()}
    W_E, W_U = normal(4, 2, 5, 6).float(), normal(6, 2, 6, 5).float()
    assert circuits.qk_circuit(w["W_Q"], w["W_K"], W_E).product().dtype == torch.float64
    assert circuits.ov_circuit(w["W_V"], w["W_O"], W_E, W_U).product().dtype == torch.float64


def test_circuits_explain_a_one_layer_model() -> None:
    """Scores and logits of an attention-only model, put together from its circuits."""
    cfg = Transformer(n_layers=1, n_heads=2, d_model=8, d_mlp=0)
    model = HookedToyTransformer(cfg, d_vocab=5, d_vocab_out=3, n_ctx=4)
    initialise(model, cfg, torch.Generator().manual_seed(0))
    model.double()
    tokens = torch.tensor([[4, 0, 2, 2], [1, 3, 0, 4]])
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens)
    w = {name: p.detach() for name, p in model.named_parameters()}
    attn = [w[f"blocks.0.attn.W_{letter}"] for letter in "QKVO"]
    embeddings = (w["embed.W_E"], w["pos_embed.W_pos"])
    W_U = w["unembed.W_U"]

    rows = (tokens, torch.arange(4).expand(2, 4))
    scores = torch.zeros(2, 2, 4, 4, dtype=torch.float64)
    for query_rows, queries in zip(rows, embeddings, strict=True):
        for key_rows, keys in zip(rows, embeddings, strict=True):
            part = circuits.qk_circuit(*attn[:2], queries, keys, divisor=math.sqrt(4)).product()
            scores += part[:, query_rows[:, :, None], key_rows[:, None, :]].transpose(0, 1)
    causal = torch.ones(4, 4, dtype=torch.bool).tril()
    found = cache["blocks.0.attn.hook_attn_scores"]
    torch.testing.assert_close(scores[..., causal], found[..., causal])

    rebuilt = (embeddings[0][tokens] + embeddings[1]) @ W_U
    for source_rows, sources in zip(rows, embeddings, strict=True):
        table = circuits.ov_circuit(*attn[2:], sources, W_U).product()[:, source_rows]
        rebuilt += torch.einsum("nhqk,hnkv->nqv", cache["blocks.0.attn.hook_pattern"], table)
    torch.testing.assert_close(rebuilt, logits)


@given(sizes, sizes, sizes, seeds)
def test_singular_values_equal_those_of_the_product(m: int, n: int, rank: int, seed: int) -> None:
    factors = Factors(normal(seed, 2, m, rank), normal(seed + 1, 2, rank, n))
    direct = svd.singular_values(factors.product())
    found = factors.singular_values()
    assert found.shape == (2, min(m, n, rank))
    torch.testing.assert_close(found, direct[:, : min(m, n, rank)], rtol=1e-9, atol=1e-12)
    assert (direct[:, rank:] < 1e-12).all()
    torch.testing.assert_close(
        factors.frobenius_norm(), torch.linalg.matrix_norm(factors.product())
    )


def test_singular_values_of_nearly_parallel_factors_stay_exact() -> None:
    """Gram matrices of the factors would square the condition number and lose the small value."""
    size = torch.tensor([1.0, 1e-10]).double()
    left = torch.linalg.qr(normal(0, 6, 2)).Q * size
    right = torch.linalg.qr(normal(1, 5, 2)).Q.T
    found = Factors(left, right).singular_values()
    torch.testing.assert_close(found, size, rtol=1e-5, atol=0)


@given(sizes, sizes, seeds)
def test_copying_score_equals_that_of_the_full_matrix(m: int, rank: int, seed: int) -> None:
    factors = Factors(normal(seed, 3, m, rank), normal(seed + 1, 3, rank, m))
    values = np.linalg.eigvals(factors.product().numpy())
    expected = values.real.sum(-1) / np.abs(values).sum(-1)
    score = circuits.copying_score(factors)
    np.testing.assert_allclose(score, expected, atol=1e-7)
    assert (score.abs() <= 1 + 1e-12).all()
    # The sizes of eigenvalues, too, and not only the ratio of their sums.
    top = np.sort(np.abs(values), -1)[:, ::-1][:, : min(m, rank)]
    ours = factors.eigenvalues().abs().sort(-1, descending=True).values[:, : min(m, rank)]
    np.testing.assert_allclose(ours, top, atol=1e-6)


def test_copying_scores_of_known_maps() -> None:
    rotation = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double()
    left = torch.linalg.qr(normal(2, 5, 2)).Q
    maps = torch.stack([torch.eye(2).double(), -torch.eye(2).double(), rotation, 0 * rotation])
    projections = Factors(left.expand(4, 5, 2), maps @ left.T)
    torch.testing.assert_close(
        circuits.copying_score(projections), torch.tensor([1.0, -1, 0, 0]).double()
    )
    # Positive on the diagonal yet not copying: eigenvalues decide, not the logits of tokens.
    shear = Factors(torch.tensor([[1.0, 3.0], [-3.0, 1.0]]).double(), torch.eye(2).double())
    assert circuits.copying_score(shear).item() == pytest.approx(1 / math.sqrt(10))


def test_a_random_circuit_copies_no_more_than_chance() -> None:
    factors = Factors(normal(7, 200, 10, 4), normal(8, 200, 4, 10))
    assert circuits.copying_score(factors).mean().item() == pytest.approx(0, abs=0.1)


def test_copying_needs_a_square_circuit() -> None:
    with pytest.raises(ValueError, match="5 x 4"):
        circuits.copying_score(Factors(normal(0, 5, 2), normal(1, 2, 4)))
