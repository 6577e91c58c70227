import dataclasses
import re
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, PreTrainedTokenizerBase

from mechflow.language_models.answers import continuations, greedy_answers, read_number
from mechflow.language_models.errors import TokenisationError
from mechflow.language_models.load import LanguageModel, load_language_model
from mechflow.language_models.tokens import encode
from tests.language_models.conftest import TinyModel

PROMPTS = ["1 + 1 = 2\n" + f"{a} + {b} = " for a, b in [(7, 5), (12, 305), (40, 2), (6, 9), (8, 1)]]


@pytest.fixture(scope="module", params=["tiny_llama_folder", "tiny_llama_numbers_folder"])
def language_model(request: pytest.FixtureRequest) -> LanguageModel:
    folder: Path = request.getfixturevalue(request.param)
    return load_language_model(folder, dtype=torch.float32)


@pytest.fixture(scope="module")
def numbers_model(tiny_llama_numbers_folder: Path) -> LanguageModel:
    """A model most of whose tokens are numbers."""
    return load_language_model(tiny_llama_numbers_folder, dtype=torch.float32)


def tokens(language_model: LanguageModel, prompts: list[str]) -> list[list[int]]:
    return [language_model.tokenizer(prompt)["input_ids"] for prompt in prompts]


def naive_tokens(language_model: LanguageModel, prompt: list[int], n: int) -> list[int]:
    """Greedy tokens with the whole text run anew for each, and without a stop."""
    ids = list(prompt)
    for _ in range(n):
        with torch.no_grad():
            logits = language_model.model(torch.tensor([ids]), use_cache=False).logits
        ids.append(int(logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("batch", [1, 2, 128])
def test_answers_are_those_of_naive_greedy_decoding(
    language_model: LanguageModel, batch: int
) -> None:
    prompts = tokens(language_model, PROMPTS)
    answers = greedy_answers(language_model, prompts, max_new_tokens=5, batch=batch)
    assert len(answers) == len(prompts)
    for prompt, answer in zip(prompts, answers, strict=True):
        naive = naive_tokens(language_model, prompt, 5)
        assert list(answer.ids) == naive[: len(answer.ids)]
        assert answer.text == language_model.tokenizer.decode(naive[: len(answer.ids)])


def test_an_answer_ends_at_the_first_non_digit_behind_a_digit(
    numbers_model: LanguageModel,
) -> None:
    prompts = tokens(numbers_model, [f"{a} + {b} = " for a in range(0, 60, 7) for b in (3, 58)])
    endings = set()
    for answer in greedy_answers(numbers_model, prompts, max_new_tokens=6):
        before_last = numbers_model.tokenizer.decode(answer.ids[:-1])
        assert not re.search(r"\d\D", before_last)
        ended = bool(re.search(r"\d\D", answer.text))
        assert ended or len(answer.ids) == 6
        endings.add(ended)
    assert endings == {True, False}


def test_an_answer_ends_with_the_text(numbers_model: LanguageModel) -> None:
    [prompt] = tokens(numbers_model, ["7 + 5 = "])
    first, second = naive_tokens(numbers_model, prompt, 2)
    configured = numbers_model.model.generation_config
    before = configured.eos_token_id
    try:
        configured.eos_token_id = [first]
        [answer] = greedy_answers(numbers_model, [prompt], max_new_tokens=2)
        assert answer.ids == (first,)
        configured.eos_token_id = None
        [answer] = greedy_answers(numbers_model, [prompt], max_new_tokens=2)
        assert answer.ids[0] == first
        assert answer.ids[1:] in {(), (second,)}
    finally:
        configured.eos_token_id = before


@pytest.mark.parametrize("prompts", [[[5]], [[5, 6], [5, 6]], [[5, 6], [5, 6, 7]]])
def test_prompts_that_are_the_start_of_one_another(
    language_model: LanguageModel, prompts: list[list[int]]
) -> None:
    answers = greedy_answers(language_model, prompts, max_new_tokens=2)
    for prompt, answer in zip(prompts, answers, strict=True):
        assert list(answer.ids) == naive_tokens(language_model, prompt, 2)[: len(answer.ids)]


def test_refused_prompts(language_model: LanguageModel) -> None:
    assert greedy_answers(language_model, []) == []
    with pytest.raises(ValueError, match="no token"):
        greedy_answers(language_model, [[5], []])
    with pytest.raises(ValueError, match="0 tokens"):
        greedy_answers(language_model, [[5]], max_new_tokens=0)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("346\n12", 346),
        (" \n346", 346),
        ("007", 7),
        ("1,000", 1),
        ("12.5", 12),
        ("-5", None),
        ("about 5", None),
        ("", None),
        ("٣", None),
    ],
)
def test_read_number(text: str, number: int | None) -> None:
    assert read_number(text) == number


def test_continuations_are_what_the_tokenizer_adds(
    tiny_llama_folder: Path, numbers_model: LanguageModel
) -> None:
    digits = load_language_model(tiny_llama_folder, dtype=torch.float32).tokenizer
    for tokenizer, n_tokens in ((digits, 3), (numbers_model.tokenizer, 1)):
        [added] = continuations(tokenizer, ["305 + 41 = "], ["346"])
        assert len(added) == n_tokens
        assert tokenizer.decode(added) == "346"


def test_an_answer_that_merges_with_its_prompt_has_no_first_token(
    numbers_model: LanguageModel,
) -> None:
    assert continuations(numbers_model.tokenizer, [], []) == []
    with pytest.raises(TokenisationError, match=r"'12 \+ 71' .* end the template otherwise"):
        continuations(numbers_model.tokenizer, ["12 + 7"], ["1"])
    with pytest.raises(ValueError, match="token of its own"):
        continuations(numbers_model.tokenizer, ["12 + 7 = "], [""])


def test_an_answer_follows_the_prompt_and_not_what_the_tokenizer_appends(
    appending: PreTrainedTokenizerBase, tiny_model: TinyModel
) -> None:
    language_model = dataclasses.replace(tiny_model(LlamaConfig), tokenizer=appending)
    prompts = encode(appending, PROMPTS, [{}] * len(PROMPTS), ["last"]).ids
    front = appending("")["input_ids"][:-1]
    for text, ids, answer in zip(
        PROMPTS, prompts, greedy_answers(language_model, prompts, max_new_tokens=4), strict=True
    ):
        fed = [*front, *appending(text, add_special_tokens=False)["input_ids"]]
        assert list(ids) == fed
        assert list(answer.ids) == naive_tokens(language_model, fed, 4)[: len(answer.ids)]
    [added] = continuations(appending, [PROMPTS[0]], ["346"])
    assert appending.convert_ids_to_tokens(added) == ["3", "4", "6"]


def test_a_wrong_key_in_the_cache_would_be_noticed(language_model: LanguageModel) -> None:
    """The naive answers depend on the first tokens, which only the shared preamble holds."""
    prompts = tokens(language_model, PROMPTS)
    changed = [[prompt[0] + 1, *prompt[1:]] for prompt in prompts]
    answers = [
        [dataclasses.astuple(answer) for answer in greedy_answers(language_model, ids)]
        for ids in (prompts, changed)
    ]
    assert answers[0] != answers[1]
