"""How well a trained readout names numbers: on those it was trained on, and on those held out."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from mechflow.probes.readout import ReadoutFit
from mechflow.spacing import evenly_spaced

ROWS_PER_BATCH = 1024
"""Prompts whose logits are held at a time."""

METRICS = ("accuracy", "accuracy_macro", "loss", "median_error")


@dataclass(frozen=True)
class ReadoutScores:
    """Scores of one readout."""

    summary: pd.DataFrame
    """Columns split (train|valid|test), metric (see `METRICS`), value. `accuracy` counts prompts,
    `accuracy_macro` is the mean over numbers of the share of a number's prompts that are right,
    `loss` is the mean cross entropy over all numbers, `median_error` the median of |answer - label|
    over prompts. NaN where a split has no prompt."""
    values: pd.DataFrame
    """One row a test number that has prompts: number, prompts, correct (prompts), mean_error (mean
    of answer - label)."""


def score_readouts(
    features: Float[Tensor, "rows d"],
    labels: Int[Tensor, " rows"],
    fits: Sequence[ReadoutFit],
    *,
    train_rows: int | None = 2048,
    device: str = "cpu",
) -> list[ReadoutScores]:
    """Score readouts among all numbers, in float32 at least and a batch of prompts at a time.

    Args:
        features: the states that the readouts were trained on.
        labels: the number that each prompt is read for, where a readout has no labels of its own.
        fits: trained readouts.
        train_rows: train prompts that are scored, evenly spaced; None for all. Test and valid
            prompts are all scored.
        device: where to compute.

    Raises:
        ValueError: if `train_rows` is not positive.
    """
    if train_rows is not None and train_rows < 1:
        raise ValueError(f"train_rows = {train_rows} is out of range")
    return [_score(features, labels, fit, train_rows, device) for fit in fits]


def _score(
    features: Float[Tensor, "rows d"],
    labels: Int[Tensor, " rows"],
    fit: ReadoutFit,
    train_rows: int | None,
    device: str,
) -> ReadoutScores:
    split, own = fit.readout.split, fit.readout.labels
    labels = labels if own is None else own
    rows = {name: split.rows(name, labels) for name in split.masks()}
    rows["train"] = rows["train"][evenly_spaced(len(rows["train"]), train_rows)]
    answers, losses = _answers(features, labels, torch.cat(list(rows.values())), fit, device)
    sizes = [len(some) for some in rows.values()]
    numbers = len(fit.readout.basis)
    records, tables = [], {}
    for name, answer, loss in zip(rows, answers.split(sizes), losses.split(sizes), strict=True):
        label = labels[rows[name]]
        tables[name] = table = _by_number(answer, label, numbers)
        error = (answer - label).abs().double()
        values = (
            float((error == 0).double().mean()),
            float((table["correct"] / table["prompts"]).mean()),
            float(loss.double().mean()),
            float(error.quantile(0.5)) if len(error) else float("nan"),
        )
        records += [(name, metric, v) for metric, v in zip(METRICS, values, strict=True)]
    summary = pd.DataFrame(records, columns=["split", "metric", "value"])
    return ReadoutScores(summary=summary, values=tables["test"])


def _answers(
    features: Float[Tensor, "rows d"],
    labels: Int[Tensor, " rows"],
    rows: Int[Tensor, " some"],
    fit: ReadoutFit,
    device: str,
) -> tuple[Int[Tensor, " some"], Float[Tensor, " some"]]:
    """The likeliest number and the cross entropy of each of some prompts."""
    codes = fit.codes().T.contiguous().to(device)
    W_in, b_in = fit.W_in.T.to(device), fit.b_in.to(device)
    answers, losses = [], []
    for some in rows.split(ROWS_PER_BATCH):
        logits = torch.addmm(b_in, features[some].to(W_in), W_in) @ codes
        answers.append(logits.max(dim=-1).indices.cpu())
        losses.append(F.cross_entropy(logits, labels[some].to(device), reduction="none").cpu())
    return torch.cat(answers), torch.cat(losses)


def _by_number(
    answers: Int[Tensor, " row"], labels: Int[Tensor, " row"], numbers: int
) -> pd.DataFrame:
    """Prompts, right answers and mean signed error of each number that has prompts."""
    prompts = torch.bincount(labels, minlength=numbers)
    correct = torch.bincount(labels[answers == labels], minlength=numbers)
    error = torch.zeros(numbers, dtype=torch.float64)
    error.index_add_(0, labels, (answers - labels).double())
    present = prompts.nonzero()[:, 0]
    return pd.DataFrame(
        {
            "number": present.numpy(),
            "prompts": prompts[present].numpy(),
            "correct": correct[present].numpy(),
            "mean_error": (error / prompts)[present].numpy(),
        }
    )
