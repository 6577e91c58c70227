"""Prompts, their tokens, and the tokens of the operands, on tokenizers of several kinds."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mechflow.language_models.errors import TokenisationError
from mechflow.language_models.templates import render
from mechflow.language_models.tokens import Encoded, encode

NUMBERS = [(3, 45), (120, 7), (0, 0), (99, 900)]
EXAMPLE = "12 + 7 = 19\n{a} + {b} = "


@pytest.fixture(scope="module")
def digits(tiny_llama_folder: Path) -> PreTrainedTokenizerBase:
    """One digit a token, no BOS."""
    return AutoTokenizer.from_pretrained(tiny_llama_folder)


@pytest.fixture(scope="module")
def whole(tiny_llama_numbers_folder: Path) -> PreTrainedTokenizerBase:
    """One number a token, after a BOS."""
    return AutoTokenizer.from_pretrained(tiny_llama_numbers_folder)


def splitting(pattern: str, words: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the matches of a pattern."""
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?")


def encoded(
    tokenizer: PreTrainedTokenizerBase,
    template: str = "{a} + {b} =",
    positions: Sequence[str] = ("a", "b", "last"),
) -> Encoded:
    texts, spans = zip(*(render(template, a, b) for a, b in NUMBERS), strict=True)
    return encode(tokenizer, texts, spans, positions)


@given(
    st.tuples(*[st.text("{}ab01 +=\n", max_size=6)] * 3).filter(
        lambda parts: not any(name in text for text in parts for name in ("{a}", "{b}"))
    ),
    st.booleans(),
    *[st.integers(0, 10**6)] * 2,
)
def test_spans_are_where_the_operands_are(
    parts: tuple[str, str, str], swapped: bool, a: int, b: int
) -> None:
    first, second = ("{b}", "{a}") if swapped else ("{a}", "{b}")
    text, spans = render(first.join(parts[:2]) + second + parts[2], a, b)
    assert text[slice(*spans["a"])] == str(a)
    assert text[slice(*spans["b"])] == str(b)
    left, right = sorted(spans.values())
    assert (text[: left[0]], text[left[1] : right[0]], text[right[1] :]) == parts


@pytest.mark.parametrize(
    ("template", "said"),
    [("{a} + 1", "lacks {b}"), ("1 + 1", "lacks {a} and {b}"), ("{a} {b} {a}", "more than once")],
)
def test_each_placeholder_occurs_once(template: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        render(template, 1, 2)


def test_an_operand_of_many_tokens_is_read_at_its_last(digits: PreTrainedTokenizerBase) -> None:
    found = encoded(digits)
    assert digits.convert_ids_to_tokens(list(found.ids[1])) == [*"120", "Ġ+", "Ġ", "7", "Ġ="]
    assert found.positions.tolist() == [[0, 4, 5], [2, 5, 6], [0, 3, 4], [1, 6, 7]]
    assert found.operand_tokens == {
        "a": ((0, 1), (0, 3), (0, 1), (0, 2)),
        "b": ((3, 5), (5, 6), (3, 4), (4, 7)),
    }


def test_a_token_in_front_of_the_prompt_is_no_operand(whole: PreTrainedTokenizerBase) -> None:
    found = encoded(whole)
    assert {prompt[0] for prompt in found.ids} == {whole.bos_token_id}
    assert found.positions.tolist() == [[1, 4, 5]] * 4
    assert found.operand_tokens["a"] == ((1, 2),) * 4


def test_a_token_that_is_appended_is_no_token_of_a_prompt(
    appending: PreTrainedTokenizerBase,
) -> None:
    front = [token for token in appending.tokenize("", add_special_tokens=True) if token == "<s>"]
    found = encoded(appending)
    assert appending.convert_ids_to_tokens(list(found.ids[1])) == [
        *front,
        *"120",
        *["Ġ+", "Ġ", "7", "Ġ="],
    ]
    plain = torch.tensor([[0, 4, 5], [2, 5, 6], [0, 3, 4], [1, 6, 7]])
    assert torch.equal(found.positions, plain + len(front))
    last = encoded(appending, "{a} + {b}", ["last", "b"]).positions
    assert torch.equal(last[:, 0], last[:, 1])
    with pytest.raises(TokenisationError, match="the prompt '' has no token"):
        encode(appending, [""], [{}], ["last"])


def test_an_end_of_text_that_the_prompt_itself_has_is_read(
    appending: PreTrainedTokenizerBase,
) -> None:
    found = encoded(appending, "{a} + {b}</s>")
    for ids, (_, b, last) in zip(found.ids, found.positions.tolist(), strict=True):
        assert last == len(ids) - 1 == b + 1
        assert ids[last] == appending.eos_token_id


@pytest.mark.parametrize("trimmed", [False, True])
def test_a_space_at_the_end_is_the_last_token(
    appending: PreTrainedTokenizerBase, trimmed: bool
) -> None:
    """Also where a token's characters are given without the spaces around them."""
    backend = appending.backend_tokenizer
    backend.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=trimmed), backend.post_processor]
    )
    covered = appending("1 = ", return_offsets_mapping=True)["offset_mapping"][-2]
    assert covered == ((4, 4) if trimmed else (3, 4))
    found = encoded(appending, "{a} + {b} = ", ["b", "last"])
    for ids, (b, last) in zip(found.ids, found.positions.tolist(), strict=True):
        assert appending.convert_ids_to_tokens(list(ids[b + 1 :])) == ["Ġ=", "Ġ"]
        assert last == len(ids) - 1


