"""Numbers of the published notebook on Llama-3.2-1B, and where ours may be set beside them."""

from mechflow.figures.data import FigureData

NOTEBOOK = "notebook of arXiv 2506.08966"
PAPER = "arXiv 2506.08966"
LLAMA = "meta-llama/Llama-3.2-1B"

OPERAND_ACCURACY: dict[str, tuple[float, ...]] = {
    "sinusoidal": (
        *(0.89, 0.96, 1.00, 0.99, 1.00, 1.00, 1.00, 0.99, 0.98),
        *(0.99, 1.00, 0.99, 0.99, 0.99, 0.96, 0.99, 0.86),
    ),
    "binary": (
        *(0.41, 0.15, 0.12, 0.23, 0.16, 0.12, 0.08, 0.09, 0.09),
        *(0.09, 0.12, 0.11, 0.09, 0.07, 0.11, 0.14, 0.11),
    ),
    "least_squares.linear": (
        *(0.02, 0.01, 0.02, 0.03, 0.02, 0.02, 0.02, 0.02, 0.02),
        *(0.02, 0.03, 0.02, 0.02, 0.02, 0.03, 0.02, 0.02),
    ),
    "least_squares.log_published": (
        *(0.00, 0.00, 0.02, 0.03, 0.03, 0.03, 0.04, 0.04, 0.05),
        *(0.04, 0.05, 0.03, 0.03, 0.03, 0.05, 0.04, 0.04),
    ),
}
"""Test accuracy over prompts at x2 in "x1 + x2", for layers 0 to 16, in one split of the numbers.

The last layer is after the final norm, and the output of the last block before it was not read."""

SUM_ACCURACY: dict[str, tuple[float, ...]] = {
    "sinusoidal": (
        *(0.00, 0.00, 0.00, 0.00, 0.01, 0.01, 0.01, 0.01, 0.01),
        *(0.01, 0.01, 0.01, 0.05, 0.79, 0.85, 0.90, 0.93),
    ),
}
"""The same for the sum, at the end of "x1 + x2 = "."""


def is_published_model(data: FigureData, variant: str) -> bool:
    """Whether a variant looks into the model of the notebook, trained weights and all."""
    return (
        data.model_source(variant).hub == LLAMA
        and data.config(variant).model.weights == "pretrained"
    )


def published_layers(n_layers: int) -> list[int]:
    """Our numbers of the layers that the notebook read: all but the last block's output.

    Args:
        n_layers: number of the layer after the final norm.
    """
    return [layer for layer in range(n_layers + 1) if layer != n_layers - 1]
