"""Singular values of the heads' circuits, and what is particular to the circuit of each task."""

import pandas as pd
from torch import Tensor

from mechflow.config.sections import Transformer
from mechflow.models.factorised import StackedWeights
from mechflow.observations import Observations
from mechflow.seeds import Seeds
from mechflow.studies.phase_changes.config import Data, Spectra
from mechflow.studies.phase_changes.digits import (
    Subject,
    digit_arrays,
    neuron_arrays,
    observe_digits,
    observe_neurons,
    pair_means,
)
from mechflow.studies.phase_changes.head_names import all_heads
from mechflow.studies.phase_changes.head_tables import (
    example_patterns,
    head_circuits,
    trigram_tables,
)
from mechflow.studies.phase_changes.inputs import sequences_of
from mechflow.studies.phase_changes.tasks import task_of
from mechflow.studies.phase_changes.tasks.addition import Addition
from mechflow.studies.phase_changes.tasks.skip_trigram import SkipTrigram
from mechflow.svd import effective_rank
from mechflow.training.checkpoints import untrained


def run(
    *,
    dataset: pd.DataFrame,
    weights: StackedWeights,
    checkpoints: StackedWeights,
    data: Data,
    model: Transformer,
    spectra: Spectra,
    seeds: Seeds,
    replicates: range,
) -> dict[str, pd.DataFrame | dict[str, Tensor]]:
    """The spectra of one block, as a table and as the arrays that figures draw.

    Arrays: those of `digit_arrays`, also of untrained weights, and of `neuron_arrays` for
    addition, of `trigram_tables` for skip trigrams, and of `example_patterns` for induction.
    """
    task = task_of(data)
    rows = Observations(replicates)
    states = {"trained": weights, "untrained": untrained(checkpoints)}
    for name, state in states.items():
        observe_circuits(rows, name, state, model)
    arrays: dict[str, Tensor] = {}
    if isinstance(task, Addition):
        arrays |= digit_arrays(weights) | digit_arrays(states["untrained"], "_untrained")
        for name, state in states.items():
            observe_digits(rows, name, state)
        if model.d_mlp:
            found = {
                name: pair_means(state, model, task, spectra.examples, (seeds, replicates))
                for name, state in states.items()
            }
            for name, means in found.items():
                observe_neurons(rows, name, means)
            arrays |= neuron_arrays(found["trained"])
    elif isinstance(task, SkipTrigram):
        arrays |= trigram_tables(checkpoints, model, task)
    else:
        example = sequences_of(dataset, "test", limit=1)
        assert example is not None, "every dataset has a test set"
        arrays |= example_patterns(weights, model, task, example)
    return {"spectra": rows.table(), "spectra_arrays": arrays}


def observe_circuits(
    rows: Observations, model: str, weights: StackedWeights, cfg: Transformer
) -> None:
    """Singular values and effective rank of the circuits of every head, ``<circuit>.L0H1``."""
    layers = [head_circuits(weights, cfg, layer) for layer in range(cfg.n_layers)]
    spectra = [{name: c.singular_values() for name, c in found.items()} for found in layers]
    for head in all_heads(cfg):
        layer, place = head
        for circuit, values in spectra[layer].items():
            subject = Subject(model, f"{circuit}.{head.name}")
            rows.add_series(subject, "singular_value", values[:, place])
            rows.add(subject, "effective_rank", effective_rank(values[:, place]))
