"""Linear probes of the residual stream: what can be read at each layer and position.

They are fitted to fresh sequences, which no model was trained on. The untrained model tells what
the architecture gives away, and shuffled labels are chance: what class frequencies alone give.
Carries and digits are nearly balanced (the units carry in 45 of 100 sums, and the leading digit
is a carry), and so are triggers and tokens.
"""

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechflow.config.sections import Transformer
from mechflow.models.factorised import StackedWeights
from mechflow.models.transformer import HookedToyTransformer
from mechflow.probes.controls import permute_labels
from mechflow.probes.scores import linear_probe_scores
from mechflow.seeds import Seeds
from mechflow.studies.phase_changes.config import Data, Probe
from mechflow.studies.phase_changes.model import stacked_model
from mechflow.studies.phase_changes.probe_targets import Reading, readings
from mechflow.studies.phase_changes.tasks import task_of
from mechflow.training.checkpoints import untrained

COLUMNS = [
    *("replicate", "site", "target", "control", "split", "metric", "value"),
    *("model", "position"),
]
CONTROLS = ("none", "shuffled_labels")


def run(
    *,
    weights: StackedWeights,
    checkpoints: StackedWeights,
    data: Data,
    model: Transformer,
    probe: Probe,
    seeds: Seeds,
    replicates: range,
) -> dict[str, pd.DataFrame]:
    """Scores of all probes of one block."""
    task = task_of(data)
    stacked = stacked_model(task, model)
    states = {"trained": weights, "untrained": untrained(checkpoints)}
    frames = []
    for index, replicate in enumerate(replicates):
        sequences = task.generate(probe.examples, seeds.torch(replicate, "probe examples"))
        found = readings(task, sequences, seeds.torch(replicate, "probe reads"))
        generator = seeds.torch(replicate, "shuffled probe labels")
        targets = [with_control(reading, generator) for reading in found]
        for name, state in states.items():
            held = residual_streams(stacked.module(state, index), sequences.tokens)
            for site, resid in held.items():
                for target in targets:
                    scores = _scores(resid, target, probe, replicate)
                    frames.append(scores.assign(model=name, site=site, position=target.position))
    return {"probes": pd.concat(frames, ignore_index=True)[COLUMNS]}


def sites(model: Transformer) -> list[str]:
    """The residual stream before the first block and after each attention and each MLP."""
    found = ["blocks.0.hook_resid_pre"]
    for layer in range(model.n_layers):
        found += [f"blocks.{layer}.hook_resid_mid"] if model.d_mlp else []
        found.append(f"blocks.{layer}.hook_resid_post")
    return found


@torch.no_grad()
def residual_streams(
    model: HookedToyTransformer, tokens: Tensor
) -> dict[str, Float[Tensor, "n pos d_model"]]:
    """What one model holds at each site, from a single forward pass."""
    _, cache = model.run_with_cache(tokens, names_filter=sites(model.cfg))
    return {site: cache[site] for site in sites(model.cfg)}


def with_control(reading: Reading, generator: torch.Generator) -> Reading:
    """The reading with each target beside itself dealt out at random, named ``<control> <name>``.

    So all targets and their controls are fitted with one Gram matrix.
    """
    plain, shuffled = CONTROLS
    rows = torch.arange(reading.rows.numel())

    def both(targets: dict[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for name, target in targets.items():
            order = permute_labels(rows.unsqueeze(0), [generator]).view(target.shape)
            found[f"{plain} {name}"] = target
            found[f"{shuffled} {name}"] = target.take(order)
        return found

    return Reading(reading.position, reading.rows, both(reading.labels), both(reading.values))


def _scores(
    resid: Float[Tensor, "n pos d_model"], reading: Reading, probe: Probe, replicate: int
) -> pd.DataFrame:
    rows = resid.take_along_dim(reading.rows.unsqueeze(-1), dim=1)
    scores = linear_probe_scores(
        rows.flatten(0, 1).unsqueeze(0),
        _train_mask(reading, probe.train_fraction).reshape(1, -1),
        {name: labels.reshape(1, -1) for name, labels in reading.labels.items()},
        {(name, 0): values.reshape(1, -1) for name, values in reading.values.items()},
        penalties=probe.penalties,
        replicates=[replicate],
    )
    names = scores["target"].str.split(" ", n=1)
    return scores.assign(control=names.str[0], target=names.str[1])


def _train_mask(reading: Reading, fraction: float) -> Bool[Tensor, "n row"]:
    """The first sequences, with all of their rows: they are drawn independently."""
    n = len(reading.rows)
    first = torch.arange(n) < round(fraction * n)
    return first.unsqueeze(1).expand(reading.rows.shape)
