"""What a language model itself answers when it is asked for a number."""

import copy
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerBase

from mechflow.language_models.errors import TokenisationError
from mechflow.language_models.load import LanguageModel
from mechflow.language_models.partial_runs import last_logits
from mechflow.language_models.tokens import prompt_tokens

NUMBER = re.compile(r"\s*([0-9]+)")
NUMBER_HAS_ENDED = re.compile(r"[0-9][^0-9]")


@dataclass(frozen=True)
class Answer:
    """The tokens a model wrote after a prompt, with the one that ended the number, if any did."""

    ids: tuple[int, ...]
    text: str


def read_number(text: str) -> int | None:
    """Number with which an answer begins, after any white space; None if it begins otherwise.

    Only ASCII digits count. A separator ends a number ("1,000" is 1), as it ends the answers of
    `greedy_answers`; a sign or a word in front ("-5", "about 5") makes it no number.
    """
    found = NUMBER.match(text)
    return int(found[1]) if found else None


def continuations(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], answers: Sequence[str]
) -> list[tuple[int, ...]]:
    """Tokens by which each answer continues its prompt.

    They are what the tokenizer adds when the answer is written after the prompt, so the first one
    is the next token of a model that answers so.

    Raises:
        TokenisationError: if an answer is empty, or merges with the end of its prompt into other
            tokens, so that no next token begins it.
    """
    texts = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    whole, before = (prompt_tokens(tokenizer, side)[0] for side in (texts, prompts))
    found = []
    for text, ids, prompt_ids in zip(texts, whole, before, strict=True):
        if ids[: len(prompt_ids)] != prompt_ids or len(ids) == len(prompt_ids):
            raise TokenisationError(
                f"in {text!r} the answer does not begin with a token of its own: end the template "
                "otherwise, with or without a space"
            )
        found.append(ids[len(prompt_ids) :])
    return found


@torch.inference_mode()
def greedy_answers(
    language_model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int = 8,
    batch: int = 128,
) -> list[Answer]:
    """The model's greedy answers, in the order of the prompts.

    An answer ends after the token that holds the first non-digit behind a digit, after an
    end-of-text token, or when it has `max_new_tokens` tokens, whichever comes first. The tokens
    that all prompts begin with (a few-shot preamble) are run once; prompts of equal length share a
    batch, so nothing is padded.

    Args:
        language_model: the model and its tokenizer.
        prompts: tokens of each prompt, at least one.
        max_new_tokens: longest answer; a number of d digits needs d + 1 tokens to be seen to end
            where the tokenizer writes one digit a token.
        batch: prompts that run together at most.

    Raises:
        ValueError: if a prompt has no token, or a bound is not positive.
    """
    if max_new_tokens < 1 or batch < 1:
        raise ValueError(f"cannot write {max_new_tokens} tokens in batches of {batch}")
    if not all(len(prompt) for prompt in prompts):
        raise ValueError("a prompt has no token")
    if not prompts:
        return []
    preamble = _common_start(prompts)
    cache = _run_preamble(language_model, preamble)
    answers: list[Answer | None] = [None] * len(prompts)
    for rows in _equal_length_batches(prompts, batch):
        rest = torch.tensor(
            [prompts[row][len(preamble) :] for row in rows], device=language_model.device
        )
        written = _write(language_model, rest, cache, max_new_tokens)
        for row, answer in zip(rows, written, strict=True):
            answers[row] = answer
    return [answer for answer in answers if answer is not None]


def _common_start(prompts: Sequence[Sequence[int]]) -> list[int]:
    """Longest start that all prompts share and that leaves each of them a last token."""
    common = 0
    shortest = min(len(prompt) for prompt in prompts)
    # Of all sequences the smallest and the largest differ the earliest.
    first, last = min(prompts, key=tuple), max(prompts, key=tuple)
    while common < shortest - 1 and first[common] == last[common]:
        common += 1
    return list(first[:common])


def _run_preamble(language_model: LanguageModel, preamble: list[int]) -> DynamicCache:
    cache = DynamicCache()
    if preamble:
        ids = torch.tensor([preamble], device=language_model.device)
        language_model.backbone(ids, past_key_values=cache, use_cache=True)
    return cache


def _equal_length_batches(prompts: Sequence[Sequence[int]], batch: int) -> Iterator[list[int]]:
    rows_of_length: dict[int, list[int]] = defaultdict(list)
    for row, prompt in enumerate(prompts):
        rows_of_length[len(prompt)].append(row)
    for rows in rows_of_length.values():
        for start in range(0, len(rows), batch):
            yield rows[start : start + batch]


def _write(
    language_model: LanguageModel,
    ids: Int[Tensor, "prompts pos"],
    preamble: DynamicCache,
    max_new_tokens: int,
) -> list[Answer]:
    """Greedy answers of one batch of prompts of which the preamble has been run."""
    cache = copy.deepcopy(preamble)
    cache.batch_repeat_interleave(len(ids))
    end_of_text = _end_of_text(language_model)
    written: list[list[int]] = [[] for _ in ids]
    texts = [""] * len(ids)
    open_rows = set(range(len(ids)))
    while open_rows:
        ids = last_logits(language_model, ids, cache).argmax(dim=-1, keepdim=True)
        for row, token in enumerate(ids[:, 0].tolist()):
            if row not in open_rows:
                continue
            written[row].append(token)
            [texts[row]] = language_model.tokenizer.batch_decode([written[row]])
            ended = token in end_of_text or NUMBER_HAS_ENDED.search(texts[row])
            if ended or len(written[row]) == max_new_tokens:
                open_rows.discard(row)
    return [Answer(tuple(ids), text) for ids, text in zip(written, texts, strict=True)]


def _end_of_text(language_model: LanguageModel) -> frozenset[int]:
    token = language_model.model.generation_config.eos_token_id
    if token is None:
        return frozenset()
    return frozenset([token] if isinstance(token, int) else token)
