"""Hidden states of all layers at one position of every prompt."""

import logging
from pathlib import Path
from typing import Literal

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from mechflow.artifacts import ShardWriter
from mechflow.language_models.extract import (
    hidden_states,
    relative_errors,
    store_bytes,
    unshared_hidden_states,
)
from mechflow.language_models.load import LanguageModel
from mechflow.seeds import Seeds
from mechflow.spacing import evenly_spaced
from mechflow.studies.number_probes.config import Extraction
from mechflow.studies.number_probes.subject import encoded, language_model

States = dict[str, Float[Tensor, "prompts d_model"]]
_log = logging.getLogger(__name__)


def run(
    *,
    model: Path,
    prompts: pd.DataFrame,
    weights: Literal["pretrained", "random"],
    template: str,
    extraction: Extraction,
    seeds: Seeds,
    device: str,
    shards: ShardWriter,
) -> dict[str, pd.DataFrame]:
    """The index of the stored states, and what is measured about them on the way."""
    subject = language_model(model, weights, extraction.dtype, seeds, device)
    _write(subject, prompts, template, extraction, shards)
    sample = prompts.iloc[evenly_spaced(len(prompts), extraction.check_prompts).tolist()]
    states = states_of(subject, sample, template, extraction.position)
    sites = subject.sites
    del subject  # two models need not be in memory together
    exact = language_model(model, weights, "float32", seeds, device)
    reference = plain_states_of(exact, sample, template, extraction.position)
    return {"states": shards.finish(), "extraction": measured(sites, states, reference)}


def _write(
    subject: LanguageModel,
    prompts: pd.DataFrame,
    template: str,
    extraction: Extraction,
    shards: ShardWriter,
) -> None:
    """Writes the shards that an interrupted job has not left behind."""
    size = store_bytes(len(prompts), len(subject.sites), 1, subject.d_model, subject.dtype)
    shards.reserve(len(prompts), size)
    for first in range(0, len(prompts), extraction.shard_prompts):
        part = prompts.iloc[first : first + extraction.shard_prompts]
        if not shards.is_done(first, len(part)):
            shards.write(first, states_of(subject, part, template, extraction.position))
            _log.info("%d of %d prompts", first + len(part), len(prompts))


def states_of(
    subject: LanguageModel, prompts: pd.DataFrame, template: str, position: str
) -> States:
    """States of all sites at the position, for prompts in their order."""
    read = hidden_states(subject, encoded(subject.tokenizer, prompts, template, [position]))
    return {site: states[:, 0].contiguous() for site, states in read.items()}


def plain_states_of(
    subject: LanguageModel, prompts: pd.DataFrame, template: str, position: str
) -> States:
    """The same by ordinary forward passes that share no prefixes."""
    read = unshared_hidden_states(
        subject, encoded(subject.tokenizer, prompts, template, [position])
    )
    return {site: states[:, 0].contiguous() for site, states in read.items()}


def measured(sites: tuple[str, ...], states: States, reference: States) -> pd.DataFrame:
    """Norms, and errors relative to float32 without packing, over the checked prompts."""
    if not states or not len(next(iter(states.values()))):
        return pd.DataFrame(
            {"site": pd.Series(dtype="str"), "layer": pd.Series(dtype="int64")}
            | {"quantity": pd.Series(dtype="str"), "value": pd.Series(dtype="float64")}
        )
    errors = relative_errors(reference, states)
    rows = []
    for layer, site in enumerate(sites):
        norm = float(reference[site].double().norm(dim=1).mean())
        median, largest = errors[site]
        for quantity, value in (
            ("norm_mean", norm),
            ("relative_error_median", float(median)),
            ("relative_error_max", float(largest)),
        ):
            rows.append({"site": site, "layer": layer, "quantity": quantity, "value": value})
    return pd.DataFrame(rows)
