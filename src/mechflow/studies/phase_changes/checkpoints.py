"""The weights that were kept through training, a few of them."""

from collections.abc import Iterator

from mechflow.models.factorised import StackedWeights
from mechflow.spacing import evenly_spaced


def states(checkpoints: StackedWeights, most: int | None) -> Iterator[tuple[int, StackedWeights]]:
    """Step and stacked weights of at most so many checkpoints, the first and the last among them.

    Args:
        checkpoints: weights [C, R, ...] and "step" [C].
        most: how many; None for all.
    """
    steps = checkpoints["step"].tolist()
    for index in evenly_spaced(len(steps), most).tolist():
        yield steps[index], {name: w[index] for name, w in checkpoints.items() if name != "step"}
