"""What linear probes look for in each task, and in which rows of activations."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechflow.studies.phase_changes.tasks import Task
from mechflow.studies.phase_changes.tasks.addition import Addition
from mechflow.studies.phase_changes.tasks.induction import Induction
from mechflow.studies.phase_changes.tasks.skip_trigram import SkipTrigram
from mechflow.training.sequences import Sequences

POOLED = -1
"""Stands for a position where rows of several positions are read by one probe."""

READS_OF_A_SEQUENCE = 4
"""Reads taken of each sequence where positions are pooled; more of them tell little more."""


@dataclass(frozen=True)
class Reading:
    """Rows that one probe reads, and all that it looks for there."""

    position: int
    """The token position of all rows, or POOLED."""
    rows: Int[Tensor, "n row"]
    """Positions that are read in each sequence."""
    labels: dict[str, Int[Tensor, "n row"]] = field(default_factory=dict)
    """Classes."""
    values: dict[str, Float[Tensor, "n row"]] = field(default_factory=dict)
    """Numbers."""


def readings(task: Task, sequences: Sequences, generator: torch.Generator) -> list[Reading]:
    """All readings of a task.

    - addition, at each position that is read: ``carry.<k>``, whether column k (power of ten)
      carries; ``digit.<k>``, a digit of the answer; and ``nine.<k>``, whether column k adds up to
      9 and so passes a carry on, as a value, since a classifier would gain little on always
      saying no. Both operands stand before all of these positions, but from the second one on,
      digits of the answer do too.
    - skip_trigram, at the last position: ``trigger``, and its ``place`` as a value.
    - induction, at a few random reads of each sequence: the ``token`` and the ``next_token``, which
      is the answer; at a few positions of the first interval, where copies are continued from, the
      ``previous_token``.

    Args:
        task: one of the three tasks.
        sequences: of one replicate, [n, ...].
        generator: picks the reads that are pooled.

    Raises:
        TypeError: the task is none of the three.
    """
    match task:
        case Addition():
            return _of_sums(task, sequences)
        case SkipTrigram():
            return [_of_trigger(task, sequences)]
        case Induction():
            return [_of_repeats(sequences, generator), _of_originals(task, sequences, generator)]
    raise TypeError(f"no probe targets are known for {task}")


def _of_sums(task: Addition, sequences: Sequences) -> list[Reading]:
    carries, _ = task.carries(sequences.tokens)
    a, b = task.operands(sequences.tokens)
    nines = (a + b == 9).double()
    labels = {f"carry.{k}": carries[:, [k]].long() for k in range(task.n_digits)}
    labels |= {
        name: sequences.targets[:, [read]]
        for read, name in enumerate(reversed(task.groups))  # the leading digit is read first
    }
    values = {f"nine.{k}": nines[:, [k]] for k in range(task.n_digits)}
    return [
        Reading(position, sequences.positions[:, [read]], labels, values)
        for read, position in enumerate(task.read_positions().tolist())
    ]


def _of_trigger(task: SkipTrigram, sequences: Sequences) -> Reading:
    place = task.places(sequences.tokens).double()[:, None]
    return Reading(
        task.n_ctx - 1, sequences.positions, {"trigger": sequences.targets}, {"place": place}
    )


def _of_repeats(sequences: Sequences, generator: torch.Generator) -> Reading:
    chosen = _some(sequences.positions.shape, generator)
    rows = sequences.positions.gather(1, chosen)
    labels = {
        "token": sequences.tokens.gather(1, rows),
        "next_token": sequences.targets.gather(1, chosen),
    }
    return Reading(POOLED, rows, labels)


def _of_originals(task: Induction, sequences: Sequences, generator: torch.Generator) -> Reading:
    # From position 2 on: what stands before position 1 is always the start.
    rows = 2 + _some((len(sequences), task.interval - 1), generator)
    return Reading(POOLED, rows, {"previous_token": sequences.tokens.gather(1, rows - 1)})


def _some(shape: Sequence[int], generator: torch.Generator) -> Int[Tensor, "n row"]:
    """A few different columns for each row, at random."""
    order = torch.rand(tuple(shape), generator=generator).argsort(dim=1)
    return order[:, :READS_OF_A_SEQUENCE]
