"""Induction: a random subsequence comes back, and its later copies can be continued.

The sequence is a start token and uniform noise, divided into as many intervals as there are
copies. The subsequence is the noise at a random place of the first interval; it is written over a
random place of each later one. A copy's tokens but the last are read: what follows them is known.
"""

import math
from dataclasses import dataclass

import torch

from mechflow.training.sequences import Sequences

START = 0


@dataclass(frozen=True)
class Induction:
    """Sequences of ``seq_len`` tokens with ``repeats`` copies of ``subseq_len`` tokens."""

    seq_len: int
    subseq_len: int
    repeats: int
    d_vocab: int

    @property
    def d_vocab_out(self) -> int:
        """Any token can follow."""
        return self.d_vocab

    @property
    def n_ctx(self) -> int:
        """The whole sequence."""
        return self.seq_len

    @property
    def groups(self) -> tuple[str, ...]:
        """One for each copy after the first."""
        return tuple(f"repeat.{copy}" for copy in range(1, self.repeats))

    @property
    def subsets(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def interval(self) -> int:
        """Length of the stretch in which a copy lies."""
        return (self.seq_len - 1) // self.repeats

    def generate(self, n: int, generator: torch.Generator) -> Sequences:
        """Noise and places are uniform and independent."""
        tokens = torch.randint(1, self.d_vocab, (n, self.seq_len), generator=generator)
        tokens[:, 0] = START
        places = self.interval - self.subseq_len + 1
        within = torch.randint(places, (n, self.repeats), generator=generator)
        starts = 1 + torch.arange(self.repeats) * self.interval + within
        offsets = torch.arange(self.subseq_len)
        copied = tokens.gather(1, starts[:, :1] + offsets)
        for copy in range(1, self.repeats):
            tokens.scatter_(1, starts[:, copy, None] + offsets, copied)
        positions = (starts[:, 1:, None] + offsets[:-1]).flatten(1)
        copies = torch.arange(self.repeats - 1).repeat_interleave(self.subseq_len - 1)
        return Sequences(
            tokens=tokens,
            positions=positions,
            targets=tokens.gather(1, positions + 1),
            groups=copies.expand(n, -1),
        )

    def generate_subset(self, subset: str, n: int, generator: torch.Generator) -> Sequences:
        """There are no subsets.

        Raises:
            KeyError: always.
        """
        raise KeyError(f"induction has no subset '{subset}'")

    def blind_losses(self) -> dict[str, float]:
        """All tokens but the start are equally likely."""
        return dict.fromkeys(self.groups, math.log(self.d_vocab - 1))
