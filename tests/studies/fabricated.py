"""Artefacts of networks whose every number is made up, so that tables and verdicts are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mechflow.config.sections import Training, Transformer
from mechflow.figures.data import FigureData
from mechflow.studies.modular_addition.config import Dataset, Spectra

STEPS = tuple(range(0, 2001, 100))


@dataclass(frozen=True)
class Networks:
    """What the replicates of a variant are like; a number for each replicate."""

    grokked_at: Sequence[float] = (500, 600, 700)
    """Step from which all test pairs are right; infinite for never."""
    test_loss: Sequence[float] = (1e-6, 2e-6, 4e-6)
    key: Sequence[Sequence[int]] = ((1, 3), (2, 5), (3, 4, 6))
    logit_variance: Sequence[float] = (0.95, 0.96, 0.97)
    neurons: Sequence[float] = (0.75, 0.75, 0.5)
    """Share of four neurons that one frequency explains."""
    without_key: Sequence[float] = (0.05, 0.04, 0.06)
    without_random: Sequence[float] = (0.95, 0.96, 0.97)
    only_key: Sequence[float] = (1.0, 1.0, 0.99)
    restricted_gap: Sequence[float] = (0.0, 0.01, -0.01)
    dataset: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    def sections(self) -> dict[str, Any]:
        """The configuration that artefacts of the variant depend on."""
        return {
            "dataset": Dataset(**{"p": 23, **self.dataset}),
            "model": Transformer(**{"d_model": 16, "d_mlp": 4, **self.model}),
            "training": Training(**{"steps": 2000, "eval_every": 100, **self.training}),
            "spectra": Spectra(),
        }

    def curves(self) -> pd.DataFrame:
        """Test accuracy jumps from 0.1 to 1, test loss from 5 to its final value."""
        rows = []
        for replicate, (jump, loss) in enumerate(zip(self.grokked_at, self.test_loss, strict=True)):
            for step in STEPS:
                good = step >= jump
                spike = 3.0 if step == STEPS[-1] else 1.0
                values = {
                    ("train", "accuracy"): 1.0,
                    ("test", "accuracy"): 1.0 if good else 0.1,
                    ("train", "loss"): 1e-7,
                    ("test", "loss"): spike * loss if good else 5.0 + (step == 200),
                }
                rows += [(replicate, step, *key, value) for key, value in values.items()]
        return pd.DataFrame(rows, columns=["replicate", "step", "split", "metric", "value"])

    def spectra(self) -> pd.DataFrame:
        """Key frequencies, explained shares, Gini coefficients and ranks."""
        rows = []
        for replicate, key in enumerate(self.key):
            explained = np.arange(4) < 4 * self.neurons[replicate]
            rows += [("trained", "latent", "W_E", "key_frequency", k, 1.0) for k in key]
            rows += [
                ("trained", "", "neurons", "neuron_fraction_explained", i, 0.9 if yes else 0.2)
                for i, yes in enumerate(explained)
            ]
            logits = self.logit_variance[replicate]
            rows.append(("trained", "", "logits", "logit_variance_explained", 0, logits))
            for weights, model, shift in (
                ("latent", "trained", 0.0),
                ("latent", "untrained", 10.0),
                ("latent", "gaussian", 20.0),
                *([("quantised", "trained", 5.0)] if "precision" in self.model else []),
            ):
                for matrix in ("W_E", "W_L") if weights == "latent" else ("W_L",):
                    rank = shift + replicate
                    rows.append((model, weights, matrix, "effective_rank", 0, rank))
                    rows.append((model, weights, matrix, "gini", 0, 0.5 + rank / 100))
            rows = [row if len(row) == 7 else (replicate, *row) for row in rows]
        columns = ["replicate", "model", "weights", "matrix", "quantity", "index", "value"]
        return pd.DataFrame(rows, columns=columns)

    def interventions(self) -> pd.DataFrame:
        """Test accuracy after interventions on the embedding, random sets drawn twice."""
        rows = []
        for replicate in range(len(self.grokked_at)):
            rows.append(("none", "", "none", 0, 1.0, replicate))
            rows.append(("remove_key", "W_E", "none", 0, self.without_key[replicate], replicate))
            rows.append(("keep_key", "W_E", "none", 0, self.only_key[replicate], replicate))
            rows += [
                ("remove_key", "W_E", "random_frequencies", draw, value, replicate)
                for draw, value in enumerate(
                    self.without_random[replicate] + np.array([-0.01, 0.01])
                )
            ]
        columns = ["intervention", "site", "control", "draw", "value", "replicate"]
        return pd.DataFrame(rows, columns=columns).assign(split="test", metric="accuracy")

    def progress(self) -> pd.DataFrame:
        """Loss and restricted loss at two checkpoints, of which the last one counts."""
        rows = []
        for replicate, gap in enumerate(self.restricted_gap):
            for step, loss in ((0, 5.0), (2000, 0.5)):
                last = gap if step else 9.0
                rows.append((replicate, step, "loss", "", "test", "none", loss))
                rows += [
                    (replicate, step, "restricted_loss", definition, split, control, loss + shift)
                    for definition, split, control, shift in (
                        ("sum_directions", "test", "none", last),
                        ("block_2x2", "test", "none", 7.0),
                        ("sum_directions", "train", "none", 7.0),
                        ("sum_directions", "test", "random_frequencies", 7.0),
                    )
                ]
        columns = ["replicate", "step", "metric", "definition", "split", "control", "value"]
        return pd.DataFrame(rows, columns=columns)


class Fabricated:
    """Reads made-up artefacts as a job reads those of files."""

    def __init__(
        self, variants: Mapping[str, Networks], dataset: pd.DataFrame | None = None
    ) -> None:
        self._variants = variants
        self._dataset = dataset

    def read_tables(self, name: str) -> pd.DataFrame:
        """Rows of all variants."""
        if name == "dataset":
            assert self._dataset is not None
            return self._dataset
        frames = [
            getattr(networks, name)().assign(variant=variant, block="r000-002")
            for variant, networks in self._variants.items()
        ]
        return pd.concat(frames, ignore_index=True)

    def read_tensors_of_all(self, name: str) -> dict[tuple[str, str], dict[str, Any]]:
        """No table or claim reads tensors."""
        raise AssertionError(name)


def data(variants: Mapping[str, Networks], dataset: pd.DataFrame | None = None) -> FigureData:
    """What tables and claims are made from."""
    sections = {name: networks.sections() for name, networks in variants.items()}
    return FigureData(Fabricated(variants, dataset), sections, 0, "modular_addition")


BINARY = Networks(model={"precision": "binary"})
TERNARY = Networks(model={"precision": "ternary", "weight_scale": True})
