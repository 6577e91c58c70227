"""Claims are judged on what the stages write, of networks that are trained for a few steps."""

import inspect
from typing import Any

import pandas as pd

from mechflow.config.sections import Transformer
from mechflow.figures.data import FigureData
from mechflow.seeds import Seeds
from mechflow.studies.phase_changes import (
    claims,
    dataset,
    interventions,
    probe,
    progress,
    published,
    spectra,
    train,
)
from mechflow.studies.phase_changes.config import Data, Finite, StreamTraining, Variant

SIZES = {
    "addition": (Data(addition={"n_digits": 2}), Transformer(n_heads=2, d_model=8, d_mlp=8)),
    "skip_trigram": (
        Data(task="skip_trigram", skip_trigram={"n_triggers": 3, "seq_len": 5}),
        Transformer(n_heads=1, d_model=8, d_mlp=0),
    ),
    "induction": (
        Data(
            task="induction",
            induction={"seq_len": 13, "subseq_len": 3, "repeats": 2, "d_vocab": 6},
        ),
        Transformer(n_layers=2, n_heads=2, d_model=8, d_mlp=0),
    ),
}
STAGES = (dataset, train, progress, interventions, probe, spectra)


def real(task: str, *, finite: Finite | None, n_layers: int | None = None) -> dict[str, Any]:
    """Artefacts of a short training run, and the configuration that they are made with."""
    sizes, model = SIZES[task]
    config = Variant(
        data=sizes.model_copy(update={"test_examples": 20}),
        finite=finite,
        model=model.model_copy(update={"n_layers": n_layers or model.n_layers}),
        training=StreamTraining(steps=8, batch_size=8, warmup_steps=0, eval_every=1, checkpoints=3),
        progress={"examples": 10, "random_draws": 2},
        interventions={"examples": 10},
        probe={"examples": 40},
        spectra={"examples": 2},
    )
    sections = {name: getattr(config, name) for name in Variant.model_fields}
    made: dict[str, Any] = {
        **sections,
        "loss_factor": "mean",
        "seeds": Seeds(0, "phase_changes", task),
        "replicates": range(2),
        "device": "cpu",
    }
    tables: dict[str, Any] = {}
    for stage in STAGES:
        arguments = {**made, **tables}
        needed = [name for name in inspect.signature(stage.run).parameters if name in arguments]
        own = stage.__name__.rpartition(".")[2]
        if own in sections:  # the section of a stage has the name of what it makes
            arguments[own] = sections[own]
        tables |= stage.run(**{name: arguments[name] for name in needed})
    return {"sections": sections, "tables": tables}


def test_claims_are_judged_on_artefacts_of_real_networks():
    """Columns and values that fabricated tables have are those that the stages write."""
    runs = {
        **{task: real(task, finite=None) for task in SIZES},
        "addition_finite": real("addition", finite=Finite(examples=8)),
        "induction_one_layer": real("induction", finite=None, n_layers=1),
    }

    class Real:
        def read_tables(self, name: str) -> pd.DataFrame:
            return pd.concat(
                [
                    run["tables"][name].assign(variant=variant, block="r000-001")
                    for variant, run in runs.items()
                ]
            )

        def read_tensors_of_all(self, name: str) -> dict:
            raise AssertionError(name)

    sections = {name: run["sections"] for name, run in runs.items()}
    board = claims.judge(FigureData(Real(), sections, 0, "phase_changes")).set_index("id")
    # Nothing is learnt in 8 steps, so what has a time is not judged.
    judged = [
        *("addition_every_digit_changes", "induction_changes", "induction_one_layer_stays"),
        *("induction_needs_two_layers", "induction_previous_token_head", "induction_heads_compose"),
        *(f"{task}_infinite_no_gap" for task in SIZES),
        *("skip_trigram_attends_to_trigger", "addition_carries_are_read"),
        *("addition_embeddings_fourier", "addition_neurons_fourier"),
    ]
    assert set(board.loc[judged, "verdict"]) <= {"replicated", "not replicated"}
    assert board.loc[judged, "n"].eq(2).all()
    assert board.loc["addition_finite_groks", "verdict"] == "not run at this scale"
    assert set(board.loc[[claim.id for claim in published.NUMBERS], "verdict"]) == {
        "not run at this scale"
    }
