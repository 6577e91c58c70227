"""Trained probes of every layer: in several codes for the numbers, over folds, with controls."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechflow.artifacts import Shards
from mechflow.probes.gaussian import gaussian_features
from mechflow.probes.number_split import NumberSplit
from mechflow.probes.readout import Readout, ReadoutFit, train_readouts
from mechflow.probes.readout_scores import METRICS, score_readouts
from mechflow.seeds import Seeds
from mechflow.studies.number_probes import config
from mechflow.studies.number_probes.codes import number_basis, settings
from mechflow.studies.number_probes.layers import each_layer, in_depth_order
from mechflow.studies.number_probes.splits import number_splits
from mechflow.training.loop import ResumeStore
from mechflow.training.process import tuned_for_training

SPLITS = ("train", "valid", "test")
SAVE_AFTER = 60.0
"""Seconds of work that a killed job may lose."""
_log = logging.getLogger(__name__)


class Planned(NamedTuple):
    """One probe that is trained at every layer."""

    replicate: int
    fold: int
    basis: config.Basis
    control: str


class Found(NamedTuple):
    """What the probes of one layer gave."""

    scores: Float[Tensor, "probes metrics"]
    """Metrics of all splits, then the steps made."""
    values: Float[Tensor, "rows 5"]
    """Number of the probe, test number, prompts, right answers, mean error."""


def run(
    *,
    prompts: pd.DataFrame,
    states: Shards,
    folds: pd.DataFrame,
    limit: int,
    readout: config.Readout,
    seeds: Seeds,
    replicates: range,
    device: str,
    resume: ResumeStore | None = None,
) -> dict[str, pd.DataFrame | dict[str, Tensor]]:
    """Scores of all probes, what they read of each test number, and weights of the first fold."""
    labels = torch.tensor(prompts["label"].to_numpy())
    splits = number_splits(folds)
    plan = list(planned(readout, splits))
    sites = in_depth_order(states.names)
    done: dict[str, Tensor] = (resume.load() if resume else None) or {}
    waiting = [layer for layer in range(len(sites)) if f"{layer}/scores" not in done]
    saved = time.monotonic()
    for layer, _, features in each_layer(states, waiting):
        trainer = _LayerTrainer(features, labels, layer, limit, readout, seeds, device)
        with tuned_for_training():
            found, weights = trainer.run(plan, splits)
        done |= {f"{layer}/scores": found.scores, f"{layer}/values": found.values}
        done |= {f"{layer}/{name}": tensor for name, tensor in weights.items()}
        _log.info("layer %d of %d", layer, len(sites) - 1)
        if resume and time.monotonic() - saved > SAVE_AFTER:
            resume.save(done)
            saved = time.monotonic()
    width = {str(basis): _width(done, basis) for basis in readout.bases}
    return {
        "readout": _score_table(plan, sites, done, width),
        "readout_values": _value_table(plan, sites, done),
        "readout_weights": _stacked_weights(done, len(sites)),
    }


def planned(
    readout: config.Readout, splits: Mapping[tuple[int, int], NumberSplit]
) -> Iterator[Planned]:
    """Every probe of a layer: all bases in all folds, and the controls of some in the first."""
    for replicate, fold in splits:
        for basis in readout.bases:
            yield Planned(replicate, fold, basis, "none")
        if fold >= readout.control_folds:
            continue
        for basis in readout.controlled_bases:
            for control in readout.controls:
                yield Planned(replicate, fold, basis, control)


class _LayerTrainer:
    """Trains the planned probes on the states of one layer."""

    def __init__(
        self,
        features: Float[Tensor, "prompts d_model"],
        labels: Int[Tensor, " prompts"],
        layer: int,
        limit: int,
        readout: config.Readout,
        seeds: Seeds,
        device: str,
    ) -> None:
        self._features = features
        self._labels = labels
        self._layer = layer
        self._limit = limit
        self._readout = readout
        self._seeds = seeds
        self._device = device

    def run(
        self, plan: Sequence[Planned], splits: Mapping[tuple[int, int], NumberSplit]
    ) -> tuple[Found, dict[str, Tensor]]:
        """Scores of all probes, and the weights that are kept."""
        scores: dict[int, Tensor] = {}
        values: dict[int, Tensor] = {}
        kept: dict[Planned, ReadoutFit] = {}
        for features, members in self._by_features(plan):
            probes = [plan[i] for i in members]
            fits = train_readouts(
                features,
                self._labels,
                [self._probe(probe, splits[probe.replicate, probe.fold]) for probe in probes],
                settings(self._readout),
                [self._stream(probe.replicate, "probe", *probe[1:]) for probe in probes],
                device=self._device,
            )
            results = score_readouts(features, self._labels, fits, device=self._device)
            for i, probe, fit, result in zip(members, probes, fits, results, strict=True):
                summary = result.summary.set_index(["split", "metric"])["value"]
                metrics = [summary[split, metric] for split in SPLITS for metric in METRICS]
                scores[i] = torch.tensor([*metrics, float(fit.steps)], dtype=torch.float64)
                rows = torch.from_numpy(result.values.to_numpy(dtype="float64"))
                values[i] = torch.cat([torch.full((len(rows), 1), float(i)), rows], dim=1)
                if probe.control == "none" and probe.fold == 0:
                    kept[probe] = fit
        order = range(len(plan))
        uncontrolled = [values[i] for i in order if plan[i].control == "none"]
        found = Found(torch.stack([scores[i] for i in order]), torch.cat(uncontrolled))
        return found, _kept_weights(kept)

    def _by_features(
        self, plan: Sequence[Planned]
    ) -> Iterator[tuple[Float[Tensor, "prompts d_model"], list[int]]]:
        """The states and the probes that are trained on them; then the same for Gaussian ones."""
        yield self._features, [i for i, p in enumerate(plan) if p.control != "gaussian"]
        for replicate in dict.fromkeys(p.replicate for p in plan if p.control == "gaussian"):
            generator = self._stream(replicate, "Gaussian features")
            features = gaussian_features(self._features, self._labels, generator)
            yield (
                features,
                [i for i, p in enumerate(plan) if p[::3] == (replicate, "gaussian")],
            )

    def _probe(self, probe: Planned, split: NumberSplit) -> Readout:
        basis = number_basis(
            probe.basis,
            self._limit,
            self._features.shape[1],
            self._seeds.torch(probe.replicate, f"code {probe.basis}"),
        )
        if probe.control == "shuffled_values":
            generator = self._seeds.torch(probe.replicate, f"shuffled values in fold {probe.fold}")
            basis = basis[torch.randperm(len(basis), generator=generator)]
        if probe.control == "shuffled_labels":
            generator = self._seeds.torch(probe.replicate, "shuffled labels")
            order = torch.randperm(len(self._labels), generator=generator)
            return Readout(basis, split, self._labels[order])
        return Readout(basis, split)

    def _stream(self, replicate: int, *purpose: object) -> torch.Generator:
        name = " ".join(map(str, purpose))
        return self._seeds.torch(replicate, f"{name} at layer {self._layer}")


def _kept_weights(fits: Mapping[Planned, ReadoutFit]) -> dict[str, Tensor]:
    """Weights by basis, with a leading axis of replicates."""
    bases = dict.fromkeys(probe.basis for probe in fits)
    found: dict[str, Tensor] = {}
    for basis in bases:
        of_basis = [fit for probe, fit in fits.items() if probe.basis == basis]
        for name in ("W_in", "b_in", "W_out", "b_out"):
            found[f"{basis}.{name}"] = torch.stack([getattr(fit, name) for fit in of_basis])
        found[f"{basis}.basis"] = torch.stack([fit.readout.basis for fit in of_basis])
    return found


def _stacked_weights(done: Mapping[str, Tensor], n_layers: int) -> dict[str, Tensor]:
    """Weights of all layers [R, L, ...]; a code is the same at all layers [R, numbers, width]."""
    names = [key.partition("/")[2] for key in done if key.startswith("0/") and "." in key]
    return {
        name: done[f"0/{name}"].clone()
        if name.endswith(".basis")
        else torch.stack([done[f"{layer}/{name}"] for layer in range(n_layers)], dim=1)
        for name in names
    }


def _width(done: Mapping[str, Tensor], basis: str) -> int:
    return done[f"0/{basis}.basis"].shape[-1]


def _score_table(
    plan: Sequence[Planned],
    sites: Sequence[str],
    done: Mapping[str, Tensor],
    width: Mapping[str, int],
) -> pd.DataFrame:
    columns = [(split, metric) for split in SPLITS for metric in METRICS] + [("train", "steps")]
    rows = []
    for layer, site in enumerate(sites):
        for probe, scores in zip(plan, done[f"{layer}/scores"].tolist(), strict=True):
            code = (probe.basis, width[probe.basis], probe.control)
            head = (probe.replicate, probe.fold, site, layer, *code)
            rows += [(*head, *name, score) for name, score in zip(columns, scores, strict=True)]
    names = ["replicate", "fold", "site", "layer", "basis", "width", "control"]
    return pd.DataFrame(rows, columns=[*names, "split", "metric", "value"])


def _value_table(
    plan: Sequence[Planned], sites: Sequence[str], done: Mapping[str, Tensor]
) -> pd.DataFrame:
    frames = []
    names = ["probe", "number", "prompts", "correct", "mean_error"]
    for layer in range(len(sites)):
        frame = pd.DataFrame(done[f"{layer}/values"].numpy(), columns=names)
        frame[names[:-1]] = frame[names[:-1]].astype("int64")
        frames.append(frame.assign(layer=layer))
    table = pd.concat(frames, ignore_index=True)
    probes = pd.DataFrame(plan).loc[table.pop("probe"), ["replicate", "fold", "basis"]]
    table[probes.columns] = probes.to_numpy()
    table = table.astype({"replicate": "int64", "fold": "int64", "basis": "str"})
    return table[["replicate", "fold", "layer", "basis", *names[1:]]]
