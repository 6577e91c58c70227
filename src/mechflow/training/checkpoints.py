"""The weights that training kept on its way."""

from collections.abc import Iterator

from mechflow.models.factorised import StackedWeights
from mechflow.spacing import evenly_spaced


def untrained(checkpoints: StackedWeights) -> StackedWeights:
    """The weights before the first update."""
    first = int((checkpoints["step"] == 0).nonzero()[0])
    return _at(checkpoints, first)


def states(
    checkpoints: StackedWeights, most: int | None = None
) -> Iterator[tuple[int, StackedWeights]]:
    """Step and stacked weights of at most so many checkpoints, the first and the last among them.

    Args:
        checkpoints: weights [C, R, ...] and "step" [C].
        most: how many, evenly spaced; None for all.
    """
    steps = checkpoints["step"].tolist()
    for index in evenly_spaced(len(steps), most).tolist():
        yield steps[index], _at(checkpoints, index)


def _at(checkpoints: StackedWeights, index: int) -> StackedWeights:
    return {name: w[index] for name, w in checkpoints.items() if name != "step"}
