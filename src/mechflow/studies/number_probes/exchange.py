"""Puts the states of one operand into the runs of another, and reads what follows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechflow.language_models.answers import continuations
from mechflow.language_models.load import LanguageModel
from mechflow.language_models.patch_scores import (
    Decode,
    Following,
    decoded_following,
    next_token_following,
    next_token_leaning,
)
from mechflow.language_models.patching import CleanRuns, Patched, interchange, run_pairs
from mechflow.language_models.templates import render
from mechflow.language_models.tokens import Encoded
from mechflow.seeds import Seeds
from mechflow.studies.number_probes.config import Interchange
from mechflow.studies.number_probes.subject import encoded, language_model

NEXT_TOKEN = -1
"""Read layer of what is measured at the model's next token."""


class Pairs(NamedTuple):
    """Prompts that differ in their second operand only."""

    base: Encoded
    source: Encoded
    base_numbers: Int[Tensor, " pairs"]
    source_numbers: Int[Tensor, " pairs"]
    right_tokens: Int[Tensor, "two pairs"]
    """First tokens of both right sums."""


def exchange(
    *,
    model: Path,
    readout_weights: dict[str, Tensor],
    weights: Literal["pretrained", "random"],
    template: str,
    limit: int,
    dtype: str,
    interventions: Interchange,
    seeds: Seeds,
    replicates: range,
    device: str,
) -> list[dict[str, Any]]:
    """Whose number and whose next token patched runs give, by layer: one row each."""
    subject = language_model(model, weights, dtype, seeds, device)
    rows: list[dict[str, Any]] = []
    for index, replicate in enumerate(replicates):
        generator = seeds.numpy(replicate, "pairs of prompts")
        operands = draw_pairs(interventions.pairs, interventions.operand_digits, limit, generator)
        pairs = encode_pairs(subject, operands, template)
        runs = run_pairs(subject, pairs.base.ids, pairs.source.ids, pairs.base.operand_tokens["b"])
        decode = decoder(
            {name: tensor[index] for name, tensor in readout_weights.items()}, interventions.basis
        )
        found = [*_clean(runs, pairs)]
        for tokens in interventions.tokens:
            for control in ("none", "random_direction"):
                for layer in range(subject.n_layers + 1):
                    directions = seeds.torch(replicate, f"directions at {tokens}, {layer}")
                    patched = interchange(
                        runs, layer, tokens=tokens, control=control, generator=directions
                    )
                    names = {"control": control, "tokens": tokens, "layer": layer}
                    names |= {"site": subject.sites[layer], "intervention": "interchange"}
                    found += [names | row for row in _patched(runs, patched, pairs, decode)]
        rows += [{"replicate": replicate} | row for row in found]
    return rows


def draw_pairs(
    wanted: int, digits: int, limit: int, generator: np.random.Generator
) -> pd.DataFrame:
    """Sums a + b and a + b' of operands with so many digits: columns a, b, other.

    All pairs of sums below the limit are equally likely, and none is drawn twice; there are fewer
    than wanted if there are no more.
    """
    operands = np.arange(10 ** (digits - 1), min(10**digits, limit))
    a, b, other = (grid.ravel() for grid in np.meshgrid(operands, operands, operands))
    possible = np.flatnonzero((b != other) & (a + np.maximum(b, other) < limit))
    chosen = generator.choice(possible, min(wanted, len(possible)), replace=False)
    return pd.DataFrame({"a": a[chosen], "b": b[chosen], "other": other[chosen]})


def encode_pairs(subject: LanguageModel, operands: pd.DataFrame, template: str) -> Pairs:
    """Both prompts of every pair as tokens, and the tokens that begin the right sums."""
    sides, right = [], []
    for name in ("b", "other"):
        frame = operands[["a"]].assign(b=operands[name])
        numbers = list(zip(frame["a"].tolist(), frame["b"].tolist(), strict=True))
        frame["text"] = texts = [render(template, a, b)[0] for a, b in numbers]
        sides.append(encoded(subject, frame, template, ["b"]))
        sums = [str(a + b) for a, b in numbers]
        right.append([ids[0] for ids in continuations(subject.tokenizer, texts, sums)])
    return Pairs(
        sides[0],
        sides[1],
        torch.tensor(operands["b"].to_numpy()),
        torch.tensor(operands["other"].to_numpy()),
        torch.tensor(right),
    )


def decoder(weights: dict[str, Float[Tensor, "..."]], basis: str) -> Decode:
    """Reads numbers with the trained probe of each layer."""
    W_in, b_in, W_out, b_out, codes = (
        weights[f"{basis}.{name}"] for name in ("W_in", "b_in", "W_out", "b_out", "basis")
    )

    def decode(layer: int, states: Float[Tensor, "pairs d_model"]) -> Int[Tensor, " pairs"]:
        latent = states.float().cpu() @ W_in[layer].T + b_in[layer]
        choices = codes @ W_out[layer].T + b_out[layer]
        return (latent @ choices.T).argmax(dim=1)

    return decode


def _clean(runs: CleanRuns, pairs: Pairs) -> Iterator[dict[str, Any]]:
    """How often the model begins with the right token when it is left alone."""
    names: dict[str, Any] = {"intervention": "none", "site": "", "control": "none", "tokens": ""}
    names |= {"layer": NEXT_TOKEN, "read_layer": NEXT_TOKEN, "n": len(pairs.base_numbers)}
    for side, clean, right in zip(
        ("base", "source"), (runs.base, runs.source), pairs.right_tokens, strict=True
    ):
        share = float((clean.token.cpu() == right).double().mean())
        yield names | {"metric": f"first_token_correct_{side}", "value": share}


def _patched(
    runs: CleanRuns, patched: Patched, pairs: Pairs, decode: Decode
) -> Iterator[dict[str, Any]]:
    following = decoded_following(patched, decode, pairs.base_numbers, pairs.source_numbers)
    for read_layer, found in following.items():
        yield from _followed("decoded", read_layer, found)
    yield from _followed("next_token", NEXT_TOKEN, next_token_following(runs, patched))
    right = both_right(runs, pairs)
    found = next_token_following(runs, patched, right.to(runs.base.token.device))
    yield from _followed("next_token_when_right", NEXT_TOKEN, found)
    leaning = next_token_leaning(runs, patched)
    n = next_token_following(runs, patched).n
    for side, change in zip(("source", "base"), leaning, strict=True):
        names = {"metric": f"log_prob_change_{side}", "value": change}
        yield names | {"read_layer": NEXT_TOKEN, "n": n}


def both_right(runs: CleanRuns, pairs: Pairs) -> Bool[Tensor, " pairs"]:
    """Pairs of which the model begins both sums rightly."""
    base, source = pairs.right_tokens
    return (runs.base.token.cpu() == base) & (runs.source.token.cpu() == source)


def _followed(what: str, read_layer: int, found: Following) -> Iterator[dict[str, Any]]:
    for side in ("source", "base"):
        names = {"metric": f"{what}_{side}", "value": getattr(found, side)}
        yield names | {"read_layer": read_layer, "n": found.n}
