"""When things happen in training: checkpoints, evaluations, warm-up, early stop."""

import math
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from mechflow.config.sections import EarlyStop, Training
from mechflow.spacing import evenly_spaced


def checkpoint_steps(
    steps: int, count: int, spacing: Literal["log", "linear"] = "log"
) -> tuple[int, ...]:
    """At most ``count`` steps with 0 and ``steps`` among them, evenly spaced on a scale."""
    if spacing == "linear":
        return tuple(evenly_spaced(steps + 1, count).tolist())
    inner = count - 2
    spaced = {round(math.exp(math.log(steps) * i / inner)) for i in range(inner)}
    return tuple(sorted({0, steps} | spaced))


def evaluation_due(step: int, cfg: Training) -> bool:
    """Whether losses are measured after ``step`` updates; the last step always is."""
    return step % cfg.eval_every == 0


def learning_rate(step: int, cfg: Training) -> float:
    """Rate of the update that follows ``step`` updates: linear warm-up, then constant."""
    return cfg.lr * min(1.0, (step + 1) / cfg.warmup_steps) if cfg.warmup_steps else cfg.lr


def stop_step(
    evaluated: list[int], test_accuracy: Float[Tensor, "evaluation R"], stop: EarlyStop | None
) -> int | None:
    """Step at which training ends early, from the evaluations so far; None if it does not.

    A function of the history alone, so that a resumed run decides as an uninterrupted one.
    """
    if stop is None:
        return None
    generalised = (test_accuracy >= stop.test_accuracy).all(1).tolist()
    run = 0
    for step, reached in zip(evaluated, generalised, strict=True):
        run = run + 1 if reached else 0
        if run == stop.sustained:
            return step + stop.extra_steps
    return None
