"""Prompts about two numbers: their text, their tokens, and the tokens that hold the operands.

Where an operand's tokens are is read from the characters that each token covers, so that it holds
for tokenizers that write a number as one token, as one token a digit, or otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Int
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mechflow.language_models.errors import TokenisationError
from mechflow.language_models.folder import TOKENIZER
from mechflow.language_models.templates import Span

LAST = "last"
"""Name of the position of a prompt's last token; other positions have the names of operands."""


@dataclass(frozen=True)
class Encoded:
    """Prompts as tokens."""

    ids: tuple[tuple[int, ...], ...]
    positions: Int[Tensor, "prompts positions"]
    """Index of the token at each position that was asked for."""
    operand_tokens: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    """For each operand that was asked for, its tokens in every prompt."""


def encode(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    spans: Sequence[Mapping[str, Span]],
    positions: Sequence[str],
) -> Encoded:
    """Prompts as tokens, with the special tokens that the tokenizer puts in front.

    Those that it appends, such as an end of text, are left out: what is written after a prompt
    follows its last character.

    Args:
        tokenizer: a fast one, which knows the characters of each token.
        texts: the prompts.
        spans: characters of each operand, for each prompt.
        positions: names of operands, which stand for an operand's last token, or `last` for a
            prompt's last token, which is the last one with characters.

    Raises:
        TokenisationError: if an operand that is asked for shares a token with the text around it,
            or has none. A token may begin with the spaces before an operand.
        ValueError: if the tokenizer is not a fast one, a position is not known, or there is not one
            mapping of spans for each prompt.
    """
    if len(texts) != len(spans):
        raise ValueError(f"{len(texts)} prompts with spans of {len(spans)}")
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} is not a fast tokenizer: it does not say which characters "
            "a token covers"
        )
    names = [name for name in dict.fromkeys(positions) if name != LAST]
    unknown = [name for name in names if any(name not in of_prompt for of_prompt in spans)]
    if unknown:
        raise ValueError(f"the prompts have no operand {', '.join(unknown)}")
    ids, offsets = prompt_tokens(tokenizer, texts)
    ranges = {
        name: tuple(
            _operand_tokens(text, prompt_offsets, name, of_prompt[name])
            for text, prompt_offsets, of_prompt in zip(texts, offsets, spans, strict=True)
        )
        for name in names
    }
    ends = ranges | {LAST: tuple((0, len(prompt)) for prompt in ids)}
    columns = [[stop - 1 for _, stop in ends[name]] for name in positions]
    found = torch.tensor(columns, dtype=torch.int64).reshape(len(positions), len(texts))
    return Encoded(ids=ids, positions=found.T.contiguous(), operand_tokens=ranges)


def prompt_tokens(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> tuple[tuple[tuple[int, ...], ...], list[list[Span]]]:
    """Tokens of each prompt up to its last character, and the characters that each token covers.

    Nothing is padded or cut. Some tokenizers do not count white space as covered.

    Raises:
        TokenisationError: if a prompt has no token of its own.
    """
    if not texts:
        return (), []
    encoding = tokenizer(
        list(texts),
        padding=False,
        truncation=False,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
    )
    columns = (encoding[key] for key in ("input_ids", "offset_mapping", "special_tokens_mask"))
    ids, offsets = [], []
    for text, tokens, covered, was_added in zip(texts, *columns, strict=True):
        ends = [i + 1 for i, added in enumerate(was_added) if not added]
        if not ends:
            raise TokenisationError(f"the prompt {text!r} has no token")
        ids.append(tuple(tokens[: ends[-1]]))
        offsets.append(covered[: ends[-1]])
    return tuple(ids), offsets


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, texts: Sequence[str]) -> None:
    """Refuses a tokenizer that splits prompts otherwise than the `tokenizer.json` it comes from.

    Special tokens that are put around a prompt may differ, since a model's configuration can switch
    them on and off.

    Args:
        tokenizer: as loaded.
        folder: the model's folder.
        texts: prompts to compare.

    Raises:
        TokenisationError: a prompt is split otherwise; it is quoted with both splits.
    """
    path = folder / TOKENIZER
    stated = Tokenizer.from_file(str(path))
    stated.no_truncation()
    stated.no_padding()
    expected = stated.encode_batch(list(texts), add_special_tokens=False)
    found = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    for text, right, ids in zip(texts, expected, found, strict=True):
        if list(right.ids) != list(ids):
            raise TokenisationError(
                f"the prompt {text!r} is {'|'.join(right.tokens)} by {path}, but as loaded "
                f"{'|'.join(tokenizer.convert_ids_to_tokens(ids))}: what tokenizer_config.json "
                "adds changes the tokens. Remove it there, or save the tokenizer that is meant "
                "with save_pretrained."
            )


def _operand_tokens(text: str, offsets: Sequence[Span], name: str, span: Span) -> Span:
    """The tokens of one operand.

    Special tokens cover no characters and thus belong to none.

    Raises:
        TokenisationError: as `encode`.
    """
    start, stop = span
    own = [i for i, (first, end) in enumerate(offsets) if max(first, start) < min(end, stop)]
    if not own:
        raise TokenisationError(f"operand {name} of the prompt {text!r} has no token of its own")
    for first, end in (offsets[i] for i in own):
        if end > stop or text[first:start].strip():
            raise TokenisationError(
                f"the token {text[first:end]!r} of the prompt {text!r} holds more than operand "
                f"{name}, which is {text[start:stop]!r}: put a space or a line break between them"
            )
    return own[0], own[-1] + 1
