"""Curves of networks whose phase changes are known exactly.

The test loss of every group is level at the loss of blind answers, falls linearly, and is level
again. Three quarters of the drop remain after a quarter of the fall, and so on; the logarithm
falls most steeply where a quarter of the drop remains, which is the last place that counts.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from mechflow.config.sections import Transformer
from mechflow.figures.data import FigureData
from mechflow.studies.phase_changes.config import (
    Addition,
    Data,
    Finite,
    Induction,
    Progress,
    SkipTrigram,
    StreamTraining,
)

STEPS = tuple(range(0, 1001, 20))
DATA = {
    "addition": Data(task="addition", addition=Addition(n_digits=2)),
    "skip_trigram": Data(task="skip_trigram", skip_trigram=SkipTrigram(n_triggers=3, seq_len=5)),
    "induction": Data(
        task="induction", induction=Induction(seq_len=13, subseq_len=3, repeats=3, d_vocab=9)
    ),
}
GROUPS = {
    "addition": ("digit.0", "digit.1", "digit.2"),
    "skip_trigram": ("trigger.0", "trigger.1", "trigger.2"),
    "induction": ("repeat.1", "repeat.2"),
}
LATER = 80
"""Steps by which each group falls later than the one before it."""
BETWEEN_SEEDS = 40
"""Steps by which each replicate falls later than the one before it."""

Change = Callable[[str, pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True)
class Learner:
    """A variant; all its losses are in nats."""

    task: str
    replicates: int = 3
    start: int = 200
    """Step at which the loss of the first group of the first replicate begins to fall."""
    length: int = 160
    """Steps that it falls for; a multiple of four evaluations."""
    blind: float = 2.0
    end: float = 0.1
    optimal: float = 0.0
    train_learnt: Sequence[float] = (200, 220, 240, 260, 280)
    """Step from which all answers to the train set are right, by replicate."""
    test_learnt: Sequence[float] = (600, 660, 720, 780, 840)
    """The same for the test set; infinite for never."""
    finite: Finite | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of answers."""
        return GROUPS[self.task]

    def falls_at(self, replicate: int, group: str = "all") -> int:
        """Step at which a loss begins to fall; the whole loss with the first group."""
        place = 0 if group == "all" else self.groups.index(group)
        return self.start + BETWEEN_SEEDS * replicate + LATER * place

    def sections(self) -> dict[str, Any]:
        """The configuration that artefacts of the variant depend on."""
        training = {"steps": STEPS[-1], "eval_every": 20, **self.training}
        return {
            "data": DATA[self.task],
            "finite": self.finite,
            "model": Transformer(**{"d_model": 16, "d_mlp": 4, **self.model}),
            "training": StreamTraining(**training),
            "progress": Progress(),
        }

    def curves(self) -> pd.DataFrame:
        """Loss, accuracy and loss by group on both splits, and the squared weights."""
        step = np.array(STEPS)
        frames = []
        for replicate in range(self.replicates):
            for split, shift in (("train", -20), ("test", 0)):
                learnt = self.train_learnt if split == "train" else self.test_learnt
                values = {
                    "loss": self._loss(step, self.falls_at(replicate) + shift),
                    "accuracy": np.where(step >= learnt[replicate], 1.0, 0.3),
                    **{
                        f"loss.{group}": self._loss(step, self.falls_at(replicate, group) + shift)
                        for group in self.groups
                    },
                }
                frames += [
                    pd.DataFrame(
                        {
                            "replicate": replicate,
                            "step": step,
                            "split": split,
                            "metric": metric,
                            "value": value,
                        }
                    )
                    for metric, value in values.items()
                ]
            weights = frames[-1].assign(split="", metric="squared_weights", value=100.0)
            frames.append(weights)
        return pd.concat(frames, ignore_index=True)

    def progress(self) -> pd.DataFrame:
        """The losses that curves are compared with, among rows that figures must leave out."""
        rows: list[tuple[Any, ...]] = []
        for replicate in range(self.replicates):
            rows.append((replicate, 0, "uniform_loss", "none", 1.2 * self.blind))
            for name in ("", *(f".{group}" for group in self.groups)):
                rows.append((replicate, 0, f"blind_loss{name}", "none", self.blind))
                rows.append((replicate, 0, f"optimal_loss{name}", "none", self.optimal))
            rows.append((replicate, 0, "blind_loss", "random", 99.0))
        columns = ["replicate", "step", "metric", "control", "value"]
        return pd.DataFrame(rows, columns=columns).assign(definition="", split="test", draw=0)

    def _loss(self, step: np.ndarray, start: int) -> np.ndarray:
        fallen = np.clip((step - start) / self.length, 0.0, 1.0)
        # Initial weights do worse than blind answers, and come down to them in one evaluation.
        return np.where(step == 0, 3.0 * self.blind, self.blind - fallen * (self.blind - self.end))


class Fabricated:
    """Reads made-up artefacts as a job reads those of files, and no others than it declares."""

    def __init__(
        self,
        variants: Mapping[str, Learner],
        reads: Sequence[str] | None = None,
        change: Change | None = None,
    ) -> None:
        self._variants, self._reads = variants, reads
        self._change = change or (lambda name, frame: frame)

    def read_tables(self, name: str) -> pd.DataFrame:
        """Rows of all variants."""
        assert self._reads is None or name in self._reads, f"{name} is not declared"
        frames = [
            getattr(learner, name)().assign(variant=variant, block="b")
            for variant, learner in self._variants.items()
        ]
        return self._change(name, pd.concat(frames, ignore_index=True))

    def read_tensors_of_all(self, name: str) -> dict[tuple[str, str], dict[str, Any]]:
        """Nothing about curves reads tensors."""
        raise AssertionError(name)


def data(variants: Mapping[str, Learner], **options: Any) -> FigureData:
    """What tables, figures and claims are made from."""
    sections = {name: learner.sections() for name, learner in variants.items()}
    return FigureData(Fabricated(variants, **options), sections, 0, "phase_changes")


TRAIN_SET = Finite(examples=100)
VARIANTS: Mapping[str, Learner] = {
    "addition": Learner("addition"),
    "addition_finite": Learner("addition", finite=TRAIN_SET),
    "skip_trigram": Learner("skip_trigram"),
    "skip_trigram_finite": Learner("skip_trigram", finite=TRAIN_SET, test_learnt=(math.inf,) * 5),
    "induction": Learner("induction", optimal=0.05, model={"n_layers": 2, "d_mlp": 0}),
    "induction_finite": Learner(
        "induction", finite=TRAIN_SET, end=5.0, optimal=0.05,
        train_learnt=(200, math.inf, 240, 260, 280), test_learnt=(math.inf,) * 5,
        model={"n_layers": 2, "d_mlp": 0},
    ),
    "induction_one_layer": Learner("induction", end=1.5, optimal=0.05, model={"d_mlp": 0}),
}  # fmt: skip
"""The variants of the default configuration. The one-layer model ends a quarter of the way down."""


def with_replicates(n: int) -> dict[str, Learner]:
    """The same variants with another number of replicates."""
    return {name: replace(learner, replicates=n) for name, learner in VARIANTS.items()}
