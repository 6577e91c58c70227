import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import (
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    NanoChatConfig,
    PreTrainedConfig,
)

from mechflow.language_models.load import LanguageModel, load_language_model
from mechflow.language_models.partial_runs import run_prefix, run_recorded, unembed
from mechflow.language_models.patching import CleanRuns, Tokens, interchange, run_pairs
from tests.language_models.conftest import TinyModel

TOKENS: list[Tokens] = ["last", "operand"]
SCALED: dict[str, tuple[type[PreTrainedConfig], dict[str, float]]] = {
    "gemma2": (Gemma2Config, {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 1.0}),
    "cohere": (CohereConfig, {"logit_scale": 0.3}),
    "granite": (
        GraniteConfig,
        {"logits_scaling": 3.0, "residual_multiplier": 0.5, "embedding_multiplier": 4.0},
    ),
    "nanochat": (NanoChatConfig, {"final_logit_softcapping": 3.0}),
}
"""Models that scale or softly cap what they compute, well within the range of tiny ones."""


@pytest.fixture(scope="module")
def llama(tiny_llama_folder: Path) -> LanguageModel:
    return load_language_model(tiny_llama_folder, dtype=torch.float32)


@pytest.fixture(scope="module", params=["llama", "gemma", *SCALED])
def language_model(
    request: pytest.FixtureRequest, llama: LanguageModel, tiny_model: TinyModel
) -> LanguageModel:
    if request.param == "llama":
        return llama
    if request.param == "gemma":
        # Scaled embeddings, and every other block sees 4 tokens only: fewer than come before.
        kinds = ["sliding_attention", "full_attention"] * 2
        return tiny_model(Gemma3TextConfig, sliding_window=4, layer_types=kinds)
    config_class, special = SCALED[request.param]
    return tiny_model(config_class, **special)


class Pairs:
    """Prompts "a + b = " that differ in b, of several lengths, in no order."""

    def __init__(self, language_model: LanguageModel, numbers: Sequence[tuple[int, int, int]]):
        ids = language_model.tokenizer
        self.base: list[list[int]] = [ids(f"{a} + {b} = ")["input_ids"] for a, b, _ in numbers]
        self.source: list[list[int]] = [ids(f"{a} + {c} = ")["input_ids"] for a, _, c in numbers]
        starts = [len(ids(f"{a} + ")["input_ids"]) for a, _, _ in numbers]
        self.operands = [
            (first, first + len(str(b))) for first, (_, b, _) in zip(starts, numbers, strict=True)
        ]

    def run(self, language_model: LanguageModel, batch: int = 128) -> CleanRuns:
        return run_pairs(language_model, self.base, self.source, self.operands, batch=batch)


@pytest.fixture(scope="module")
def pairs(llama: LanguageModel) -> Pairs:
    numbers = [(12, 345, 678), (7, 21, 93), (40, 501, 999), (3, 5, 8), (88, 170, 234), (6, 77, 10)]
    return Pairs(llama, numbers)


@pytest.fixture(scope="module")
def runs(language_model: LanguageModel, pairs: Pairs) -> CleanRuns:
    return pairs.run(language_model)


