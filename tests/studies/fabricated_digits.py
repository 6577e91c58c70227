"""Spectra, probes and progress whose every number is made up, for figures of digits and circuits.

Numbers come from a generator seeded with the variant's name, so that all of them differ; those
that tests reason about, such as when sums with carries are learnt, are fields.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch

from mechflow import fourier
from mechflow.config.sections import Transformer
from mechflow.figures.data import FigureData
from mechflow.studies.phase_changes.config import Finite, Probe, Progress, Spectra, StreamTraining
from tests.studies.fabricated_phases import DATA

STEPS = tuple(range(0, 801, 50))
DIGITS = DATA["addition"].addition.n_digits
BLIND = 2.0
HEADS, RANK, NEURONS, EXAMPLES = 2, 3, 7, 6
MODELS = ("trained", "untrained")
CIRCUITS = ("QK", "OV", "QK_full", "OV_full")
CONTROLS = ("none", "shuffled_labels")

Change = Callable[[str, pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True)
class Network:
    """A variant."""

    task: str
    name: str
    replicates: int = 3
    layers: int = 1
    finite: Finite | None = None
    learnt: Mapping[str, Sequence[float]] | None = None
    """Step from which each kind of sum is right, by replicate; infinite for never."""

    def sections(self) -> dict[str, Any]:
        """The configuration that artefacts of the variant depend on."""
        return {
            "data": DATA[self.task],
            "finite": self.finite,
            "model": Transformer(d_model=16, d_mlp=8, n_heads=HEADS, n_layers=self.layers),
            "training": StreamTraining(steps=STEPS[-1]),
            "probe": Probe(),
            "spectra": Spectra(),
            "progress": Progress(),
        }

    def spectra(self) -> pd.DataFrame:
        """Digits, neurons and circuits."""
        draw = self._generator("spectra").random
        rows: list[tuple[Any, ...]] = []
        for replicate, model in product(range(self.replicates), MODELS):
            own = (replicate, model)
            heads = [f"L{layer}H{head}" for layer in range(self.layers) for head in range(HEADS)]
            for circuit, head in product(CIRCUITS, heads):
                values = sorted(5 * draw(RANK), reverse=True)
                matrix = f"{circuit}.{head}"
                rows += [(*own, matrix, "singular_value", i, v) for i, v in enumerate(values)]
                rows.append((*own, matrix, "effective_rank", 0, 1 + draw()))
            if self.task != "addition":
                continue
            for matrix in ("W_E", "W_U"):
                rows += [(*own, matrix, "fourier_norm", i, v) for i, v in enumerate(draw(10))]
                rows += [(*own, matrix, "frequency_power", k, 0.2) for k in range(1, 6)]
                rows.append((*own, matrix, "gini", 0, draw()))
            for matrix in [f"neurons.digit.{digit}" for digit in range(DIGITS)]:
                power = enumerate(0.2 * draw(5), start=1)
                rows += [(*own, matrix, "frequency_power", k, v) for k, v in power]
                rows.append((*own, matrix, "sampling_share", 0, draw()))
        columns = ["replicate", "model", "matrix", "quantity", "index", "value"]
        return pd.DataFrame(rows, columns=columns)

    def spectra_arrays(self) -> dict[str, torch.Tensor]:
        """Gram matrices of random embeddings, and neurons; other tasks have arrays of their own."""
        if self.task != "addition":
            return {"tables": torch.zeros(self.replicates, 2)}
        generator = self._generator("arrays")
        found: dict[str, torch.Tensor] = {}
        for ending in ("", "_untrained"):
            W_E = torch.from_numpy(generator.normal(size=(self.replicates, 10, 16)))
            W_E = W_E - W_E.mean(1, keepdim=True)
            spectrum = fourier.transform_1d(W_E)
            found[f"digit_gram{ending}"] = W_E @ W_E.mT
            found[f"digit_gram_fourier{ending}"] = spectrum @ spectrum.mT
        power = generator.random((self.replicates, DIGITS, 10, 10))
        found["pair_power"] = torch.from_numpy(power / power.sum((-2, -1), keepdims=True))
        means = generator.random((self.replicates, EXAMPLES, 10, 10))
        found["pair_means"] = torch.from_numpy(means)
        numbers = [generator.permutation(NEURONS)[:EXAMPLES] for _ in range(self.replicates)]
        found["pair_mean_neurons"] = torch.from_numpy(np.stack(numbers))
        return {k: v.float() if v.is_floating_point() else v for k, v in found.items()}

    def progress(self) -> pd.DataFrame:
        """Loss and accuracy of each kind of sum, which jump when it is learnt."""
        rows: list[tuple[Any, ...]] = []
        for replicate in range(self.replicates):
            rows.append((replicate, 0, "blind_loss", "none", BLIND))
            for step in STEPS:
                rows.append((replicate, step, "loss", "none", 1.0 + replicate))
                for kind, steps in (self.learnt or {}).items():
                    done = step >= steps[replicate]
                    rows += [
                        (replicate, step, f"loss.carries.{kind}", "none", 0.1 if done else BLIND),
                        (replicate, step, f"accuracy.carries.{kind}", "none", 0.2 + 0.8 * done),
                        (replicate, step, f"accuracy.carries.{kind}", "random", 0.5),
                    ]
        columns = ["replicate", "step", "metric", "control", "value"]
        return pd.DataFrame(rows, columns=columns).assign(definition="", split="test", draw=0)

    def probes(self) -> pd.DataFrame:
        """Random accuracies, higher than those on shuffled labels."""
        draw = self._generator("probes").random
        sites = ["blocks.0.hook_resid_pre"]
        for layer in range(self.layers):
            sites += [f"blocks.{layer}.hook_resid_mid"] if self.task == "addition" else []
            sites.append(f"blocks.{layer}.hook_resid_post")
        targets, positions = {
            "addition": ([f"carry.{k}" for k in range(DIGITS)], range(5, 6 + DIGITS)),
            "skip_trigram": (["trigger"], [6]),
            "induction": (["token", "previous_token", "next_token"], [-1]),
        }[self.task]
        # As in the real table the last site may come first: figures have to order them.
        cells = product(
            range(self.replicates), MODELS, sites[::-1], targets, positions, CONTROLS,
            ("train", "test"),
        )  # fmt: skip
        rows = [
            (*cell, "accuracy", 0.5 * draw() + (0.4 if cell[-2] == "none" else 0.0))
            for cell in cells
        ]
        columns = ["replicate", "model", "site", "target", "position", "control", "split"]
        table = pd.DataFrame(rows, columns=[*columns, "metric", "value"])
        other = table.assign(target="nine.0", metric="r2", value=-9.0)
        return pd.concat([table, other], ignore_index=True)

    def _generator(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(f"{self.name} {purpose}".encode()))


class Fabricated:
    """Reads made-up artefacts as a job reads those of files, and no others than it may."""

    def __init__(
        self,
        variants: Mapping[str, Network],
        reads: Sequence[str] | None = None,
        change: Change | None = None,
        without: str | None = None,
    ) -> None:
        self._variants, self._reads, self._without = variants, reads, without
        self._change = change or (lambda name, frame: frame)

    def read_tables(self, name: str) -> pd.DataFrame:
        """Rows of all variants, whose labels of rows are those within each."""
        self._check(name)
        frames = [
            getattr(network, name)().assign(variant=variant, block="b")
            for variant, network in self._variants.items()
        ]
        return self._change(name, pd.concat(frames))

    def read_tensors_of_all(self, name: str) -> dict[tuple[str, str], dict[str, torch.Tensor]]:
        """Arrays of all variants, without those whose names end in a given way."""
        self._check(name)
        return {
            (variant, "b"): {
                key: array
                for key, array in getattr(network, name)().items()
                if self._without is None or not key.endswith(self._without)
            }
            for variant, network in self._variants.items()
        }

    def _check(self, name: str) -> None:
        assert self._reads is None or name in self._reads, f"{name} is not declared"


def data(variants: Mapping[str, Network], **options: Any) -> FigureData:
    """What figures are made from."""
    sections = {name: network.sections() for name, network in variants.items()}
    return FigureData(Fabricated(variants, **options), sections, 0, "phase_changes")


_TRAIN_SET = Finite(examples=100)
_NEVER = (np.inf,) * 5
VARIANTS: Mapping[str, Network] = {
    network.name: network
    for network in (
        Network(
            "addition",
            "addition",
            learnt={
                "none": (200, 250, 300, 200, 200),
                "one": (250, 300, 350, 300, 250),
                "cascade": (300, 450, 400, 350, 350),
            },
        ),
        Network(
            "addition",
            "addition_finite",
            finite=_TRAIN_SET,
            learnt={
                "none": (200, 300, np.inf, 200, 200),
                "one": (300, np.inf, np.inf, 200, 200),
                "cascade": _NEVER,
            },
        ),
        Network("skip_trigram", "skip_trigram"),
        Network("skip_trigram", "skip_trigram_finite", finite=_TRAIN_SET),
        Network("induction", "induction", layers=2),
        Network("induction", "induction_finite", layers=2, finite=_TRAIN_SET),
        Network("induction", "induction_one_layer"),
    )
}
"""The variants of the default configuration."""


def with_replicates(n: int) -> dict[str, Network]:
    """The same variants with another number of replicates."""
    return {name: replace(network, replicates=n) for name, network in VARIANTS.items()}