def test_operands_are_found_behind_an_example(digits: PreTrainedTokenizerBase) -> None:
    found = encoded(digits, EXAMPLE, ["b", "a"])
    for ids, (a, b), positions in zip(found.ids, NUMBERS, found.positions.tolist(), strict=True):
        assert digits.decode(list(ids)) == EXAMPLE.format(a=a, b=b)
        assert digits.decode(list(ids[: positions[0] + 1])) == f"12 + 7 = 19\n{a} + {b}"
        assert digits.decode(list(ids[: positions[1] + 1])) == f"12 + 7 = 19\n{a}"


@given(st.text(" +=\n()", max_size=5), st.integers(0, 9999), st.integers(0, 9999))
def test_tokens_of_an_operand_spell_it(
    digits: PreTrainedTokenizerBase, between: str, a: int, b: int
) -> None:
    text, spans = render("{a} " + between + "{b}", a, b)
    found = encode(digits, [text], [spans], ["a", "b"])
    for name, number in (("a", a), ("b", b)):
        ((first, stop),) = found.operand_tokens[name]
        assert digits.decode(list(found.ids[0][first:stop])) == str(number)


def test_a_token_may_begin_with_the_space_before_the_operand() -> None:
    found = encoded(splitting(r" ?\d+", ["?"]), "{a} {b}!", ["b"])
    assert found.operand_tokens["b"] == ((1, 2),) * 4
    assert found.positions.tolist() == [[1]] * 4


@pytest.mark.parametrize(("pattern", "token"), [(r"\d+ =", "45 ="), (r"\+ \d+", "[+] 45")])
def test_a_token_with_text_beside_the_operand_is_refused(pattern: str, token: str) -> None:
    tokenizer = splitting(pattern, ["?"])
    with pytest.raises(TokenisationError, match=rf"'{token}' of the prompt '3 \+ 45 =' .* 'b|45"):
        encoded(tokenizer, positions=["b"])
    assert encoded(tokenizer, positions=["last"]).operand_tokens == {}


def test_operands_in_one_token_are_refused() -> None:
    tokenizer = splitting(r"\d+", ["?"])
    for name in "ab":
        with pytest.raises(TokenisationError, match=f"'345' .* operand {name}"):
            encoded(tokenizer, "{a}{b}", [name])


def test_an_operand_without_a_token_is_refused() -> None:
    tokenizer = Tokenizer(WordLevel({"?": 0, "+": 1}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\d"), behavior="removed")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?")
    with pytest.raises(TokenisationError, match=r"operand a of the prompt '3 \+ 45 =' has no tok"):
        encoded(fast, positions=["a"])


def test_a_tokenizer_without_offsets_is_refused() -> None:
    class Slow(PreTrainedTokenizerBase):
        is_fast = False

    with pytest.raises(ValueError, match="Slow is not a fast tokenizer"):
        encode(Slow(), ["1 + 2"], [{"a": (0, 1)}], ["a"])


def test_unknown_positions_and_missing_spans_are_refused(digits: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match="no operand c"):
        encoded(digits, positions=["a", "c"])
    with pytest.raises(ValueError, match="2 prompts with spans of 1"):
        encode(digits, ["1", "2"], [{}], ["last"])


def test_a_tokenizer_set_to_pad_and_cut_does_neither(whole: PreTrainedTokenizerBase) -> None:
    before = encoded(whole)
    whole.backend_tokenizer.enable_truncation(2)
    whole.backend_tokenizer.enable_padding(length=12)
    assert encoded(whole).ids == before.ids


def test_no_prompts_give_nothing(digits: PreTrainedTokenizerBase) -> None:
    found = encode(digits, [], [], ["a", "last"])
    assert found.ids == ()
    assert found.positions.shape == (0, 2)
