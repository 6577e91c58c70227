"""What is wrong with a configuration: every problem with its place, in one error."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong, at one place; problems sort by source, line and key."""

    rank: int
    """Position of the source among those that were read."""
    source: str
    """The file, or ``--config`` for the command line."""
    line: int
    """Line in the file, from 1; 0 where there is none."""
    key: str
    """Dotted key; empty where the whole file is meant."""
    text: str
    """What is wrong and what is allowed."""
    value: str = ""
    """The value given, as it reads in YAML; empty where there is none."""

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        given = f" = {self.value}" if self.value else ""
        return ": ".join(part for part in (place, self.key + given, self.text) if part)


class ConfigError(Exception):
    """The configuration cannot be used; the message lists every problem, one a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        count = len(self.problems)
        lines = (f"  {problem}" for problem in self.problems)
        super().__init__(
            f"The configuration has {count} problem{'s' if count > 1 else ''}:\n" + "\n".join(lines)
        )
