"""Artefacts of the phase changes study whose every number is made up, so that verdicts are known.

Losses fall along a straight line: from the blind loss, a width before the middle of the drop, to
the last loss, a width after it. So the time between 75 % and 25 % of the drop is that width.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from mechflow.claims import scoreboard
from mechflow.config.sections import Transformer
from mechflow.figures.data import FigureData
from mechflow.studies.phase_changes import claims
from mechflow.studies.phase_changes.config import Data, Finite, StreamTraining

OPTIMAL = 0.0
POSITIONAL = 1.4
"""Loss in nats of what can be told without comparing tokens."""
UNIFORM = 0.1
"""What uniform attention scores."""
HEADS = ("L0H0", "L0H1", "L1H0", "L1H1")
PREVIOUS, INDUCTION = "L0H1", "L1H0"
"""The heads of the circuit."""
ROLES = ("previous_token_heads", "induction_heads")
GROUPS = {
    "addition": ("digit.0", "digit.1", "digit.2"),
    "skip_trigram": ("trigger.0", "trigger.1"),
    "induction": ("repeat.1", "repeat.2"),
}


@dataclass(frozen=True)
class Runs:
    """What the replicates of a variant are like; sequences have a number for each of them."""

    task: str = "addition"
    blind: float = 2.0
    drop_at: Sequence[float] = (400.0, 410.0, 420.0)
    """Middle of the drop of the first group's loss; infinite for never."""
    apart: float = 0.0
    """Steps between the drops of two groups."""
    width: float = 60.0
    end: float = 0.02
    gap: float = 0.0
    """Test minus train loss, at all steps."""
    noise: Mapping[int, float] = field(default_factory=dict)
    """Train losses of single steps."""
    train_learnt: Sequence[float] = (100.0, 120.0, 140.0)
    test_learnt: Sequence[float] = (300.0, 360.0, 400.0)
    lag: float = 0.0
    """Steps from the drop of the loss to the rise of attention."""
    attention: float = 0.9
    """Scores of the circuit's heads, and attention to the trigger, after training."""
    composition: float = 0.6
    """K-composition of the circuit's heads; random ones have 0 to 0.19."""
    undone: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(ROLES, 0.9))
    """Share of the drop that is undone without the heads of a role."""
    undone_by_others: float | None = 0.2
    cascade_lag: float = 100.0
    carries: Mapping[str, float] = field(
        default_factory=lambda: {"trained": 0.95, "untrained": 0.7, "shuffled_labels": 0.5}
    )
    gini: tuple[float, float] = (0.5, 0.1)
    """Trained and untrained."""
    neurons: tuple[float, float] = (0.8, 0.3)
    finite: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _tables(self) -> dict[str, pd.DataFrame]:
        return {}

    def table(self, name: str) -> pd.DataFrame:
        """A table of these runs, made up once."""
        if name not in self._tables:
            self._tables[name] = getattr(self, name)()
        return self._tables[name]

    def sections(self) -> dict[str, Any]:
        """The configuration that artefacts of the variant depend on."""
        layers = 2 if self.task == "induction" else 1
        size = {"n_layers": layers, "n_heads": 2, "d_model": 8, "d_mlp": 0}
        return {
            "data": Data(**{"task": self.task, "addition": {"n_digits": 2}, **self.data}),
            "finite": Finite(examples=self.finite) if self.finite else None,
            "model": Transformer(**{**size, **self.model}),
            "training": StreamTraining(**{"steps": 1000, **self.training}),
        }

    def steps(self) -> np.ndarray:
        """Fifty evaluations."""
        last = self.sections()["training"].steps
        return np.arange(0, last + 1, last // 50)

    def curves(self) -> pd.DataFrame:
        """Losses of all groups and of all answers, and accuracies that jump."""
        frames = []
        for replicate, split in product(range(len(self.drop_at)), ("train", "test")):
            shift = self.gap if split == "test" else 0.0
            by_group = [self._loss(self.drop_at[replicate] + k * self.apart) for k, _ in self._own]
            losses = {
                f"loss.{group}": loss for (_, group), loss in zip(self._own, by_group, strict=True)
            }
            losses["loss"] = np.mean(by_group, axis=0)
            if split == "train":
                for step, value in self.noise.items():
                    losses["loss"][self.steps() == step] = value
            learnt = self.train_learnt if split == "train" else self.test_learnt
            jump = np.where(self.steps() >= learnt[replicate], 1.0, 0.1)
            metrics = {**{name: loss + shift for name, loss in losses.items()}, "accuracy": jump}
            for metric, values in metrics.items():
                frame = pd.DataFrame({"step": self.steps(), "value": values})
                frames.append(frame.assign(replicate=replicate, split=split, metric=metric))
        return pd.concat(frames, ignore_index=True)

    def progress(self) -> pd.DataFrame:
        """Reference losses, and what is scored in each task."""
        rows = []
        for replicate in range(len(self.drop_at)):
            references = {"blind_loss": self.blind, "optimal_loss": OPTIMAL}
            if self.task == "induction":
                references["positional_loss"] = POSITIONAL
            for name, value in references.items():
                rows.append((replicate, 0, name, "none", 0, value))
                rows += [
                    (replicate, 0, f"{name}.{group}", "none", 0, value) for _, group in self._own
                ]
            rows += [(replicate, *row) for row in getattr(self, f"_of_{self.task}")(replicate)]
        columns = ["replicate", "step", "metric", "control", "draw", "value"]
        return pd.DataFrame(rows, columns=columns).assign(split="test", definition="")

    def interventions(self) -> pd.DataFrame:
        """The test loss without the heads of a role; before training there is nothing to lose."""
        rows = []
        cases = [("none", "", "none", 0, 0.0)]
        for role, share in self.undone.items():
            cases.append(("mean_head", role, "none", 0, share))
            if self.undone_by_others is not None:
                for draw, by in enumerate((-0.1, 0.1)):
                    value = self.undone_by_others + by
                    cases.append(("mean_head", role, "random_heads", draw, value))
        for replicate, case in product(range(len(self.drop_at)), cases):
            last = self.end + case[-1] * (self.blind - self.end)
            rows += [(replicate, *case[:-1], 0, 9.0), (replicate, *case[:-1], 1000, last)]
        columns = ["replicate", "intervention", "site", "control", "draw", "step", "value"]
        return pd.DataFrame(rows, columns=columns).assign(split="test", metric="loss")

    def probes(self) -> pd.DataFrame:
        """Probes of the carries of two columns, at 5, 6 and 7; where they are not needed, 0."""
        rows = []
        if self.task == "addition":
            cases = [("trained", "none"), ("untrained", "none"), ("trained", "shuffled_labels")]
            for replicate, case, site, position, column in product(
                range(len(self.drop_at)), cases, ("pre", "post"), (5, 6, 7), (0, 1)
            ):
                kind = case[0] if case[1] == "none" else case[1]
                needed = site == "post" and position == {0: 6, 1: 5}[column]
                value = self.carries[kind] + 0.01 * replicate if needed else 0.0
                name = f"blocks.0.hook_resid_{site}"
                rows.append((replicate, *case, name, position, f"carry.{column}", value))
        columns = ["replicate", "model", "control", "site", "position", "target", "value"]
        return pd.DataFrame(rows, columns=columns).assign(split="test", metric="accuracy")

    def spectra(self) -> pd.DataFrame:
        """How sparse the digits' embeddings are, and how much one frequency explains of neurons."""
        rows = []
        if self.task == "addition":
            for replicate, (k, model) in product(
                range(len(self.drop_at)), enumerate(("trained", "untrained"))
            ):
                gini, fraction = self.gini[k], self.neurons[k]
                rows.append((replicate, model, "W_E", "gini", 0, gini))
                rows.append((replicate, model, "W_U", "gini", 0, 0.5))
                rows += [
                    (replicate, model, f"neurons.digit.{digit}", "neuron_fraction_explained", i, v)
                    for digit in range(2)
                    for i, v in enumerate((fraction - 0.1, fraction + 0.1))
                ]
        columns = ["replicate", "model", "matrix", "quantity", "index", "value"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def _own(self) -> list[tuple[int, str]]:
        return list(enumerate(GROUPS[self.task]))

    def _loss(self, middle: float) -> np.ndarray:
        if np.isinf(middle):
            return np.full(len(self.steps()), self.blind)
        ends = [middle - self.width, middle + self.width]
        return np.interp(self.steps(), ends, [self.blind, self.end])

    def _checkpoints(self) -> np.ndarray:
        return self.steps()[::2]

    def _rise(self, middle: float) -> np.ndarray:
        """Attention that grows from uniform to its final value, half of it at a step."""
        ends = [middle - self.width, middle + self.width]
        return np.interp(self._checkpoints(), ends, [UNIFORM, self.attention])

    def _of_addition(self, replicate: int) -> Iterator[tuple[Any, ...]]:
        start = self.drop_at[replicate]
        for subset, middle in (("none", start), ("cascade", start + self.cascade_lag)):
            losses = pd.Series(self._loss(middle), self.steps()).loc[self._checkpoints()]
            for step, value in losses.items():
                yield step, f"loss.carries.{subset}", "none", 0, value

    def _of_skip_trigram(self, replicate: int) -> Iterator[tuple[Any, ...]]:
        rise = self._rise(self.drop_at[replicate] + self.lag)
        for trigger, shift in enumerate((-0.05, 0.05)):
            name = f"trigger_attention.{trigger}"
            yield 0, name, "uniform", 0, UNIFORM
            for step, value in zip(self._checkpoints(), rise + shift, strict=True):
                yield step, name, "none", 0, value

    def _of_induction(self, replicate: int) -> Iterator[tuple[Any, ...]]:
        rise = self._rise(self.drop_at[replicate] + self.lag)
        flat = np.full(len(rise), UNIFORM)
        heads = [head for head in HEADS if int(head[1]) < self.sections()["model"].n_layers]
        for score, best in (("prefix_matching", INDUCTION), ("previous_token", PREVIOUS)):
            for head in heads:
                yield 0, f"{score}.{head}", "uniform", 0, UNIFORM
                values = rise if head == best else flat
                for step, value in zip(self._checkpoints(), values, strict=True):
                    yield step, f"{score}.{head}", "none", 0, value
        for earlier, later in product(HEADS[:2], HEADS[2:]):
            name = f"k_composition.{earlier}-{later}"
            own = self.composition if (earlier, later) == (PREVIOUS, INDUCTION) else 0.1
            yield 0, name, "none", 0, 0.9
            yield 1000, name, "none", 0, own
            for draw in range(20):
                yield 0, name, "random", draw, draw / 100


class _Reader:
    """Reads made-up artefacts as a job reads those of files."""

    def __init__(self, variants: Mapping[str, Runs]) -> None:
        self._variants = variants

    def read_tables(self, name: str) -> pd.DataFrame:
        """Rows of all variants."""
        frames = [
            runs.table(name).assign(variant=variant, block="r000-002")
            for variant, runs in self._variants.items()
        ]
        return pd.concat(frames, ignore_index=True)

    def read_tensors_of_all(self, name: str) -> dict[tuple[str, str], dict[str, Any]]:
        """No claim reads tensors."""
        raise AssertionError(name)


def data(**variants: Runs) -> FigureData:
    """What claims are judged on."""
    sections = {name: runs.sections() for name, runs in variants.items()}
    return FigureData(_Reader(variants), sections, 0, "phase_changes")


_SOUND: Mapping[str, Mapping[str, Any]] = {
    "addition": {"task": "addition"},
    "addition_finite": {"task": "addition", "finite": 50},
    "skip_trigram": {"task": "skip_trigram"},
    "skip_trigram_finite": {"task": "skip_trigram", "finite": 50},
    "induction": {"task": "induction"},
    "induction_finite": {"task": "induction", "finite": 50, "training": {"batch_size": 32}},
    "induction_one_layer": {"task": "induction", "end": 1.5, "model": {"n_layers": 1}},
}
_SOUND_RUNS = {name: Runs(**values) for name, values in _SOUND.items()}


def sound(**changes: Mapping[str, Any]) -> dict[str, Runs]:
    """Variants of which every qualitative claim holds, some of them with changes by name."""
    changed = {name: Runs(**{**_SOUND[name], **own}) for name, own in changes.items()}
    return {**_SOUND_RUNS, **changed}


def judge(variants: Mapping[str, Runs], *ids: str) -> pd.DataFrame:
    """The verdicts on some claims, or on all of them."""
    chosen = [claim for claim in claims.CLAIMS if claim.id in ids or not ids]
    return scoreboard(chosen, data(**variants)).set_index("id")
