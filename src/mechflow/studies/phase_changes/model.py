"""The model of a variant: its architecture at the sizes of the task, and the scale of its loss."""

from mechflow.config.sections import Transformer
from mechflow.models.stacked import StackedTransformer
from mechflow.studies.phase_changes.tasks import Task


def stacked_model(task: Task, model: Transformer) -> StackedTransformer:
    """The architecture with the vocabulary and the length of the task."""
    return StackedTransformer(
        model, d_vocab=task.d_vocab, d_vocab_out=task.d_vocab_out, n_ctx=task.n_ctx
    )


def loss_scale(loss_factor: str, task: Task) -> float:
    """Factor on the mean loss: 1, or S / (S - 1) as published, S the tokens of a sequence.

    The notebook divides the sum over answers by the size of a mask that has one column more than
    the logits whose mean was taken.
    """
    return task.n_ctx / (task.n_ctx - 1) if loss_factor == "published" else 1.0
