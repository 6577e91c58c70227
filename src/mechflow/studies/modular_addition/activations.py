"""Reads the models at "=" on all pairs: the trained ones and, as control, the untrained ones."""

import pandas as pd
import torch
from torch import Tensor

from mechflow.config.sections import Transformer
from mechflow.models.factorised import StackedWeights
from mechflow.models.stacked import StackedTransformer
from mechflow.models.transformer import HookedToyTransformer
from mechflow.studies.modular_addition.config import Activations
from mechflow.studies.modular_addition.inputs import all_tokens, modulus
from mechflow.training.checkpoints import untrained


def run(
    *,
    dataset: pd.DataFrame,
    weights: StackedWeights,
    checkpoints: StackedWeights,
    model: Transformer,
    activations: Activations,
) -> dict[str, dict[str, Tensor]]:
    """Activations ``<trained|untrained>/<hook name>`` of one block: [R, p*p, d].

    Attention patterns are [R, p*p, n_heads, 3]: from "=" to a, b and "=". Heads of z are joined.
    """
    p = modulus(dataset)
    stacked = StackedTransformer(model, d_vocab=p + 1, d_vocab_out=p, n_ctx=3)
    patterns = tuple(f"blocks.{layer}.attn.hook_pattern" for layer in range(model.n_layers))
    sites = (*activations.sites, *patterns)
    found = {}
    for name, state in (("trained", weights), ("untrained", untrained(checkpoints))):
        n_replicates = len(state["embed.W_E"])
        caches = [read_sites(stacked.module(state, r), p, sites) for r in range(n_replicates)]
        for site in sites:
            found[f"{name}/{site}"] = torch.stack([cache[site] for cache in caches])
    return {"activations": found}


@torch.no_grad()
def read_sites(model: HookedToyTransformer, p: int, sites: tuple[str, ...]) -> dict[str, Tensor]:
    """What one model holds at the last position, at each site, for all pairs."""
    _, cache = model.run_with_cache(all_tokens(p), names_filter=list(sites))
    return {site: _at_last_position(site, cache[site]) for site in sites}


def _at_last_position(site: str, value: Tensor) -> Tensor:
    if site.endswith(("hook_pattern", "hook_attn_scores")):
        value = value[:, :, -1]
    else:
        value = value[:, -1]
        value = value.flatten(1)
    # A copy, so that the other positions can be freed.
    return value.clone()
