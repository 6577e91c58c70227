"""The three tasks: what their sequences look like and how well they can be done."""

from typing import Protocol, runtime_checkable

import torch

from mechflow.studies.phase_changes.config import Data
from mechflow.studies.phase_changes.tasks.addition import Addition
from mechflow.studies.phase_changes.tasks.induction import Induction
from mechflow.studies.phase_changes.tasks.skip_trigram import SkipTrigram
from mechflow.training.sequences import Sequences


@runtime_checkable
class Task(Protocol):
    """A source of sequences with answers."""

    @property
    def d_vocab(self) -> int:
        """Number of input tokens."""

    @property
    def d_vocab_out(self) -> int:
        """Number of answers to choose from."""

    @property
    def n_ctx(self) -> int:
        """Length of a sequence."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups of answers, such as ``digit.0``; `Sequences.groups` counts them."""

    @property
    def subsets(self) -> tuple[str, ...]:
        """Kinds of sequence that have a test set of their own."""

    def generate(self, n: int, generator: torch.Generator) -> Sequences:
        """Independent sequences, [n, ...]."""

    def generate_subset(self, subset: str, n: int, generator: torch.Generator) -> Sequences:
        """Independent sequences of one kind."""

    def blind_losses(self) -> dict[str, float]:
        """For each group, the loss in nats of the best answer that ignores the sequence."""


def task_of(data: Data) -> Task:
    """The task that the configuration describes."""
    match data.task:
        case "addition":
            return Addition(data.addition.n_digits)
        case "skip_trigram":
            return SkipTrigram(data.skip_trigram.n_triggers, data.skip_trigram.seq_len)
        case "induction":
            cfg = data.induction
            return Induction(cfg.seq_len, cfg.subseq_len, cfg.repeats, cfg.d_vocab)
