"""Puts the states of one operand into the runs of another, and reads what follows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechflow.language_models.patch_scores import (
    Decode,
    Following,
    decoded_following,
    next_token_following,
    next_token_leaning,
)
from mechflow.language_models.patching import CleanRuns, Patched, interchange, run_pairs
from mechflow.seeds import Seeds
from mechflow.studies.number_probes.config import Interchange
from mechflow.studies.number_probes.pairs import Pairs, draw_pairs, encode_pairs, possible_pairs
from mechflow.studies.number_probes.subject import language_model

NEXT_TOKEN = -1
"""Read layer of what is measured at the model's next token."""


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
    possible = possible_pairs(subject.tokenizer, template, interventions.operand_digits, limit)
    rows: list[dict[str, Any]] = []
    for index, replicate in enumerate(replicates):
        generator = seeds.numpy(replicate, "pairs of prompts")
        pairs = encode_pairs(
            subject.tokenizer, draw_pairs(possible, interventions.pairs, generator), template
        )
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
