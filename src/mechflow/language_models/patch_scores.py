"""Whether patched runs follow the prompt that the patch was taken from."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechflow.language_models.patching import CleanRuns, NextToken, Patched

Decode = Callable[[int, Float[Tensor, "pairs d_model"]], Int[Tensor, " pairs"]]
"""Numbers that a probe reads from states of a layer: `decode(layer, states)`."""


class Following(NamedTuple):
    """How often patched runs do as the source or as the base does, and by how much they lean."""

    n: int
    """Pairs whose base and source differ in what is asked: the only ones that can tell."""
    source: float
    """Share of these that give what the source gives."""
    base: float
    """Share of these that still give what the base gives."""


class Leaning(NamedTuple):
    """Mean change of log-probability (nats) that the patch makes."""

    source: float
    """Of the token that the source goes on with."""
    base: float
    """Of the token that the base goes on with."""


def next_token_following(
    runs: CleanRuns, patched: Patched, among: Bool[Tensor, " pairs"] | None = None
) -> Following:
    """Whose next token a patched run goes on with, where base and source go on differently.

    Args:
        runs: the clean runs.
        patched: a patch of them.
        among: pairs to look at; all by default. Pairs that the model answers rightly both ways
            tell about arithmetic, all pairs about the model.
    """
    return _following(patched.next_token.token, runs.base.token, runs.source.token, among)


def next_token_leaning(
    runs: CleanRuns, patched: Patched, among: Bool[Tensor, " pairs"] | None = None
) -> Leaning:
    """Change of both clean answers' log-probability, where base and source go on differently."""
    kept = _telling(runs.base.token, runs.source.token, among)
    if not kept.any():
        return Leaning(math.nan, math.nan)

    def change(log_prob: Callable[[NextToken], Tensor]) -> float:
        return float((log_prob(patched.next_token) - log_prob(runs.base))[kept].mean())

    return Leaning(
        source=change(lambda token: token.source_log_prob),
        base=change(lambda token: token.base_log_prob),
    )


def decoded_following(
    patched: Patched,
    decode: Decode,
    base_numbers: Int[Tensor, " pairs"],
    source_numbers: Int[Tensor, " pairs"],
    among: Bool[Tensor, " pairs"] | None = None,
) -> Mapping[int, Following]:
    """Whose number a probe reads at the operand, for the patched layer and each later one.

    Args:
        patched: a patch.
        decode: reads numbers from states of a layer.
        base_numbers: the operand in the base prompts.
        source_numbers: the operand in the source prompts.
        among: pairs to look at; all by default.
    """
    return {
        layer: _following(decode(layer, states), base_numbers, source_numbers, among)
        for layer, states in zip(patched.read_layers, patched.states.unbind(dim=1), strict=True)
    }


def _telling(
    base: Int[Tensor, " pairs"],
    source: Int[Tensor, " pairs"],
    among: Bool[Tensor, " pairs"] | None,
) -> Bool[Tensor, " pairs"]:
    differ = base != source
    return differ if among is None else differ & among


def _following(
    found: Int[Tensor, " pairs"],
    base: Int[Tensor, " pairs"],
    source: Int[Tensor, " pairs"],
    among: Bool[Tensor, " pairs"] | None,
) -> Following:
    kept = _telling(base, source, among)
    n = int(kept.sum())
    if n == 0:
        return Following(0, math.nan, math.nan)
    return Following(
        n=n,
        source=float((found == source)[kept].float().mean()),
        base=float((found == base)[kept].float().mean()),
    )
