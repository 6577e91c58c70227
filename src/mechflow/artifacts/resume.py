"""The state of an unfinished job, kept so that a killed one goes on where it stopped."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mechflow.artifacts.errors import ArtifactError, ArtifactMissingError
from mechflow.artifacts.provenance import Provenance, read_provenance
from mechflow.artifacts.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)


class ResumeFile:
    """One file of state; it is only ever given back to the very computation that wrote it."""

    def __init__(self, path: Path, provenance: Provenance) -> None:
        """Names the file and the computation; nothing is read or written yet."""
        self.path = path
        self._provenance = provenance

    def load(self) -> dict[str, "torch.Tensor"] | None:
        """The last saved state; None if there is none, it is damaged or of another computation.

        Another computation is one with another spec, code, seed, input, library or device.
        """
        try:
            tensors = read_tensors(self.path, "resume", self._provenance.owner)
            found = read_provenance(self.path, "resume")
        except ArtifactMissingError:
            return None
        except ArtifactError as error:
            _log.warning("starting anew: %s", error)
            return None
        if not found.matches(self._provenance):
            _log.info("starting anew: %s is of another computation", self.path)
            return None
        return {name: tensor.clone() for name, tensor in tensors.items()}

    def save(self, tensors: Mapping[str, "torch.Tensor"]) -> None:
        """Replaces the saved state atomically.

        Raises:
            ArtifactWriteError: the system refused; the state saved before is untouched.
        """
        write_tensors(self.path, tensors, "resume", self._provenance, allow_nonfinite=True)

    def clear(self) -> None:
        """Removes the state, with what a killed job may have left of writing it."""
        self.path.unlink(missing_ok=True)
        for leftover in sorted(self.path.parent.glob(f".{self.path.name}.*.tmp")):
            leftover.unlink(missing_ok=True)