def full_run(
    language_model: LanguageModel,
    ids: list[int],
    position: int,
    layer: int = 0,
    change: Callable[[Tensor], Tensor] = lambda stream: stream,
) -> tuple[Tensor, Tensor]:
    """States at a position at all layers, and log-probabilities, of one full forward pass.

    `change` makes the new residual stream [pos, d_model] of the layer out of the old one.
    """
    states: dict[int, Tensor] = {}

    def changed(at: int, stream: Tensor) -> Tensor:
        new = change(stream[0])[None] if at == layer else stream
        states[at] = new[0]
        return new

    def before(_: object, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (changed(0, args[0]), *args[1:])

    def after(at: int) -> Callable[[object, object, Tensor], Tensor]:
        return lambda _, __, output: changed(at, output)

    modules = [*language_model.blocks, language_model.final_norm]
    handles = [module.register_forward_hook(after(i + 1)) for i, module in enumerate(modules)]
    handles.append(language_model.blocks[0].register_forward_pre_hook(before))
    with torch.no_grad():
        logits = language_model.model(torch.tensor([ids]), use_cache=False).logits[0, -1]
    for handle in handles:
        handle.remove()
    return torch.stack([states[at] for at in range(len(modules) + 1)]), logits.log_softmax(-1)


@torch.no_grad()
def test_logits_are_made_as_the_models_own_forward_makes_them(
    language_model: LanguageModel, pairs: Pairs
) -> None:
    for prompt, (first, _) in zip(pairs.base, pairs.operands, strict=True):
        ids = torch.tensor([prompt])
        own = language_model.model(ids, use_cache=False).logits[:, -1]
        run = run_recorded(
            language_model, ids[:, first:], run_prefix(language_model, ids[:, :first])
        )
        unembedded = unembed(language_model, language_model.final_norm(run.streams[-1]), run)
        torch.testing.assert_close(run.logits, own, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(unembedded, own, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SCALED)
@torch.no_grad()
def test_each_scale_and_cap_that_is_tried_changes_the_logits(
    name: str, tiny_model: TinyModel, pairs: Pairs
) -> None:
    config_class, special = SCALED[name]
    ids = torch.tensor(pairs.base[:1])
    tried = tiny_model(config_class, **special).model(ids).logits
    for key in special:
        without = special | {key: 1e4 if key.endswith("capping") else 1.0}
        plain = tiny_model(config_class, **without).model(ids).logits
        assert (tried - plain).norm() > 0.05 * plain.norm(), key


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("batch", [1, 128])
def test_a_patched_run_is_a_full_forward_pass_with_a_hook(
    language_model: LanguageModel, pairs: Pairs, tokens: Tokens, batch: int
) -> None:
    runs = pairs.run(language_model, batch)
    for layer in range(language_model.n_layers + 1):
        patched = interchange(runs, layer, tokens=tokens)
        assert list(patched.read_layers) == list(range(layer, language_model.n_layers + 2))
        for row, (base, source, (first, stop)) in enumerate(
            zip(pairs.base, pairs.source, pairs.operands, strict=True)
        ):
            begin = first if tokens == "operand" else stop - 1
            given, source_log_probs = full_run(language_model, source, stop - 1)

            def put_in(
                stream: Tensor, given: Tensor = given[layer], begin: int = begin, stop: int = stop
            ) -> Tensor:
                return torch.cat([stream[:begin], given[begin:stop], stream[stop:]])

            clean, base_log_probs = full_run(language_model, base, stop - 1)
            states, log_probs = full_run(language_model, base, stop - 1, layer, put_in)
            torch.testing.assert_close(
                patched.states[row], states[layer:, stop - 1], rtol=1e-4, atol=1e-4
            )
            distance = (given[layer] - clean[layer])[begin:stop].norm()
            torch.testing.assert_close(patched.distance[row], distance, rtol=1e-4, atol=1e-4)
            for found, expected in (
                (runs.base.token[row], base_log_probs.argmax()),
                (runs.source.token[row], source_log_probs.argmax()),
                (runs.base.base_log_prob[row], base_log_probs.max()),
                (runs.source.source_log_prob[row], source_log_probs.max()),
                (patched.next_token.token[row], log_probs.argmax()),
                (patched.next_token.base_log_prob[row], log_probs[base_log_probs.argmax()]),
                (patched.next_token.source_log_prob[row], log_probs[source_log_probs.argmax()]),
            ):
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tokens", TOKENS)
def test_a_prompt_put_into_itself_changes_nothing(
    language_model: LanguageModel, pairs: Pairs, tokens: Tokens
) -> None:
    runs = run_pairs(language_model, pairs.base, pairs.base, pairs.operands)
    for layer in range(language_model.n_layers + 1):
        for control in ("none", "random_direction"):
            patched = interchange(
                runs, layer, tokens=tokens, control=control, generator=torch.Generator()
            )
            assert patched.distance.eq(0).all()
            assert torch.equal(patched.next_token.token, runs.base.token)
            torch.testing.assert_close(patched.next_token.base_log_prob, runs.base.base_log_prob)


def test_patching_the_embedding_of_the_whole_operand_is_running_the_source(
    language_model: LanguageModel, pairs: Pairs, runs: CleanRuns
) -> None:
    patched = interchange(runs, 0, tokens="operand")
    assert not torch.equal(runs.base.token, runs.source.token)
    assert torch.equal(patched.next_token.token, runs.source.token)
    torch.testing.assert_close(patched.next_token.source_log_prob, runs.source.source_log_prob)
    torch.testing.assert_close(patched.next_token.base_log_prob, runs.source.base_log_prob)
    for row, (ids, (_, stop)) in enumerate(zip(pairs.source, pairs.operands, strict=True)):
        states, _ = full_run(language_model, ids, stop - 1)
        torch.testing.assert_close(patched.states[row], states[:, stop - 1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tokens", TOKENS)
def test_patching_the_last_layer_before_the_end_of_the_prompt_leaves_the_logits(
    runs: CleanRuns, tokens: Tokens
) -> None:
    patched = interchange(runs, runs.language_model.n_layers, tokens=tokens)
    assert (patched.distance > 0.1).all()
    assert torch.equal(patched.next_token.token, runs.base.token)
    torch.testing.assert_close(patched.next_token.base_log_prob, runs.base.base_log_prob)
    torch.testing.assert_close(patched.next_token.source_log_prob, runs.base.source_log_prob)


@pytest.mark.parametrize("tokens", TOKENS)
def test_a_random_direction_moves_every_state_as_far_to_somewhere_else(
    runs: CleanRuns, tokens: Tokens
) -> None:
    for layer in range(runs.language_model.n_layers + 1):
        real = interchange(runs, layer, tokens=tokens)
        random = interchange(
            runs,
            layer,
            tokens=tokens,
            control="random_direction",
            generator=torch.Generator().manual_seed(3),
        )
        torch.testing.assert_close(random.distance, real.distance, rtol=1e-4, atol=1e-5)
        own = interchange(_itself(runs), layer).states[:, 0]
        moves = [(patched.states[:, 0] - own) for patched in (real, random)]
        # At the operand's last token alone as well.
        torch.testing.assert_close(moves[0].norm(dim=1), moves[1].norm(dim=1), rtol=1e-4, atol=1e-5)
        assert torch.nn.functional.cosine_similarity(*moves).abs().max() < 0.7


def _itself(runs: CleanRuns) -> CleanRuns:
    """The same pairs with each base prompt as its own source."""
    groups = tuple(dataclasses.replace(group, source=group.base.streams) for group in runs.groups)
    return CleanRuns(runs.language_model, runs.base, runs.base, groups)


def test_random_directions_follow_from_the_seed_and_not_from_the_batches(
    llama: LanguageModel, pairs: Pairs
) -> None:
    def states(batch: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        clean = pairs.run(llama, batch)
        return interchange(clean, 1, control="random_direction", generator=generator).states

    torch.testing.assert_close(states(1, 0), states(128, 0), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(states(128, 0), states(128, 1), rtol=0.1)


@pytest.mark.parametrize("tokens", TOKENS)
def test_pairs_of_equal_length_may_have_operands_of_unequal_length(
    llama: LanguageModel, tokens: Tokens
) -> None:
    base, source = [[5, 6, 7, 8], [5, 6, 7, 8]], [[5, 9, 7, 8], [5, 9, 4, 8]]
    operands = [(1, 2), (1, 3)]
    together = interchange(run_pairs(llama, base, source, operands), 1, tokens=tokens)
    for row in range(2):
        one = slice(row, row + 1)
        runs = run_pairs(llama, base[one], source[one], operands[one])
        alone = interchange(runs, 1, tokens=tokens)
        torch.testing.assert_close(together.states[one], alone.states, rtol=1e-4, atol=1e-4)


def test_an_operand_at_the_very_start_has_nothing_in_front(llama: LanguageModel) -> None:
    base, source = (llama.tokenizer(f"{n} + 7 = ")["input_ids"] for n in (12, 58))
    runs = run_pairs(llama, [base], [source], [(0, 2)])
    patched = interchange(runs, 0, tokens="operand")
    expected, log_probs = full_run(llama, source, 1)
    torch.testing.assert_close(patched.states[0], expected[:, 1], rtol=1e-4, atol=1e-4)
    assert int(patched.next_token.token) == int(log_probs.argmax())


def test_the_model_is_left_as_it_was(language_model: LanguageModel, pairs: Pairs) -> None:
    before = full_run(language_model, pairs.base[0], 0)
    runs = pairs.run(language_model)
    first = interchange(runs, 1)
    again = interchange(runs, 1)
    assert torch.equal(first.states, again.states)
    assert all(not block._forward_hooks for block in language_model.blocks)
    assert not language_model.backbone._forward_hooks
    assert "forward" not in vars(language_model.backbone)
    after = full_run(language_model, pairs.base[0], 0)
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("base", "source", "operand", "message"),
    [
        ([5, 6, 7], [5, 6], (1, 2), "3 and 2 tokens"),
        ([5, 6, 7], [5, 8, 7], (1, 4), "tokens 1..3"),
        ([5, 6, 7], [5, 8, 7], (1, 1), "tokens 1..0"),
        ([5, 6, 7], [5, 8, 9], (1, 2), "outside of the operand"),
        ([5, 6, 7], [4, 8, 7], (1, 2), "outside of the operand"),
    ],
)
def test_what_is_no_pair_is_refused(
    llama: LanguageModel, base: list[int], source: list[int], operand: tuple[int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run_pairs(llama, [base], [source], [operand])


def test_what_cannot_be_patched_is_refused(llama: LanguageModel, pairs: Pairs) -> None:
    runs = pairs.run(llama)
    for layer in (-1, llama.n_layers + 1):
        with pytest.raises(ValueError, match=r"layers 0\.\.3"):
            interchange(runs, layer)
    with pytest.raises(ValueError, match="generator"):
        interchange(runs, 0, control="random_direction")
    with pytest.raises(ValueError, match="no pair"):
        run_pairs(llama, [], [], [])
