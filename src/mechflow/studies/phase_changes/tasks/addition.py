"""Addition of two numbers of n digits, written out: ``12345+67890=080235``.

Digits stand most significant first, and are named by their power of ten: ``digit.0`` are the
units, ``digit.n`` is the leading digit of the answer, a carry.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mechflow.training.sequences import Sequences, concatenate

BASE = 10
"""Number of digits; tokens 0 to 9."""
PLUS, EQUALS = BASE, BASE + 1


@dataclass(frozen=True)
class Addition:
    """The task for numbers of ``n_digits`` digits, leading zeros included."""

    n_digits: int

    @property
    def d_vocab(self) -> int:
        """Ten digits, "+" and "="."""
        return 12

    @property
    def d_vocab_out(self) -> int:
        """Ten digits."""
        return 10

    @property
    def n_ctx(self) -> int:
        """Two operands, two signs, and an answer of one digit more."""
        return 3 * self.n_digits + 3

    @property
    def groups(self) -> tuple[str, ...]:
        """One for each digit of the answer, by power of ten."""
        return tuple(f"digit.{power}" for power in range(self.n_digits + 1))

    @property
    def subsets(self) -> tuple[str, ...]:
        """Kinds of sum by their carries."""
        return tuple(SUBSETS)

    def generate(self, n: int, generator: torch.Generator) -> Sequences:
        """Sums of independent uniform digits."""
        digits = torch.randint(BASE, (2, n, self.n_digits), generator=generator)
        return self.written(*digits)

    def generate_subset(self, subset: str, n: int, generator: torch.Generator) -> Sequences:
        """Sums of one kind, by rejection: uniform among all sums of that kind."""
        parts: list[Sequences] = []
        while sum(len(part) for part in parts) < n:
            drawn = self.generate(4 * n, generator)
            kept = SUBSETS[subset](*self.carries(drawn.tokens))
            parts.append(drawn.take(kept.nonzero()[:, 0]))
        return concatenate(parts).take(slice(n))

    def blind_losses(self) -> dict[str, float]:
        """Digits are uniform but the leading one, which is 1 for (1 - 10^-n) / 2 of the sums."""
        one = (1 - 10.0**-self.n_digits) / 2
        carry = -one * math.log(one) - (1 - one) * math.log(1 - one)
        return {
            name: carry if power == self.n_digits else math.log(10)
            for power, name in enumerate(self.groups)
        }

    def written(self, a: Int[Tensor, "n digit"], b: Int[Tensor, "n digit"]) -> Sequences:
        """The sums of given digits, most significant first."""
        n = len(a)
        tokens = torch.cat(
            [
                a,
                torch.full((n, 1), PLUS),
                b,
                torch.full((n, 1), EQUALS),
                self._answers(a, b),
            ],
            dim=1,
        )
        reads = self.n_digits + 1
        powers = torch.arange(self.n_digits, -1, -1)
        return Sequences(
            tokens=tokens,
            positions=self.read_positions().expand(n, reads),
            targets=tokens[:, -reads:].clone(),
            groups=powers.expand(n, reads),
        )

    def read_positions(self) -> Int[Tensor, " read"]:
        """Positions that predict the digits of the answer, the leading one first."""
        return torch.arange(2 * self.n_digits + 1, self.n_ctx - 1)

    def operands(
        self, tokens: Int[Tensor, "*n pos"]
    ) -> tuple[Int[Tensor, "*n digit"], Int[Tensor, "*n digit"]]:
        """Digits of both operands by power of ten, units first."""
        n = self.n_digits
        return tokens[..., :n].flip(-1), tokens[..., n + 1 : 2 * n + 1].flip(-1)

    def carries(
        self, tokens: Int[Tensor, "*n pos"]
    ) -> tuple[Bool[Tensor, "*n digit"], Bool[Tensor, "*n digit"]]:
        """Whether each column carries, units first, and whether only because one came in."""
        a, b = self.operands(tokens)
        sums = a + b
        carried = torch.zeros_like(sums[..., 0])
        columns, passed = [], []
        for power in range(self.n_digits):
            column = sums[..., power]
            passed.append((column == 9) & (carried == 1))
            carried = (column + carried >= 10).long()
            columns.append(carried == 1)
        return torch.stack(columns, -1), torch.stack(passed, -1)

    def _answers(self, a: Int[Tensor, "n digit"], b: Int[Tensor, "n digit"]) -> Tensor:
        powers = 10 ** torch.arange(self.n_digits - 1, -1, -1)
        total = (a * powers).sum(1) + (b * powers).sum(1)
        places = 10 ** torch.arange(self.n_digits, -1, -1)
        return (total[:, None] // places) % 10


Kind = Callable[[Bool[Tensor, "n digit"], Bool[Tensor, "n digit"]], Bool[Tensor, " n"]]

SUBSETS: dict[str, Kind] = {
    "none": lambda carries, passed: carries.sum(1) == 0,
    "one": lambda carries, passed: (carries.sum(1) == 1) & ~passed.any(1),
    "cascade": lambda carries, passed: passed.any(1),
}
"""No column carries; exactly one does; or a column carries only because a carry came into it."""
