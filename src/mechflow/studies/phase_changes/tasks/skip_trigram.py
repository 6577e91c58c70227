"""Skip trigrams: one trigger hides among noise, and the last token asks which it was."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from mechflow.training.sequences import Sequences

START, QUERY, FIRST_NOISE = 0, 1, 2


@dataclass(frozen=True)
class SkipTrigram:
    """``n_triggers`` triggers and as many noise tokens, over ``seq_len`` positions."""

    n_triggers: int
    seq_len: int

    @property
    def d_vocab(self) -> int:
        """Start, query, noise and triggers."""
        return 2 * self.n_triggers + 2

    @property
    def d_vocab_out(self) -> int:
        """One answer for each trigger."""
        return self.n_triggers

    @property
    def n_ctx(self) -> int:
        """Start, noise with the trigger, and query."""
        return self.seq_len + 2

    @property
    def groups(self) -> tuple[str, ...]:
        """One for each trigger."""
        return tuple(f"trigger.{index}" for index in range(self.n_triggers))

    @property
    def subsets(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def first_trigger(self) -> int:
        """Token of trigger 0; the others follow."""
        return FIRST_NOISE + self.n_triggers

    def generate(self, n: int, generator: torch.Generator) -> Sequences:
        """Noise, place and trigger are uniform and independent."""
        tokens = torch.full((n, self.n_ctx), START)
        noise = (n, self.seq_len)
        tokens[:, 1:-1] = torch.randint(FIRST_NOISE, self.first_trigger, noise, generator=generator)
        tokens[:, -1] = QUERY
        trigger = torch.randint(self.n_triggers, (n,), generator=generator)
        place = torch.randint(1, self.seq_len + 1, (n,), generator=generator)
        tokens[torch.arange(n), place] = self.first_trigger + trigger
        last = torch.full((n, 1), self.n_ctx - 1)
        return Sequences(tokens, last, trigger[:, None], trigger[:, None])

    def generate_subset(self, subset: str, n: int, generator: torch.Generator) -> Sequences:
        """There are no subsets.

        Raises:
            KeyError: always.
        """
        raise KeyError(f"skip trigrams have no subset '{subset}'")

    def blind_losses(self) -> dict[str, float]:
        """All triggers are equally likely."""
        return dict.fromkeys(self.groups, math.log(self.n_triggers))

    def places(self, tokens: Int[Tensor, "*n pos"]) -> Int[Tensor, " *n"]:
        """Position of the trigger."""
        return tokens.argmax(-1)
