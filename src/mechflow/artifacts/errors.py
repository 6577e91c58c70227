"""What can be wrong with a result file, in words that tell the user what to do next."""

import os
from pathlib import Path

from mechflow.layout import ARTEFACTS

MADE_BY = {artefact: place.stage for artefact, place in ARTEFACTS.items()} | {
    "state_shard": "extract",
    "figure_data": "figure",
    "table": "table",
    "claims": "claims",
    "replication": "replication",
}
"""The rule that makes each kind of artefact."""


class ArtifactError(Exception):
    """A result file that cannot be used or written.

    Attributes:
        path: The file.
        problem: What is wrong with it, and what was expected.
        remedy: What the user can do.
    """

    def __init__(self, path: Path, problem: str, remedy: str = "") -> None:
        super().__init__(path, problem, remedy)
        self.path = path
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        """The message for the user: one line for the problem, one for the remedy."""
        return f"{self.path}: {self.problem}" + (f"\n{self.remedy}" if self.remedy else "")


class ArtifactMissingError(ArtifactError):
    """The file does not exist."""


class ArtifactDamagedError(ArtifactError):
    """The file is not what was once written: cut short, altered, or never an artefact."""


class ArtifactForeignError(ArtifactError):
    """The file is intact, but holds another kind of result or belongs to another job."""


class ArtifactVersionError(ArtifactError):
    """The file was written in a layout that this version of the package does not read."""


class ArtifactWriteError(ArtifactError):
    """The file was not written; nothing stands under its name."""


def how_to_remake(kind: str | None) -> str:
    """The sentence that says which rule makes such a file and how to have it made again."""
    if kind not in MADE_BY:
        return "Delete the file and run snakemake again to remake it."
    return f"Made by the rule '{MADE_BY[kind]}': delete the file and run snakemake again."


def reason(error: OSError) -> str:
    """The system's own words for a refusal, such as ``no space left on device``."""
    return os.strerror(error.errno).lower() if error.errno else str(error)
