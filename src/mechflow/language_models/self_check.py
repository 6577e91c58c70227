"""Whether what this package computes with a model is what the model's own forward pass computes.

Packed prompts assume that a state depends on earlier tokens through attention alone; patched runs
assume that a block depends on the residual stream alone, beside what no operand changes. Whether an
architecture keeps to that is tried on a few prompts, in float32, before anything is extracted.
"""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor

from mechflow.language_models.errors import UnsupportedModelError
from mechflow.language_models.extract import (
    hidden_states,
    relative_errors,
    unshared_hidden_states,
)
from mechflow.language_models.load import LanguageModel
from mechflow.language_models.partial_runs import (
    Recorded,
    last_logits,
    run_from,
    run_prefix,
    run_recorded,
    unembed,
)
from mechflow.language_models.tokens import Encoded

_NO_OP = "putting in what is there anyway changes the run"
_EXCHANGE = "exchanging all tokens of the operand does not give the other prompt's logits"

STATE_TOLERANCE = 1e-3
"""Largest error of a state, relative to its norm. Rounding gives 1e-6 to 1e-5, a state that sees
other tokens 1e-2 at least."""
PATCH_TOLERANCE = 1e-2
"""Largest error of a patched run, relative to how far the two prompts lie apart there."""


def check_packing(language_model: LanguageModel, encoded: Encoded) -> float:
    """Compares states of packed prompts with those of the ordinary forward pass.

    Returns:
        The largest error, relative to the norm of the state.

    Raises:
        UnsupportedModelError: it is above `STATE_TOLERANCE`, or the model cannot be read at all.
        ValueError: the model is not in float32.
    """
    _refuse_rounding(language_model)
    plain = unshared_hidden_states(language_model, encoded)
    errors = relative_errors(plain, hidden_states(language_model, encoded))
    site, error = max(
        ((site, error.largest) for site, error in errors.items()), key=lambda found: found[1]
    )
    if not error <= STATE_TOLERANCE:
        raise UnsupportedModelError(
            f"{type(language_model.model).__name__} cannot be read: prompts that share their "
            f"beginnings give other states than each prompt alone, by {error:.2g} of their norm at "
            f"{site} ({STATE_TOLERANCE:g} is allowed). So a state depends on more than the tokens "
            f"before it, as with attention in both directions{_says_so(language_model)}."
        )
    return error


def check_replay(
    language_model: LanguageModel,
    base_ids: tuple[tuple[int, ...], ...],
    source_ids: tuple[tuple[int, ...], ...],
    operand: tuple[int, int],
) -> float:
    """Tries patches of which the outcome is known.

    Putting in what is there anyway must give the base's logits, and exchanging all tokens of the
    operand for the source's at layer 0 the source's. What is right is what the model's own forward
    pass of the whole prompts gives. After that exchange, each block must give what it gave in the
    base's run: this is what a patch that starts there takes for granted, however earlier blocks
    were left.

    Args:
        language_model: the model.
        base_ids: tokens of some prompts, all of equal length.
        source_ids: those of the same prompts with another operand.
        operand: first token of the operand and the one after its last, the same in all prompts.

    Returns:
        The largest error of logits or of a block's output, relative to the distance between base
        and source.

    Raises:
        UnsupportedModelError: it is above `PATCH_TOLERANCE`.
        ValueError: the model is not in float32.
    """
    _refuse_rounding(language_model)
    first = operand[0]
    with torch.no_grad():
        base, source = (
            torch.tensor(ids, device=language_model.device) for ids in (base_ids, source_ids)
        )
        prefix = run_prefix(language_model, base[:, :first])
        of_base = run_recorded(language_model, base[:, first:], prefix)
        of_source = run_recorded(language_model, source[:, first:], prefix)
        base_logits, source_logits = (
            last_logits(language_model, ids, None) for ids in (base, source)
        )
        errors = []
        for what, stream, own in (
            (_NO_OP, of_base.streams[0], base_logits),
            (_EXCHANGE, of_source.streams[0], source_logits),
        ):
            logits = _logits(language_model, stream, of_base)
            error = _relative(logits - own, source_logits - base_logits)
            errors.append(_refuse(language_model, error, 0, what))
        # From the last block to the first, so that none has put right what the next one reads.
        for layer in reversed(range(language_model.n_layers)):
            error = _error_of_block(language_model, of_base, of_source, layer)
            errors.append(_refuse(language_model, error, layer, _NO_OP))
    return max(errors)


def _logits(
    language_model: LanguageModel, stream: Float[Tensor, "pairs pos d_model"], recorded: Recorded
) -> Float[Tensor, "pairs vocab"]:
    """The logits of a run with another residual stream at layer 0."""
    *_, normalized = run_from(language_model, stream, recorded, 0)
    return unembed(language_model, normalized, recorded)


def _error_of_block(
    language_model: LanguageModel, base: Recorded, source: Recorded, layer: int
) -> float:
    """How far a block's output is from the recorded one, on the stream that was recorded."""
    _, found = itertools.islice(run_from(language_model, base.streams[layer], base, layer), 2)
    expected = base.streams[layer + 1]
    return _relative(found - expected, source.streams[layer + 1] - expected)


def _relative(error: Float[Tensor, "pairs ..."], apart: Float[Tensor, "pairs ..."]) -> float:
    """The largest norm of an error, relative to how far the two prompts of its pair lie apart."""
    distances = apart.flatten(1).norm(dim=1)
    # Of two prompts that are alike nothing can be told.
    floor = 1e-6 * float(distances.max())
    return float((error.flatten(1).norm(dim=1) / distances.clamp(min=floor)).max())


def _refuse(language_model: LanguageModel, error: float, layer: int, what: str) -> float:
    """The error, if it is allowed."""
    if not error <= PATCH_TOLERANCE:
        raise UnsupportedModelError(
            f"{type(language_model.model).__name__} cannot be patched: at layer {layer} {what}, by "
            f"{error:.2g} of the distance between both prompts ({PATCH_TOLERANCE:g} is allowed). "
            "So its blocks depend on more than the residual stream. Set interventions.pairs to 0 "
            "for this model."
        )
    return error


def _refuse_rounding(language_model: LanguageModel) -> None:
    if language_model.dtype != torch.float32:
        raise ValueError(f"a model is checked in float32, not in {language_model.dtype}")


def _says_so(language_model: LanguageModel) -> str:
    config = language_model.backbone.config
    is_causal = getattr(config, "is_causal", True)
    return "" if is_causal else " (config.json says is_causal: false)"
