"""The training loop: AdamW on stacked replicates, interrupted and resumed at will.

Nothing in the loop is random, and batches depend on the step alone, so its state is the weights,
the optimiser's moments and what has been recorded. The step counts updates: step 0 is the initial
model.
"""

import logging
import time
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mechflow.config.sections import Training
from mechflow.models.factorised import StackedWeights
from mechflow.training import schedule
from mechflow.training.objective import Objective
from mechflow.training.process import tuned_for_training
from mechflow.training.record import Record

logger = logging.getLogger(__name__)

TRAIN_LOSS, TEST_LOSS, TEST_ACCURACY = ("train", "loss"), ("test", "loss"), ("test", "accuracy")
_SECONDS_BETWEEN_REPORTS = 5.0


@runtime_checkable
class ResumeStore(Protocol):
    """Where an interrupted training keeps its state; one that fits no longer loads as None."""

    def load(self) -> dict[str, Tensor] | None:
        """The last saved state, if there is one for exactly this work."""

    def save(self, state: dict[str, Tensor]) -> None:
        """Replace the saved state, atomically."""


class Trainer:
    """Trains one block of replicates.

    Args:
        objective: what is minimised and measured.
        cfg: optimiser and schedules.
        initial: initial weights; copied, not changed.
        device: torch device name.
        resume: where states are saved to and continued from.
    """

    def __init__(
        self,
        objective: Objective,
        cfg: Training,
        initial: StackedWeights,
        *,
        device: str = "cpu",
        resume: ResumeStore | None = None,
    ) -> None:
        self.objective = objective
        self.cfg = cfg
        self.weights = {
            name: w.detach().to(device, copy=True).requires_grad_() for name, w in initial.items()
        }
        self.optimizer = torch.optim.AdamW(
            list(self.weights.values()),
            lr=cfg.lr,
            betas=cfg.betas,
            weight_decay=cfg.weight_decay,
            fused=True,
        )
        self.record = Record(metrics=(*objective.metrics, *objective.changes))
        self.resume = resume
        self.step = 0

    def run(self) -> Record:
        """Train to the last step, or to the early stop, from the saved state if there is one."""
        with tuned_for_training():
            self._train()
        return self.record

    def _train(self) -> None:
        saved = self.resume.load() if self.resume else None
        if saved:
            self._restore(saved)
            logger.info("resumed at step %d of %d", self.step, self.cfg.steps)
        cfg = self.cfg
        kept = set(schedule.checkpoint_steps(cfg.steps, cfg.checkpoints, cfg.checkpoint_spacing))
        report = _ProgressReport(self.cfg.steps, self.step)
        while True:
            last = self._last_step()
            if self.step in kept or self.step == last:
                self._keep_checkpoint()
            if self.step == last:
                self._evaluate()
                break
            self.advance()
            report.tell(self.step, self.record)
            if self.resume and self.step % self.cfg.resume_every == 0:
                self.resume.save(self._state())

    def advance(self) -> None:
        """Measure this step if it is time to, then update the weights once."""
        due = schedule.evaluation_due(self.step, self.cfg)
        if due:
            self._evaluate()
        before = self.objective.before_update(self.weights) if due else None
        self._update()
        if before is not None:
            changes = self.objective.measure_change(before, self.weights)
            self.record.history[-1][len(self.objective.metrics) :] = changes

    def _update(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = schedule.learning_rate(self.step, self.cfg)
        losses = self.objective.losses(self.weights, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()
        self.optimizer.step()
        self.step += 1

    @torch.no_grad()
    def _evaluate(self) -> None:
        """Add a row to the history; what the next update changes is filled in after it."""
        row = self.objective.measure(self.weights, self.step)
        unmeasured = row.new_full((len(self.record.metrics) - len(row), row.shape[1]), torch.nan)
        self.record.steps.append(self.step)
        self.record.history.append(torch.cat([row, unmeasured]))

    def _last_step(self) -> int:
        """The configured last step, or an earlier one that the history asks for."""
        if self.cfg.stop is None or not self.record.history:
            return self.cfg.steps
        column = self.record.metrics.index(TEST_ACCURACY)
        accuracy = torch.stack([row[column] for row in self.record.history])
        early = schedule.stop_step(self.record.steps, accuracy, self.cfg.stop)
        return self.cfg.steps if early is None else min(max(early, self.step), self.cfg.steps)

    def _keep_checkpoint(self) -> None:
        self.record.checkpoint_steps.append(self.step)
        self.record.checkpoints.append(self.current_weights())

    def current_weights(self) -> StackedWeights:
        """A copy of the weights on the CPU; training on does not change it."""
        return {name: w.detach().to("cpu", copy=True) for name, w in self.weights.items()}

    def _state(self) -> dict[str, Tensor]:
        state = {f"weights/{n}": w for n, w in self.current_weights().items()}
        for name, weight in self.weights.items():
            for key, value in self.optimizer.state[weight].items():
                state[f"optimizer/{name}/{key}"] = value.detach().to("cpu", copy=True)
        for name in self.weights:
            state[f"checkpoints/{name}"] = torch.stack([c[name] for c in self.record.checkpoints])
        state["checkpoint_steps"] = torch.tensor(self.record.checkpoint_steps)
        state["history"] = torch.stack(self.record.history)
        state["steps"] = torch.tensor(self.record.steps)
        state["step"] = torch.tensor(self.step)
        return state

    def _restore(self, state: dict[str, Tensor]) -> None:
        self.step = int(state["step"])
        self.record.steps = state["steps"].tolist()
        self.record.history = list(state["history"].clone().unbind())
        self.record.checkpoint_steps = state["checkpoint_steps"].tolist()
        self.record.checkpoints = [
            {name: state[f"checkpoints/{name}"][i].clone() for name in self.weights}
            for i in range(len(self.record.checkpoint_steps))
        ]
        for name, weight in self.weights.items():
            weight.data.copy_(state[f"weights/{name}"])
            prefix = f"optimizer/{name}/"
            self.optimizer.state[weight] = {
                key.removeprefix(prefix): value.clone().to(weight.device)
                for key, value in state.items()
                if key.startswith(prefix)
            }


class _ProgressReport:
    """Logs step, losses and time left every few seconds."""

    def __init__(self, steps: int, start: int) -> None:
        self.steps, self.start = steps, start
        self.began = self.told = time.monotonic()

    def tell(self, step: int, record: Record) -> None:
        now = time.monotonic()
        if now - self.told < _SECONDS_BETWEEN_REPORTS and step != self.steps:
            return
        self.told = now
        left = (now - self.began) / (step - self.start) * (self.steps - step)
        measured = dict(zip(record.metrics, record.history[-1].mean(1).tolist(), strict=True))
        train, test, accuracy = (measured[name] for name in (TRAIN_LOSS, TEST_LOSS, TEST_ACCURACY))
        logger.info(
            "step %d of %d, train loss %.3g, test loss %.3g, test accuracy %.3f, %s left",
            *(step, self.steps, train, test, accuracy, _duration(left)),
        )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
