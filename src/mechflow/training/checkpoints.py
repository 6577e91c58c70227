"""The weights that training kept on its way."""

from mechflow.models.factorised import StackedWeights


def untrained(checkpoints: StackedWeights) -> StackedWeights:
    """The weights before the first update."""
    first = int((checkpoints["step"] == 0).nonzero()[0])
    return {name: w[first] for name, w in checkpoints.items() if name != "step"}
