"""The modular addition stages run in memory, at a size that takes seconds."""

from dataclasses import dataclass

import pandas as pd
from torch import Tensor

from mechflow.config.sections import Training, Transformer
from mechflow.seeds import Seeds
from mechflow.studies.modular_addition import (
    activations,
    dataset,
    interventions,
    probe,
    progress,
    spectra,
    train,
)
from mechflow.studies.modular_addition.config import (
    Activations,
    Dataset,
    Interventions,
    Probe,
    Progress,
    Spectra,
)

SEEDS = Seeds(0, "modular_addition", "binary")
REPLICATES = range(3, 5)
MODEL = Transformer(
    d_model=16,
    d_mlp=24,
    precision="binary",
    positions="none",
    causal=False,
    normalization="RMS",
    normalization_sites=("final",),
)


@dataclass(frozen=True)
class TinyStudy:
    """Everything that the stages of one block return."""

    dataset: pd.DataFrame
    weights: dict[str, Tensor]
    checkpoints: dict[str, Tensor]
    curves: pd.DataFrame
    activations: dict[str, Tensor]
    probes: pd.DataFrame
    spectra: pd.DataFrame
    spectra_arrays: dict[str, Tensor]
    progress: pd.DataFrame
    interventions: pd.DataFrame


def trained(model: Transformer = MODEL, p: int = 11) -> TinyStudy:
    """All stages of one block."""
    frame = dataset.run(
        dataset=Dataset(p=p, train_fraction=0.6), seeds=SEEDS, replicates=REPLICATES
    )["dataset"]
    fit = train.run(
        dataset=frame,
        model=model,
        training=Training(steps=60, lr=1e-2, eval_every=20, checkpoints=4),
        seeds=SEEDS,
        replicates=REPLICATES,
        device="cpu",
    )
    read = activations.run(
        dataset=frame,
        weights=fit["weights"],
        checkpoints=fit["checkpoints"],
        model=model,
        activations=Activations(),
    )["activations"]
    shared = {"seeds": SEEDS, "replicates": REPLICATES}
    spectral = spectra.run(
        dataset=frame,
        weights=fit["weights"],
        checkpoints=fit["checkpoints"],
        activations=read,
        model=model,
        spectra=Spectra(),
        **shared,
    )
    found = {
        **probe.run(dataset=frame, activations=read, probe=Probe(), **shared),
        **progress.run(
            dataset=frame,
            checkpoints=fit["checkpoints"],
            spectra=spectral["spectra"],
            model=model,
            task="add",
            progress=Progress(random_draws=2),
            **shared,
        ),
        **interventions.run(
            dataset=frame,
            weights=fit["weights"],
            spectra=spectral["spectra"],
            model=model,
            interventions=Interventions(random_draws=2),
            **shared,
        ),
    }
    return TinyStudy(dataset=frame, activations=read, **fit, **spectral, **found)
