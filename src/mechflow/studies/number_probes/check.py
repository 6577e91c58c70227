"""Whether a model and its tokenizer allow what the study does with them, before it takes long.

What was measured is kept beside what is allowed; whatever is not allowed stops the job.
"""

import logging
import math
from pathlib import Path
from typing import Literal

import pandas as pd

from mechflow.language_models.answers import continuations
from mechflow.language_models.load import LanguageModel
from mechflow.language_models.self_check import (
    PATCH_TOLERANCE,
    STATE_TOLERANCE,
    check_packing,
    check_replay,
)
from mechflow.language_models.tokens import check_tokenizer
from mechflow.seeds import Seeds
from mechflow.spacing import evenly_spaced
from mechflow.studies.number_probes.pairs import (
    Possible,
    all_sums,
    encode_pairs,
    possible_pairs,
    questions,
)
from mechflow.studies.number_probes.subject import encoded, language_model

_PROMPTS = 4
_PAIRS = 8
_log = logging.getLogger(__name__)


def run(
    *,
    model: Path,
    prompts: pd.DataFrame,
    weights: Literal["pretrained", "random"],
    template: str,
    limit: int,
    position: str,
    pairs: int,
    operand_digits: int,
    seeds: Seeds,
    device: str,
) -> dict[str, pd.DataFrame]:
    """Compares tokens, states and patched runs with the plain ways to get them.

    Raises:
        LanguageModelError: the model does not pass; the message says what to change.
    """
    subject = language_model(model, weights, "float32", seeds, device)
    check_tokenizer(subject.tokenizer, model, prompts["text"].tolist())
    encoded(subject.tokenizer, prompts, template, [position])
    few = a_few(prompts)
    error = check_packing(subject, encoded(subject.tokenizer, few, template, [position]))
    rows = [("states", error, STATE_TOLERANCE, len(few))]
    if pairs:
        possible = possible_pairs(subject.tokenizer, template, operand_digits, limit)
        continuations(subject.tokenizer, *questions(all_sums(operand_digits, limit), template))
        error, tried = _replayed(subject, possible, template)
        rows.append(("patched_runs", error, PATCH_TOLERANCE, tried))
    for quantity, value, allowed, n in rows:
        _log.info("%s: error %.1e, %g is allowed (n = %d)", quantity, value, allowed, n)
    if pairs:
        left_out, kept = possible.left_out, len(possible.operands)
        rows.append(("pairs_left_out", left_out, math.nan, kept))
        _log.info("%d pairs of numbers can be exchanged, %d are left out", kept, left_out)
    frame = pd.DataFrame(rows, columns=["quantity", "value", "allowed", "n"])
    return {"check": frame.astype({"value": "float64", "allowed": "float64", "n": "int64"})}


def a_few(prompts: pd.DataFrame) -> pd.DataFrame:
    """Prompts from all over the study, each with the next one, and the shortest and the longest.

    Neighbours begin alike, so there is something to share.
    """
    spread = evenly_spaced(len(prompts), _PROMPTS).tolist()
    lengths = prompts["text"].str.len().to_numpy()
    rows = {*spread, *(row + 1 for row in spread), int(lengths.argmin()), int(lengths.argmax())}
    return prompts.iloc[sorted(row for row in rows if row < len(prompts))]


def _replayed(subject: LanguageModel, possible: Possible, template: str) -> tuple[float, int]:
    """The largest error of patched runs, over a few pairs that run together, and their number."""
    spread = evenly_spaced(len(possible.operands), _PAIRS).tolist()
    operands = pd.DataFrame(possible.operands[spread], columns=["a", "b", "other"])
    pairs = encode_pairs(subject.tokenizer, operands, template)
    spans = pairs.base.operand_tokens["b"]
    kinds = [(len(ids), span) for ids, span in zip(pairs.base.ids, spans, strict=True)]
    alike = [row for row, kind in enumerate(kinds) if kind == kinds[0]]
    base, source = (tuple(side.ids[row] for row in alike) for side in (pairs.base, pairs.source))
    return check_replay(subject, base, source, spans[0]), len(alike)
