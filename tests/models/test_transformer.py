"""The hooked transformer against its definition, and its place in TransformerLens."""

import math

import pytest
import torch
from torch.nn import functional
from transformer_lens import ActivationCache

from mechflow.config.sections import Transformer
from mechflow.models.initialise import initialise
from mechflow.models.quantise import quantise
from mechflow.models.transformer import HookedToyTransformer

P = 7
TOKENS = torch.cartesian_prod(torch.arange(P), torch.arange(P), torch.tensor([P]))


def build(cfg: Transformer, generator: torch.Generator) -> HookedToyTransformer:
    model = HookedToyTransformer(cfg, d_vocab=P + 1, d_vocab_out=P, n_ctx=3)
    initialise(model, cfg, generator)
    for name, parameter in model.named_parameters():
        if ".b" in name or name.endswith(".w"):
            parameter.data.normal_(generator=generator)
    return model


def test_cache_reproduces_the_residual_stream(cfg: Transformer, generator: torch.Generator) -> None:
    model = build(cfg, generator)
    logits, cache = model.run_with_cache(TOKENS)
    assert isinstance(cache, ActivationCache | dict)
    resid = cfg.residual_gain * cache["blocks.0.hook_resid_pre"] + cache["blocks.0.hook_attn_out"]
    if cfg.d_mlp:
        torch.testing.assert_close(cache["blocks.0.hook_resid_mid"], resid)
        resid = resid + cache["blocks.0.hook_mlp_out"]
    torch.testing.assert_close(cache["blocks.0.hook_resid_post"], resid)
    assert torch.equal(cache["hook_logits"], logits)


def test_hooks_have_the_names_of_transformer_lens() -> None:
    cfg = Transformer(d_model=16, d_mlp=24, normalization="LN")
    model = HookedToyTransformer(cfg, d_vocab=P + 1, d_vocab_out=P, n_ctx=3)
    attention = ("q", "k", "v", "z", "attn_scores", "pattern")
    expected = {
        "hook_embed",
        "hook_pos_embed",
        "ln_final.hook_normalized",
        "hook_logits",
        *(f"blocks.0.attn.hook_{n}" for n in attention),
        *(f"blocks.0.ln{n}.hook_normalized" for n in (1, 2)),
        *(f"blocks.0.hook_{n}" for n in ("resid_pre", "resid_mid", "resid_post")),
        *(f"blocks.0.hook_{n}" for n in ("attn_out", "mlp_out")),
        *(f"blocks.0.mlp.hook_{n}" for n in ("pre", "post")),
    }
    assert set(model.hook_dict) == expected


def test_attention_is_torch_scaled_dot_product_attention(generator: torch.Generator) -> None:
    cfg = Transformer(d_model=16, d_mlp=0)
    model = build(cfg, generator)
    _, cache = model.run_with_cache(TOKENS)
    q, k, v = (cache[f"blocks.0.attn.hook_{n}"].transpose(1, 2) for n in "qkv")
    expected = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
    torch.testing.assert_close(cache["blocks.0.attn.hook_z"], expected)


def test_attention_scale_of_the_notebook_divides_by_the_root_of_the_model_width(
    generator: torch.Generator,
) -> None:
    cfg = Transformer(d_model=16, d_mlp=0, attention_scale="sqrt_d_model", causal=False)
    _, cache = build(cfg, generator).run_with_cache(TOKENS)
    q, k = (cache[f"blocks.0.attn.hook_{n}"].transpose(1, 2) for n in "qk")
    expected = q @ k.transpose(-1, -2) / math.sqrt(16)
    torch.testing.assert_close(cache["blocks.0.attn.hook_attn_scores"], expected)


def test_layer_norm_is_torch_layer_norm(generator: torch.Generator) -> None:
    cfg = Transformer(d_model=16, d_mlp=0, normalization="LN", normalization_sites=("final",))
    model = build(cfg, generator)
    _, cache = model.run_with_cache(TOKENS)
    norm = model.ln_final
    expected = functional.layer_norm(cache["blocks.0.hook_resid_post"], (16,), norm.w, norm.b)
    torch.testing.assert_close(cache["ln_final.hook_normalized"], expected)


