import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mechflow import attention, circuits, composition
from mechflow.circuits import Factors
from mechflow.config.sections import Transformer
from mechflow.models.transformer import HookedToyTransformer

seeds = st.integers(min_value=0, max_value=2**32)
KINDS = ("q", "k", "v")

D_VOCAB, N_POS = 7, 14
D_MODEL = 2 * D_VOCAB + N_POS
TOKEN = slice(0, D_VOCAB)  # what is here
POSITION = slice(D_VOCAB, D_VOCAB + N_POS)
PREVIOUS = slice(D_VOCAB + N_POS, D_MODEL)  # what is one position back
D_HEAD = N_POS


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_heads(seed: int, n_heads: int, d_model: int = 7, d_head: int = 3) -> dict[str, Tensor]:
    """Weights of two replicates, W_O transposed to the shape of the others."""
    return {
        name: normal(seed + i, 2, n_heads, d_model, d_head)
        for i, name in enumerate(("W_Q", "W_K", "W_V", "W_O"))
    }


def scores(earlier: dict[str, Tensor], later: dict[str, Tensor], kind: str) -> Tensor:
    ov = circuits.ov_circuit(earlier["W_V"], earlier["W_O"].mT)
    if kind == "v":
        return composition.v_composition(ov, circuits.ov_circuit(later["W_V"], later["W_O"].mT))
    qk = circuits.qk_circuit(later["W_Q"], later["W_K"])
    return (composition.q_composition if kind == "q" else composition.k_composition)(ov, qk)


def published_score(a: dict[str, Tensor], b: dict[str, Tensor], kind: str) -> float:
    """Elhage et al. 2021, whose matrices act on columns, for one pair of heads."""
    W_OV = a["W_O"] @ a["W_V"].T
    W_QK = b["W_Q"] @ b["W_K"].T
    reader = {"q": W_QK.T, "k": W_QK, "v": b["W_O"] @ b["W_V"].T}[kind]
    return float((reader @ W_OV).norm() / (reader.norm() * W_OV.norm()))


@pytest.mark.parametrize(("d_model", "d_head"), [(7, 3), (3, 5), (4, 4)])
@pytest.mark.parametrize("kind", KINDS)
def test_all_pairs_equal_the_published_definition(kind: str, d_model: int, d_head: int) -> None:
    earlier = random_heads(0, 3, d_model, d_head)
    later = random_heads(10, 2, d_model, d_head)
    found = scores(earlier, later, kind)
    assert found.shape == (2, 3, 2)
    for r in range(2):
        for a in range(3):
            for b in range(2):
                one = {name: w[r, a] for name, w in earlier.items()}
                other = {name: w[r, b] for name, w in later.items()}
                expected = published_score(one, other, kind)
                assert found[r, a, b].item() == pytest.approx(expected, rel=1e-9)


@given(seeds, st.sampled_from(KINDS))
@settings(max_examples=20)
def test_scores_keep_their_bounds_and_their_ceiling(seed: int, kind: str) -> None:
    earlier, later = random_heads(seed, 2), random_heads(seed + 10, 2)
    found = scores(earlier, later, kind)
    assert (found >= 0).all()
    assert (found <= 1).all()
    ov = circuits.ov_circuit(earlier["W_V"], earlier["W_O"].mT).singular_values()
    reader = (
        circuits.ov_circuit(later["W_V"], later["W_O"].mT)
        if kind == "v"
        else circuits.qk_circuit(later["W_Q"], later["W_K"])
    ).singular_values()
    ceiling = (ov.unsqueeze(2) * reader.unsqueeze(1)).norm(dim=-1)
    ceiling /= ov.norm(dim=-1).unsqueeze(2) * reader.norm(dim=-1).unsqueeze(1)
    assert (found <= ceiling + 1e-12).all()


