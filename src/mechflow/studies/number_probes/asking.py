"""Lets a language model complete prompts, and compares the numbers that it writes."""

from pathlib import Path
from typing import Literal

import pandas as pd
from transformers import PreTrainedTokenizerBase

from mechflow.language_models.answers import Answer, continuations, greedy_answers, read_number
from mechflow.language_models.errors import TokenisationError
from mechflow.seeds import Seeds
from mechflow.studies.number_probes.config import Behaviour
from mechflow.studies.number_probes.subject import encoded, language_model

NO_NUMBER = -1
UNDEFINED = -1


def ask(
    *,
    model: Path,
    prompts: pd.DataFrame,
    weights: Literal["pretrained", "random"],
    template: str,
    dtype: str,
    behaviour: Behaviour,
    seeds: Seeds,
    device: str,
) -> pd.DataFrame:
    """Answers to a sample of the prompts, in their order."""
    generator = seeds.shared().numpy(None, "prompts to answer")
    size = min(behaviour.prompts, len(prompts))
    asked = prompts.iloc[sorted(generator.choice(len(prompts), size, replace=False))]
    subject = language_model(model, weights, dtype, seeds, device)
    ids = encoded(subject.tokenizer, asked, template, ["last"]).ids
    answers = greedy_answers(subject, ids, max_new_tokens=behaviour.max_new_tokens)
    expected = (asked["a"] + asked["b"]).to_numpy()
    numbers = [read_number(answer.text) for answer in answers]
    frame = asked[["example", "a", "b"]].reset_index(drop=True)
    frame["expected"] = expected
    frame["answer"] = [NO_NUMBER if number is None else number for number in numbers]
    frame["correct"] = (frame["answer"] == expected).astype("int64")
    texts = asked["text"].tolist()
    wanted = [str(number) for number in expected]
    frame["first_token_correct"] = _first_tokens(subject.tokenizer, texts, wanted, answers)
    return frame


def _first_tokens(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], wanted: list[str], answers: list[Answer]
) -> list[int]:
    """Whether each answer begins with the token that begins the right one."""
    try:
        right = continuations(tokenizer, texts, wanted)
    except TokenisationError:  # after this prompt a number has no token of its own
        return [UNDEFINED] * len(answers)
    return [int(answer.ids[:1] == ids[:1]) for answer, ids in zip(answers, right, strict=True)]
