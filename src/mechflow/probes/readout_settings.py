"""How trained readouts are trained: the defaults, and the protocol that was published."""

import math
from dataclasses import dataclass
from typing import Literal

Precision = Literal["float64", "float32", "bfloat16"]


@dataclass(frozen=True)
class ReadoutSettings:
    """How readouts are trained.

    The defaults suit sweeps over many layers. On SmolLM2-135M ten times as many updates raise the
    accuracy on held-out numbers by up to 0.13 in the sinusoidal basis and 0.06 in that of digits.
    `PUBLISHED` is the protocol of the notebook on number probes in Llama 3.2.
    """

    hidden: int = 100
    """Rows of W_in and W_out."""
    steps: int = 200
    """Updates at most."""
    batch: int = 256
    """Prompts an update, drawn with replacement from the train prompts."""
    lr: float = 1e-2
    """Rate of Adam, at its start if it decays."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of the moments of Adam."""
    decay: Literal["none", "linear", "cosine"] = "linear"
    """How the rate goes to zero by the last update."""
    l1: float = 3e-3
    """Factor on the sum of absolute values of all weights and biases."""
    eval_every: int = 50
    """Updates from one evaluation on valid prompts to the next; the last update has one too."""
    patience: int | None = None
    """Evaluations without a better one after which training stops."""
    valid_rows: int | None = 512
    """Valid prompts that an evaluation looks at, evenly spaced; None for all."""
    softmax: Literal["train", "train_valid"] = "train"
    """Numbers that a training prompt is told apart from: those of the train split, or (as
    published) those of the valid split as well, which are then never the right answer."""
    restore: Literal["best", "last"] = "best"
    """Which weights are kept: those with the best valid accuracy (of equals, the least valid loss),
    or the last ones, which is what a published checkpoint that is not copied amounts to."""
    standardise: Literal["none", "scale", "whiten"] = "whiten"
    """What is done to the states before, and taken back in the weights afterwards (see
    `input_map`). Norms of states grow with the layer: standardised, one learning rate and one L1
    factor mean the same at all layers. Whitening saves the many updates that it takes to find
    directions of little variance."""
    precision: Precision = "bfloat16"
    """Number format of the matrix products; weights, Adam and the softmax have float32 at least."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be meant.

        Raises:
            ValueError: if a count is not positive or a factor is negative.
        """
        counts = {
            name: getattr(self, name)
            for name in ("hidden", "steps", "batch", "eval_every", "patience", "valid_rows")
        }
        wrong = [name for name, count in counts.items() if count is not None and count < 1]
        wrong += [name for name in ("lr", "l1") if getattr(self, name) < 0]
        if wrong:
            raise ValueError(f"{wrong[0]} = {getattr(self, wrong[0])} is out of range")

    def rate(self, step: int) -> float:
        """Learning rate of the update that follows `step` updates."""
        progress = step / self.steps
        if self.decay == "linear":
            return self.lr * (1 - progress)
        if self.decay == "cosine":
            return self.lr * (1 + math.cos(math.pi * progress)) / 2
        return self.lr


PUBLISHED = ReadoutSettings(
    steps=10_001,
    batch=1024,
    lr=1e-3,
    l1=1e-3,
    decay="none",
    eval_every=500,
    valid_rows=4096,
    softmax="train_valid",
    restore="last",
    standardise="none",
    precision="float32",
)
"""The notebook's protocol, its checkpoint that is not copied included."""