@pytest.mark.parametrize("kind", KINDS)
def test_scores_do_not_depend_on_how_weights_are_written(kind: str) -> None:
    earlier, later = random_heads(0, 3), random_heads(10, 2)
    reference = scores(earlier, later, kind)

    scale = {"W_Q": 3.0, "W_K": -0.1, "W_V": 1e6, "W_O": 1e-9}
    scaled = [{name: scale[name] * w for name, w in h.items()} for h in (earlier, later)]
    torch.testing.assert_close(scores(*scaled, kind), reference)

    rotation = torch.linalg.qr(normal(20, 2, 1, 7, 7)).Q
    rotated = [{name: rotation @ w for name, w in h.items()} for h in (earlier, later)]
    torch.testing.assert_close(scores(*rotated, kind), reference)

    # q -> q M, k -> k M^-T leaves the scores of a head alone, and v -> v M, W_O -> M^-1 W_O.
    basis = normal(21, 2, 1, 3, 3)
    change = {"W_Q": basis, "W_K": basis.inverse().mT, "W_V": basis, "W_O": basis.inverse().mT}
    rebased = [{name: w @ change[name] for name, w in h.items()} for h in (earlier, later)]
    torch.testing.assert_close(scores(*rebased, kind), reference)

    # Turning the stream between the layers only is no change of basis.
    one_sided = scores(rotated[0], later, kind)
    assert (one_sided - reference).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_of_zeros_composes_with_nothing(kind: str) -> None:
    earlier, later = random_heads(0, 3), random_heads(10, 2)
    earlier["W_O"][:, 1] = 0
    found = scores(earlier, later, kind)
    assert found[:, 1].eq(0).all()
    assert (found[:, [0, 2]] > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_rank_one_heads_reach_one_through_their_own_entrance_only(kind: str) -> None:
    axes = torch.eye(7).double()[:, :, None].expand(7, 7, 1)
    writer = {"W_V": axes[0:1], "W_O": axes[1:2]}
    writer |= {"W_Q": axes[2:3], "W_K": axes[3:4]}
    entrance = {"q": "W_Q", "k": "W_K", "v": "W_V"}
    reader = {name: axes[4:5] for name in ("W_Q", "W_K", "W_V", "W_O")}
    reader[entrance[kind]] = axes[1:2]
    found = {other: scores(writer, reader, other).item() for other in KINDS}
    assert found == {other: pytest.approx(float(other == kind)) for other in KINDS}


def test_circuits_through_embeddings_are_refused() -> None:
    w = random_heads(0, 2)
    ov = circuits.ov_circuit(w["W_V"], w["W_O"].mT)
    full = circuits.ov_circuit(w["W_V"], w["W_O"].mT, normal(4, 2, 5, 7))
    for pair in ((ov, full), (full, ov)):
        with pytest.raises(ValueError, match="one residual stream"):
            composition.v_composition(*pair)


def test_random_baseline_is_one_over_the_root_of_the_width() -> None:
    draws = composition.random_composition(40, 5, 300, torch.Generator().manual_seed(0))
    assert draws.shape == (300,)
    assert draws.square().mean().sqrt().item() == pytest.approx(1 / math.sqrt(40), rel=0.05)
    assert len(draws.unique()) == 300
    again = composition.random_composition(40, 5, 300, torch.Generator().manual_seed(0))
    assert torch.equal(draws, again)
    other = composition.random_composition(40, 5, 300, torch.Generator().manual_seed(1))
    assert not torch.isclose(draws, other).any()


@pytest.mark.parametrize("kind", KINDS)
def test_random_baseline_is_that_of_random_heads_of_every_kind(kind: str) -> None:
    earlier = {n: normal(30 + i, 400, 1, 12, 4) for i, n in enumerate(("W_V", "W_O"))}
    names = ("W_Q", "W_K", "W_V", "W_O")
    later = {name: normal(40 + i, 400, 1, 12, 4) for i, name in enumerate(names)}
    found = scores(earlier, later, kind).flatten()
    baseline = composition.random_composition(12, 4, 400, torch.Generator().manual_seed(2))
    error = math.sqrt((found.var() + baseline.var()).item() / 400)
    assert abs((found.mean() - baseline.mean()).item()) < 4 * error


def induction_weights() -> dict[str, Tensor]:
    """A previous-token head (L0H0) and an induction head (L1H0); the heads beside them are noise.

    Both write orthogonal subspaces of one-hot codes: tokens, positions, and the token before.
    """
    weights = {
        f"blocks.{layer}.attn.W_{letter}": torch.zeros(2, D_MODEL, D_HEAD, dtype=torch.float64)
        for layer in range(2)
        for letter in "QKVO"
    }
    tokens, positions = torch.eye(D_VOCAB).double(), torch.eye(N_POS).double()
    first = {letter: weights[f"blocks.0.attn.W_{letter}"][0] for letter in "QKVO"}
    first["Q"][POSITION] = 100 * positions
    first["K"][POSITION] = positions.roll(1, dims=1)  # key t is found by query t + 1
    second = {letter: weights[f"blocks.1.attn.W_{letter}"][0] for letter in "QKVO"}
    second["Q"][TOKEN, :D_VOCAB] = 100 * tokens
    second["K"][PREVIOUS, :D_VOCAB] = tokens
    for head, target in ((first, PREVIOUS), (second, TOKEN)):
        head["V"][TOKEN, :D_VOCAB] = tokens
        head["O"][target, :D_VOCAB] = 10 * tokens
    for layer in range(2):
        for i, letter in enumerate("QKVO"):
            noise = 1e-3 * normal(50 + 4 * layer + i, D_MODEL, D_HEAD)
            weights[f"blocks.{layer}.attn.W_{letter}"][1] = noise
    return {name: w.mT if name.endswith("W_O") else w for name, w in weights.items()}


def test_hand_built_induction_works_and_composes_through_keys_as_far_as_possible() -> None:
    weights = induction_weights()
    by_layer = [[weights[f"blocks.{i}.attn.W_{letter}"] for letter in "QKVO"] for i in range(2)]
    (_, _, *ov_0), (*qk_1, W_V_1, W_O_1) = by_layer
    ov, qk = circuits.ov_circuit(*ov_0), circuits.qk_circuit(*qk_1)
    k = composition.k_composition(ov, qk)
    # All singular values that are not 0 are equal, and all that is written is read.
    assert k[0, 0].item() == pytest.approx(1 / math.sqrt(D_VOCAB))
    assert k.argmax() == 0
    assert composition.q_composition(ov, qk)[0, 0].item() == pytest.approx(0, abs=1e-12)
    ov_1 = circuits.ov_circuit(W_V_1, W_O_1)
    assert composition.v_composition(ov, ov_1)[0, 0].item() == pytest.approx(0, abs=1e-12)
    draws = composition.random_composition(D_MODEL, D_HEAD, 200, torch.Generator().manual_seed(0))
    assert k[0, 0] > draws.max()

    # No rotation of what the earlier head writes makes it fit better.
    for seed in range(5):
        turn = torch.linalg.qr(normal(seed, D_MODEL, D_MODEL)).Q
        turned = Factors(ov.left, ov.right @ turn)
        assert composition.k_composition(turned, qk)[0, 0] < k[0, 0]

    cfg = Transformer(n_layers=2, n_heads=2, d_model=D_MODEL, d_mlp=0)
    model = HookedToyTransformer(cfg, d_vocab=D_VOCAB, d_vocab_out=D_VOCAB, n_ctx=N_POS).double()
    W_E = torch.zeros(D_VOCAB, D_MODEL, dtype=torch.float64)
    W_E[:, TOKEN] = torch.eye(D_VOCAB)
    W_pos = torch.zeros(N_POS, D_MODEL, dtype=torch.float64)
    W_pos[:, POSITION] = torch.eye(N_POS)
    model.load_state_dict(
        weights | {"embed.W_E": W_E, "pos_embed.W_pos": W_pos, "unembed.W_U": W_E.T}
    )
    # Position 0 can only see itself: without a start token it would pass for its own successor.
    length = D_VOCAB - 1
    block = torch.stack(
        [torch.randperm(length, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    )
    tokens = torch.nn.functional.pad(torch.cat([block, block], dim=1) + 1, (1, 0))
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens)
    assert logits[:, length + 1 : -1].argmax(-1).equal(tokens[:, length + 2 :])
    n_pos = tokens.shape[1]
    previous = attention.previous_token_score(cache["blocks.0.attn.hook_pattern"])
    uniform = attention.uniform_previous_token_score(n_pos)
    assert previous.tolist() == pytest.approx([1, uniform], abs=1e-4)
    queries = torch.arange(n_pos).expand(len(tokens), -1)
    sources = attention.after_earlier_occurrences(tokens)
    matching = attention.prefix_matching_score(
        cache["blocks.1.attn.hook_pattern"], queries, sources
    )
    uniform = attention.uniform_prefix_matching_score(queries, sources).item()
    assert matching.tolist() == pytest.approx([1, uniform], abs=1e-4)
    full = circuits.ov_circuit(W_V_1, W_O_1, W_E, W_E.T)
    assert circuits.copying_score(full)[0].item() == pytest.approx(1)
