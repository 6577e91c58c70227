"""Losses that a model's loss is read against: guessing, knowing the frequencies, the best one."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from mechflow.studies.phase_changes.circuit_scores import Row
from mechflow.studies.phase_changes.tasks import Task
from mechflow.studies.phase_changes.tasks.induction import Induction
from mechflow.studies.phase_changes.tasks.repeats import optimal_losses, positional_losses
from mechflow.training.sequences import Sequences, group_means


def reference_losses(task: Task, sequences: Sequences, factor: float) -> Iterator[Row]:
    """Losses on these sequences in nats, times the factor, for each replicate.

    - uniform_loss: all answers that occur at all are given the same probability;
    - blind_loss: answers are given their frequencies in their group;
    - optimal_loss: answers are given all that the sequence tells, see `optimal_losses`;
    - positional_loss, of induction only: all that it tells without comparing tokens, see
      `positional_losses`.

    All but the first also by group, as ``blind_loss.<group>``.
    """
    answers = task.d_vocab - 1 if isinstance(task, Induction) else task.d_vocab_out
    n_replicates = len(sequences.tokens)
    uniform = torch.full((n_replicates,), factor * math.log(answers), dtype=torch.float64)
    yield uniform, {"metric": "uniform_loss"}
    known = task.blind_losses()
    blind = torch.tensor([known[group] for group in task.groups], dtype=torch.float64)
    known_losses = {
        "blind_loss": blind[sequences.groups],
        "optimal_loss": torch.zeros(sequences.targets.shape, dtype=torch.float64),
    }
    if isinstance(task, Induction):
        known_losses |= _of_repeats(task, sequences)
    for name, losses in known_losses.items():
        scaled = factor * losses
        yield scaled.flatten(1).mean(1), {"metric": name}
        by_group = group_means(scaled, sequences.groups, len(task.groups))
        for group, values in zip(task.groups, by_group.mT, strict=True):
            yield values, {"metric": f"{name}.{group}"}


def _of_repeats(task: Induction, sequences: Sequences) -> dict[str, Float[Tensor, "R n read"]]:
    """What can be known of repeated tokens: not everything, unlike in the other tasks."""
    tokens, positions, targets = (
        part.flatten(0, 1) for part in (sequences.tokens, sequences.positions, sequences.targets)
    )
    length, repeats, d_vocab = task.subseq_len, task.repeats, task.d_vocab
    found = {
        "optimal_loss": optimal_losses(
            *(tokens, positions, targets), subseq_len=length, repeats=repeats, d_vocab=d_vocab
        ),
        "positional_loss": positional_losses(
            *(tokens, positions, targets), subseq_len=length, repeats=repeats
        ),
    }
    return {name: losses.view(sequences.targets.shape) for name, losses in found.items()}
