"""Which variants belong together, by what they are configured to do, and what was published."""

from collections.abc import Mapping
from typing import Any

from mechflow.figures.data import FigureData

TASKS = ("addition", "skip_trigram", "induction")
"""The tasks in the order of figures and tables."""

_SHARED: Mapping[str, Any] = {
    "finite": None,
    "model.precision": "full",
    "model.normalization": "none",
    "model.positions": "learned",
    "model.causal": True,
    "model.attention_scale": "sqrt_d_head",
    "training.stop": None,
}

_ADDITION: Mapping[str, Any] = {
    **_SHARED,
    "data.task": "addition",
    "data.addition.n_digits": 5,
    "model.n_layers": 1,
    "model.n_heads": 4,
    "model.activation": "relu",
    "model.biases": ("mlp",),
    "model.residual_gain": 1.0,
    "training.weight_decay": 0.1,
    "training.betas": (0.9, 0.98),
    "training.warmup_steps": 10,
    "training.batch_size": 64,
    "training.loss_dtype": "float64",
    "training.loss_factor": "mean",
}
ADDITION_NOTEBOOK: Mapping[str, Any] = {
    **_ADDITION,
    "model.d_model": 512,
    "model.d_mlp": 2048,
    "model.initialization": "variance_scaled",
    "training.steps": 3000,
    "training.lr": 1e-4,
}
"""Configuration of the notebook's addition of five digits, by dotted key."""

ADDITION_SAVED: Mapping[str, Any] = {**_ADDITION, "model.d_model": 128, "model.d_mlp": 512}
"""What is known of the configuration of the saved runs of addition: not their learning rate."""

SKIP_TRIGRAM: Mapping[str, Any] = {
    **_SHARED,
    "data.task": "skip_trigram",
    "data.skip_trigram.n_triggers": 10,
    "data.skip_trigram.seq_len": 40,
    "model.n_layers": 1,
    "model.n_heads": 1,
    "model.d_model": 32,
    "model.d_head": 8,
    "model.d_mlp": 0,
    "model.initialization": "variance_scaled",
    "training.steps": 3000,
    "training.lr": 1e-3,
    "training.weight_decay": 0.1,
    "training.betas": (0.9, 0.98),
    "training.warmup_steps": 10,
    "training.batch_size": 256,
    "training.loss_dtype": "float64",
    "training.loss_factor": "mean",
}
"""Configuration of the notebook's skip trigrams."""

INDUCTION_NOTEBOOK: Mapping[str, Any] = {
    **_SHARED,
    "data.task": "induction",
    "data.induction.seq_len": 85,
    "data.induction.subseq_len": 16,
    "data.induction.repeats": 3,
    "data.induction.d_vocab": 128,
    "model.n_layers": 2,
    "model.n_heads": 4,
    "model.d_model": 48,
    "model.d_mlp": 0,
    "model.residual_gain": 2.0,
    "model.initialization": "head_scaled",
    "training.steps": 6000,
    "training.lr": 1e-3,
    "training.weight_decay": 1.0,
    "training.warmup_steps": 100,
    "training.batch_size": 128,
    "training.loss_factor": "published",
}
"""Configuration of the notebook's induction, its doubled residual stream included."""


def of_task(data: FigureData, task: str, *, finite: bool | None = None) -> tuple[str, ...]:
    """Variants of a task that ran: all, those with a finite train set, or those without."""
    return tuple(
        name
        for name in data.variants
        if task_of(data, name) == task and finite in (None, is_finite(data, name))
    )


def plain(data: FigureData, task: str, *, finite: bool) -> tuple[str, ...]:
    """Variants of a task that can do it and count the residual stream once.

    The doubled stream of the induction notebook is for its numbers only.
    """
    return tuple(
        name
        for name in of_task(data, task, finite=finite)
        if not is_negative_control(data, name) and not _is_doubled(data, name)
    )


def main_variant(data: FigureData, task: str) -> str | None:
    """The variant that stands for a task in figures of single models; None if none ran.

    The first one that has enough layers, counts the residual stream once and sees infinite data,
    as far as there is such.
    """

    def departures(name: str) -> tuple[bool, bool, bool]:
        return is_negative_control(data, name), _is_doubled(data, name), is_finite(data, name)

    return min(of_task(data, task), key=departures, default=None)


def infinite(data: FigureData) -> tuple[str, ...]:
    """Variants on fresh sequences in every update, task by task."""
    return tuple(name for task in TASKS for name in of_task(data, task, finite=False))


def finite(data: FigureData) -> tuple[str, ...]:
    """Variants with a finite train set, task by task."""
    return tuple(name for task in TASKS for name in of_task(data, task, finite=True))


def task_of(data: FigureData, variant: str) -> str:
    """The task of a variant."""
    return str(data.config(variant).data.task)


def is_finite(data: FigureData, variant: str) -> bool:
    """Whether a variant sees the same train set again and again."""
    return data.config(variant).finite is not None


def is_negative_control(data: FigureData, variant: str) -> bool:
    """Whether a model has too few layers for its task: an induction circuit needs two."""
    return task_of(data, variant) == "induction" and data.config(variant).model.n_layers == 1


def _is_doubled(data: FigureData, variant: str) -> bool:
    return bool(data.config(variant).model.residual_gain != 1.0)
