"""Made-up artefacts of the phase changes study in which every number is known.

Heads are made so that the best one of each part differs between replicates.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch

from mechflow.config.sections import Transformer
from mechflow.figures.data import FigureData
from mechflow.studies.phase_changes.config import (
    Addition,
    Data,
    Finite,
    Induction,
    Interventions,
    SkipTrigram,
    StreamTraining,
)
from mechflow.studies.phase_changes.head_names import all_heads
from mechflow.studies.phase_changes.tasks import task_of

STEPS = tuple(range(0, 101, 10))
ABLATED_STEPS = (0, 50, 100)
TABLE_STEPS = (0, 20, 40, 60, 80, 100)
UNIFORM, DRAWS = 0.08, 4
_INDUCTION = Data(
    task="induction", induction=Induction(seq_len=13, subseq_len=3, repeats=3, d_vocab=9)
)
_SKIP = Data(task="skip_trigram", skip_trigram=SkipTrigram(n_triggers=3, seq_len=5))
_SMALL = Transformer(d_model=8, d_mlp=0, n_layers=2, n_heads=2)
_ONE_LAYER = Transformer(d_model=8, d_mlp=0, n_layers=1, n_heads=2)

Change = Callable[[str, pd.DataFrame], pd.DataFrame]
Row = dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """A variant as it is configured."""

    data: Data
    model: Transformer
    finite: Finite | None = None

    def sections(self) -> dict[str, Any]:
        """Its configuration by key."""
        return {
            "data": self.data,
            "finite": self.finite,
            "model": self.model,
            "training": StreamTraining(steps=100),
            "interventions": Interventions(),
        }


VARIANTS: Mapping[str, Trained] = {
    "addition": Trained(
        Data(addition=Addition(n_digits=2)), Transformer(d_model=9, d_mlp=4, n_heads=3)
    ),
    "skip_trigram": Trained(_SKIP, Transformer(d_model=8, d_mlp=0, n_heads=1)),
    "skip_trigram_finite": Trained(
        _SKIP, Transformer(d_model=8, d_mlp=0, n_heads=1), Finite(examples=9)
    ),
    "induction_finite": Trained(_INDUCTION, _SMALL, Finite(examples=9)),
    "induction": Trained(_INDUCTION, _SMALL),
    "induction_one_layer": Trained(_INDUCTION, _ONE_LAYER),
}


def rise(step: float) -> float:
    """From 0 to 1 about step 50."""
    return 1 / (1 + math.exp((50 - step) / 6))


def loss(name: str, replicate: int, step: float) -> float:
    """Test loss: blind until the middle of training, low after it; one layer stays half-way."""
    drop = 0.3 if name == "induction_one_layer" else 0.97
    return blind(name) * (1 - drop * rise(step - 2 * replicate))


def blind(name: str) -> float:
    """Loss of the best answer that ignores the sequence."""
    return float(np.mean(list(task_of(VARIANTS[name].data).blind_losses().values())))


def best(role: str, replicate: int) -> str:
    """The head that is made to play a part in a replicate."""
    return f"L0H{(replicate + 1) % 2}" if role == "previous_token" else f"L1H{replicate % 2}"


def score(name: str, head: str, replicate: int, step: float) -> float:
    """A score of a head; late heads look back most, but cannot feed an induction head."""
    if name == "previous_token" and head.startswith("L1"):
        return UNIFORM + 0.8 * rise(step)
    size = 0.6 if head == best(name, replicate) else 0.1 + 0.01 * int(head[-1])
    return UNIFORM + (size + 0.02 * replicate) * rise(step)


def composition(kind: str, pair: str, replicate: int, step: float) -> float:
    """A composition score of a pair of heads."""
    known = 0.1 * ("kqv".index(kind) + 1) + 0.03 * int(pair[3]) + 0.01 * int(pair[-1])
    return known + 0.005 * replicate + 0.2 * rise(step)


def random_composition(pair: str, replicate: int, draw: int) -> float:
    """A composition score of random heads in the place of a pair."""
    return 0.1 + 0.02 * draw + 0.001 * replicate + 0.004 * int(pair[3]) + 0.002 * int(pair[-1])


def without(site: str, replicate: int, step: int, control: str = "none", draw: int = 0) -> float:
    """Loss without a part."""
    size = 0.5 + 0.2 * ((sum(map(ord, site)) + replicate) % 3)
    return size * (1 if control == "none" else 0.5 + 0.1 * draw) + 0.001 * step


def data(
    names: Sequence[str] = tuple(VARIANTS),
    replicates: int = 2,
    reads: Sequence[str] | None = None,
    change: Change | None = None,
) -> FigureData:
    """The data of a figure that may read nothing but what it declares."""
    reader = Fabricated(names, replicates, reads, change or (lambda name, frame: frame))
    sections = {name: VARIANTS[name].sections() for name in names}
    return FigureData(reader, sections, 0, "phase_changes")


class Fabricated:
    """Reads the made-up artefacts as a job reads those of files."""

    def __init__(
        self, names: Sequence[str], replicates: int, reads: Sequence[str] | None, change: Change
    ) -> None:
        self._names = names
        self._replicates = range(replicates)
        self._reads = reads
        self._change = change

    def read_tables(self, name: str) -> pd.DataFrame:
        """Rows of all variants."""
        assert self._reads is None or name in self._reads, f"{name} is not declared"
        rows = {"curves": curves, "progress": progress, "interventions": interventions}[name]
        frames = [
            pd.DataFrame(list(rows(variant, self._replicates))).assign(variant=variant, block="b")
            for variant in self._names
        ]
        return self._change(name, pd.concat(frames, ignore_index=True))

    def read_tensors_of_all(self, name: str) -> dict[tuple[str, str], dict[str, torch.Tensor]]:
        """Tensors of all variants."""
        assert name == "spectra_arrays"
        assert self._reads is None or name in self._reads, f"{name} is not declared"
        return {(v, "b"): arrays(v, len(self._replicates)) for v in self._names}


def curves(variant: str, replicates: range) -> Iterator[Row]:
    """Losses, of groups a little more each."""
    groups = ["", *(f".{group}" for group in task_of(VARIANTS[variant].data).groups)]
    for r, step, (index, group) in product(replicates, range(0, 101, 5), enumerate(groups)):
        value = loss(variant, r, step) * (1 + 0.05 * index)
        for split in ("train", "test"):
            row = {"replicate": r, "step": step, "split": split, "metric": f"loss{group}"}
            yield {**row, "value": value}


def progress(variant: str, replicates: range) -> Iterator[Row]:
    """All that the stage measures."""
    for replicate in replicates:
        blank = {"replicate": replicate, "definition": "", "split": "test", "draw": 0}
        for row in _measured(variant, replicate):
            yield {**blank, "step": 0, "control": "none", **row}


def _measured(variant: str, replicate: int) -> Iterator[Row]:
    trained = VARIANTS[variant]
    task = task_of(trained.data)
    for kind, share in (("uniform", 1.0), ("blind", 1.0), ("positional", 0.7), ("optimal", 0.0)):
        for suffix in ("", *(f".{group}" for group in task.groups)):
            yield {"metric": f"{kind}_loss{suffix}", "value": share * blind(variant)}
    for step in STEPS:
        yield {"metric": "loss", "step": step, "value": loss(variant, replicate, step)}
    if trained.data.task == "skip_trigram":
        for trigger in range(3):
            name = f"trigger_attention.{trigger}"
            yield {"metric": name, "control": "uniform", "value": 1 / 7}
            for step in STEPS:
                size = 0.9 - 0.1 * trigger - 0.01 * replicate
                yield {"metric": name, "step": step, "value": size * rise(step)}
                slope = -0.01 * (trigger + 1) * rise(step) * (1 - rise(step))
                yield {"metric": f"attention_gradient.{trigger}", "step": step, "value": slope}
    if trained.data.task == "induction":
        yield from _heads(trained.model, replicate)


def _heads(model: Transformer, replicate: int) -> Iterator[Row]:
    heads = [head.name for head in all_heads(model)]
    for name, head in product(("prefix_matching", "previous_token", "copying"), heads):
        metric = f"{name}.{head}"
        if name != "copying":
            yield {"metric": metric, "control": "uniform", "value": UNIFORM}
        for step in STEPS:
            yield {"metric": metric, "step": step, "value": score(name, head, replicate, step)}
    pairs = [f"{a}-{b}" for a, b in product(heads, heads) if a[1] < b[1]]
    for kind, pair in product("kqv", pairs):
        metric = f"{kind}_composition.{pair}"
        for draw in range(DRAWS):
            value = random_composition(pair, replicate, draw)
            yield {"metric": metric, "control": "random", "draw": draw, "value": value}
        for step in STEPS:
            value = composition(kind, pair, replicate, step)
            yield {"metric": metric, "step": step, "value": value}


def interventions(variant: str, replicates: range) -> Iterator[Row]:
    """Nothing, each head, each MLP, and in induction the roles with random heads."""
    model = VARIANTS[variant].model
    parts = [("mean_head", head.name) for head in all_heads(model)]
    parts += [("mean_mlp", f"L{layer}") for layer in range(model.n_layers if model.d_mlp else 0)]
    if VARIANTS[variant].data.task == "induction":
        parts += [("mean_head", role) for role in ("induction_heads", "previous_token_heads")]
    for replicate, step in product(replicates, ABLATED_STEPS):
        blank = {"replicate": replicate, "split": "test", "metric": "loss", "step": step}
        none = {"intervention": "none", "site": "", "control": "none", "draw": 0}
        yield {**blank, **none, "value": loss(variant, replicate, step)}
        for intervention, site in parts:
            own = {**blank, "intervention": intervention, "site": site}
            yield {**own, "control": "none", "draw": 0, "value": without(site, replicate, step)}
            for draw in range(2) if site.endswith("heads") else ():
                value = without(site, replicate, step, "random_heads", draw)
                yield {**own, "control": "random_heads", "draw": draw, "value": value}


def arrays(variant: str, replicates: int) -> dict[str, torch.Tensor]:
    """Tables and patterns, all numbers different."""
    trained = VARIANTS[variant]
    task, model = task_of(trained.data), trained.model
    generator = torch.Generator().manual_seed(len(variant))
    if trained.data.task == "skip_trigram":
        shape = (replicates, len(TABLE_STEPS), model.n_heads, task.d_vocab)
        return {
            "table_steps": torch.tensor(TABLE_STEPS).repeat(replicates, 1),
            "qk": torch.randn(shape, generator=generator),
            "ov": torch.randn((*shape, task.d_vocab_out), generator=generator),
        }
    if trained.data.task == "addition":
        return {"digit_gram": torch.zeros(replicates, 10, 10)}
    sequences = task.generate(replicates, generator)
    shape = (replicates, model.n_layers, model.n_heads, task.n_ctx, task.n_ctx)
    pattern = torch.rand(shape, generator=generator).tril()
    return {
        "example_pattern": pattern / pattern.sum(-1, keepdim=True),
        "example_tokens": sequences.tokens,
        "example_reads": sequences.positions,
    }
