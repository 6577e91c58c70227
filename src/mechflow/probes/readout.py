"""Trained readouts: which number does a state hold, told by a bilinear form with a basis.

The logit of number n at state x is (W_out s_n + b_out) · (W_in x + b_in), with s_n the row of n in
a basis over the numbers. Numbers that training never names have a logit all the same, so a readout
can be scored on them: this is what sets the form apart from a classifier.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechflow.probes.number_split import NumberSplit
from mechflow.probes.readout_inputs import InputMap, input_map
from mechflow.probes.readout_settings import ReadoutSettings
from mechflow.probes.readout_training import (
    Examples,
    Outcome,
    product_dtype,
    train_stack,
    weight_dtype,
)
from mechflow.spacing import evenly_spaced


@dataclass(frozen=True)
class Readout:
    """One readout to train: in which basis, on which numbers, for which labels."""

    basis: Float[Tensor, "numbers width"]
    split: NumberSplit
    labels: Int[Tensor, " rows"] | None = None
    """Labels of its own, one a prompt (such as shuffled ones); None for those of the layer."""


@dataclass(frozen=True)
class ReadoutFit:
    """A trained readout. Its weights act on the states as they were given, not standardised."""

    W_in: Float[Tensor, "hidden d"]
    b_in: Float[Tensor, " hidden"]
    W_out: Float[Tensor, "hidden width"]
    b_out: Float[Tensor, " hidden"]
    readout: Readout
    steps: int
    """Updates that were made."""
    kept_step: int
    """Updates after which the weights were these."""

    def codes(self) -> Float[Tensor, "numbers hidden"]:
        """W_out s_n + b_out for every number."""
        return torch.addmm(self.b_out, self.readout.basis.to(self.W_out), self.W_out.T)

    def logits(self, features: Float[Tensor, "rows d"]) -> Float[Tensor, "rows numbers"]:
        """Logits of all numbers."""
        latent = torch.addmm(self.b_in, features.to(self.W_in), self.W_in.T)
        return latent @ self.codes().T


def train_readouts(
    features: Float[Tensor, "rows d"],
    labels: Int[Tensor, " rows"],
    readouts: Sequence[Readout],
    settings: ReadoutSettings,
    generators: Sequence[torch.Generator],
    *,
    device: str = "cpu",
    stack: int | None = None,
) -> list[ReadoutFit]:
    """Train readouts of one site, each on the prompts whose label is one of its train numbers.

    The loss is the cross entropy over the numbers of `settings.softmax` plus the L1 term. Each
    readout draws its initial weights (those of `torch.nn.Linear`) and its minibatches from its own
    generator, so what it becomes does not depend on the company that it is trained in.

    On a CPU readouts are trained one after another: the weights, moments and basis of one fit into
    the cache, those of many do not. An accelerator trains as many as share shapes and prompts in
    one batched product.

    Args:
        features: states, one row a prompt.
        labels: the number that each prompt is read for.
        readouts: what to train.
        settings: how to train.
        generators: one for each readout.
        device: where to train; the fits come back to the CPU.
        stack: readouts trained in one batched product at most; by default 1 on a CPU, 32 elsewhere.

    Raises:
        ValueError: if the readouts and generators differ in number, labels lie outside a basis, or
            a readout has no train or no valid prompt.
    """
    if len(generators) != len(readouts):
        raise ValueError(f"{len(generators)} generators for {len(readouts)} readouts")
    for readout in readouts:
        own = labels if readout.labels is None else readout.labels
        if len(readout.split.train) != len(readout.basis) or not _within(own, len(readout.basis)):
            raise ValueError("a readout has a split or labels outside of its basis")
    size = stack or (1 if torch.device(device).type == "cpu" else 32)
    labelled = [r if r.labels is not None else replace(r, labels=labels) for r in readouts]
    fits: dict[int, ReadoutFit] = {}
    for members in _same_prompts(labelled):
        split = labelled[members[0]].split
        inputs, examples = _examples(features, labelled[members[0]], settings, device)
        candidates = (~split.test if settings.softmax == "train_valid" else split.train).nonzero()
        for block in _same_shapes(labelled, members, size):
            outcomes = train_stack(
                examples,
                [labelled[i].basis for i in block],
                candidates[:, 0],
                settings,
                [generators[i] for i in block],
            )
            for i, outcome in zip(block, outcomes, strict=True):
                fits[i] = _fit(outcome, inputs, readouts[i])
    return [fits[i] for i in range(len(readouts))]


def _examples(
    features: Float[Tensor, "rows d"],
    readout: Readout,
    settings: ReadoutSettings,
    device: str,
) -> tuple[InputMap, Examples]:
    """What is done to the states, and the examples that it gives."""
    labels = _labels(readout)
    train, valid = (readout.split.rows(name, labels) for name in ("train", "valid"))
    if len(train) == 0 or len(valid) == 0:
        raise ValueError("a readout needs train and valid prompts")
    valid = valid[evenly_spaced(len(valid), settings.valid_rows)]
    exact = weight_dtype(settings)
    states = features[train].to(device, exact)
    inputs = input_map(states, settings.standardise)
    examples = Examples(
        train=inputs.apply(states, product_dtype(settings)),
        train_labels=labels[train].to(device),
        valid=inputs.apply(features[valid].to(device, exact), exact),
        valid_labels=labels[valid].to(device),
    )
    return inputs, examples


def _fit(outcome: Outcome, inputs: InputMap, readout: Readout) -> ReadoutFit:
    weights = outcome.weights
    W_in, b_in = inputs.undo(weights.W_in, weights.b_in)
    return ReadoutFit(
        W_in=W_in,
        b_in=b_in,
        W_out=weights.W_out,
        b_out=weights.b_out,
        readout=readout,
        steps=outcome.steps,
        kept_step=outcome.kept_step,
    )


def _within(labels: Int[Tensor, " rows"], numbers: int) -> bool:
    return bool(((labels >= 0) & (labels < numbers)).all())


def _labels(readout: Readout) -> Int[Tensor, " rows"]:
    assert readout.labels is not None
    return readout.labels


def _same_prompts(readouts: Sequence[Readout]) -> list[list[int]]:
    """Indices of readouts that have labels and split in common, group by group."""
    groups: dict[tuple[bytes, ...], list[int]] = {}
    for i, readout in enumerate(readouts):
        parts = (_labels(readout), readout.split.train, readout.split.valid)
        groups.setdefault(tuple(part.cpu().numpy().tobytes() for part in parts), []).append(i)
    return list(groups.values())


def _same_shapes(
    readouts: Sequence[Readout], members: Sequence[int], size: int
) -> Iterator[list[int]]:
    """The members in blocks of equal basis shapes, each no longer than `size`."""
    groups: dict[torch.Size, list[int]] = {}
    for i in members:
        groups.setdefault(readouts[i].basis.shape, []).append(i)
    for group in groups.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]