def test_rms_norm_is_the_notebooks_up_to_its_epsilon(generator: torch.Generator) -> None:
    cfg = Transformer(d_model=16, d_mlp=0, normalization="RMS", normalization_sites=("final",))
    model = build(cfg, generator)
    _, cache = model.run_with_cache(TOKENS)
    resid = cache["blocks.0.hook_resid_post"]
    expected = functional.normalize(resid, dim=-1) * math.sqrt(16) * model.ln_final.w
    torch.testing.assert_close(cache["ln_final.hook_normalized"], expected, rtol=1e-4, atol=1e-4)


def test_binary_forward_equals_a_full_model_holding_the_signs(generator: torch.Generator) -> None:
    cfg = Transformer(d_model=16, d_mlp=24, precision="binary", initialization="torch")
    binary = build(cfg, generator)
    full = HookedToyTransformer(
        cfg.model_copy(update={"precision": "full"}), d_vocab=P + 1, d_vocab_out=P, n_ctx=3
    )
    state = binary.state_dict()
    signs = {
        n: quantise(w, "binary", scale=False) if n.startswith("blocks") else w
        for n, w in state.items()
    }
    full.load_state_dict(signs)
    assert torch.equal(binary(TOKENS), full(TOKENS))


def test_heads_have_the_configured_width_and_the_scale_follows_it(
    generator: torch.Generator,
) -> None:
    cfg = Transformer(d_model=16, d_mlp=0, n_heads=3, d_head=5)
    model = build(cfg, generator)
    _, cache = model.run_with_cache(TOKENS)
    q, k, v = (cache[f"blocks.0.attn.hook_{n}"].transpose(1, 2) for n in "qkv")
    assert q.shape[1::2] == (3, 5)
    expected = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
    torch.testing.assert_close(cache["blocks.0.attn.hook_z"], expected)


def test_a_gain_of_two_is_a_block_with_its_own_skip_connection_inside_another(
    generator: torch.Generator,
) -> None:
    cfg = Transformer(d_model=16, d_mlp=0, n_layers=2, residual_gain=2.0)
    model = build(cfg, generator)
    resid = model.embed(TOKENS) + model.pos_embed(TOKENS)
    for block in model.blocks:
        resid = resid + (resid + block.attn(resid))
    torch.testing.assert_close(model(TOKENS), model.unembed(resid))


def test_a_model_without_positions_and_mask_is_symmetric_in_its_operands(
    generator: torch.Generator,
) -> None:
    cfg = Transformer(d_model=16, d_mlp=24, positions="none", causal=False)
    model = build(cfg, generator)
    swapped = TOKENS[:, [1, 0, 2]]
    torch.testing.assert_close(model(TOKENS)[:, -1], model(swapped)[:, -1])


def test_positions_break_the_symmetry(generator: torch.Generator) -> None:
    model = build(Transformer(d_model=16, d_mlp=24), generator)
    swapped = TOKENS[:, [1, 0, 2]]
    assert (model(TOKENS) - model(swapped))[:, -1].abs().max() > 1e-3


@pytest.mark.parametrize("layers", [1, 3])
def test_causal_models_do_not_see_later_tokens(layers: int, generator: torch.Generator) -> None:
    model = build(Transformer(d_model=16, d_mlp=24, n_layers=layers), generator)
    changed = TOKENS.clone()
    changed[:, 2] = 0
    torch.testing.assert_close(model(TOKENS)[:, :2], model(changed)[:, :2])


def test_no_weight_is_dead_like_the_one_that_the_published_bit_linear_kept(
    cfg: Transformer, generator: torch.Generator
) -> None:
    """That layer wrapped another and left its own weight unused, which was then plotted."""
    model = build(cfg, generator)
    model(TOKENS).square().sum().backward()
    for name, parameter in model.named_parameters():
        # The bias of the keys shifts all scores of a query alike, which softmax does not see.
        if not name.endswith("b_K"):
            assert parameter.grad.abs().max() > 1e-6, name


def test_each_layer_has_its_own_cache_entries_unlike_a_cache_keyed_by_class(
    generator: torch.Generator,
) -> None:
    model = build(Transformer(d_model=16, d_mlp=24, n_layers=2), generator)
    _, cache = model.run_with_cache(TOKENS)
    for site in ("attn.hook_pattern", "mlp.hook_post"):
        assert not torch.equal(cache[f"blocks.0.{site}"], cache[f"blocks.1.{site}"])
