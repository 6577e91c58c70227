"""Random numbers that depend on what they are for, never on what was drawn before.

Each stream is named by root seed, study, variant, replicate and purpose, so adding a replicate, a
variant or a control leaves every other stream as it was. No global generator is touched.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    import torch


@dataclass(frozen=True)
class Seeds:
    """The source of all random streams of one variant of one study."""

    root: int
    study: str
    variant: str

    def integer(self, replicate: int | None, purpose: str) -> int:
        """The seed of one stream: 63 bits of the SHA-256 of its name.

        Args:
            replicate: Number of the replicate; None for what all replicates share.
            purpose: What the numbers are for, such as ``split`` or ``initial_weights``.
        """
        name = json.dumps(
            [self.root, self.study, self.variant, replicate, purpose], separators=(",", ":")
        )
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1

    def shared(self) -> "Seeds":
        """The streams that all variants of the study have in common."""
        return replace(self, variant="")

    def torch(self, replicate: int | None, purpose: str) -> "torch.Generator":
        """A fresh torch generator on the CPU, at the start of the stream."""
        import torch

        return torch.Generator("cpu").manual_seed(self.integer(replicate, purpose))

    def numpy(self, replicate: int | None, purpose: str) -> "numpy.random.Generator":
        """A fresh NumPy generator at the start of the stream."""
        import numpy as np

        return np.random.default_rng(self.integer(replicate, purpose))
