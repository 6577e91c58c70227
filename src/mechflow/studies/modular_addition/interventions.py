"""Causal checks: remove or keep frequencies, ablate neuron clusters, and see what the loss does.

Every intervention is set against random frequencies, or random neurons, of equal number.
"""

from collections.abc import Callable, Iterator
from functools import partial

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechflow.config.sections import Transformer
from mechflow.interventions import ablate_neurons, project_embedding, project_frequencies
from mechflow.models.factorised import StackedWeights
from mechflow.models.stacked import StackedTransformer
from mechflow.models.transformer import HookedToyTransformer
from mechflow.progress import correct, cross_entropy, random_frequency_sets, split_mean
from mechflow.seeds import Seeds
from mechflow.studies.modular_addition.config import Interventions
from mechflow.studies.modular_addition.inputs import all_tokens, column, modulus, train_masks
from mechflow.studies.modular_addition.key import key_mask, neuron_frequency

COLUMNS = [
    *("replicate", "intervention", "site", "control", "draw", "split", "metric", "value"),
    "frequency",
]
ALL_KEY = -1
Logits = Float[Tensor, "pairs C"]
Change = Callable[[Float[Tensor, "pairs d"]], Float[Tensor, "pairs d"]]


def run(
    *,
    dataset: pd.DataFrame,
    weights: StackedWeights,
    spectra: pd.DataFrame,
    model: Transformer,
    interventions: Interventions,
    seeds: Seeds,
    replicates: range,
) -> dict[str, pd.DataFrame]:
    """Loss and accuracy of one block after every intervention."""
    p = modulus(dataset)
    stacked = StackedTransformer(model, d_vocab=p + 1, d_vocab_out=p, n_ctx=3)
    key = key_mask(spectra, replicates, p)
    clusters = neuron_frequency(spectra, replicates)
    train, labels = train_masks(dataset), column(dataset, "label")
    frames = []
    for index, replicate in enumerate(replicates):
        subject = Subject(stacked.module(weights, index), p)
        generator = seeds.torch(replicate, "random frequencies and neurons")
        results = [
            ({}, subject.logits()),
            *_frequencies(subject, key[index], interventions.random_draws, generator),
            *_clusters(subject, key[index], clusters[index], interventions, generator),
        ]
        for names, logits in results:
            frame = _scores(logits, labels[index], train[index])
            frames.append(frame.assign(**{**_NOTHING, "replicate": replicate, **names}))
    return {"interventions": pd.concat(frames, ignore_index=True)[COLUMNS]}


_NOTHING: dict[str, str | int] = {
    "intervention": "none",
    "site": "",
    "frequency": 0,
    "control": "none",
    "draw": 0,
}
Result = tuple[dict[str, str | int], Logits]


class Subject:
    """One trained model, run on all pairs with one of its sites changed."""

    def __init__(self, model: HookedToyTransformer, p: int) -> None:
        self.model = model
        self.p = p
        self.tokens = all_tokens(p)
        self.mlp_site = f"blocks.{model.cfg.n_layers - 1}.mlp.hook_post"

    @torch.no_grad()
    def logits(self) -> Logits:
        """Logits at "=" of the untouched model."""
        return self.model(self.tokens)[:, -1]

    @torch.no_grad()
    def with_embedding(self, change: Change) -> Logits:
        """Logits with the embeddings of the residues changed; "=" keeps its own."""
        embed = self.model.embed.W_E
        changed = torch.cat([change(embed[: self.p]), embed[self.p :]])
        hook = ("hook_embed", lambda value, hook: changed[self.tokens])
        return self.model.run_with_hooks(self.tokens, fwd_hooks=[hook])[:, -1]

    @torch.no_grad()
    def with_mlp_post(self, change: Change) -> Logits:
        """Logits with the neurons at "=" changed, as functions of (a, b)."""

        def patch(value: Float[Tensor, "pairs pos d_mlp"], hook: object) -> Tensor:
            value[:, -1] = change(value[:, -1])
            return value

        return self.model.run_with_hooks(self.tokens, fwd_hooks=[(self.mlp_site, patch)])[:, -1]


def _frequencies(
    subject: Subject, key: Bool[Tensor, " n_freq"], draws: int, generator: torch.Generator
) -> Iterator[Result]:
    """Key frequencies removed, or nothing else kept, in the embedding and in the neurons."""
    sets = torch.cat([key[None], random_frequency_sets(key, draws, generator)])
    for draw, mask in enumerate(sets):
        for name, keep in (("remove_key", False), ("keep_key", True)):
            names = {"intervention": name, "frequency": ALL_KEY, **_control(draw, "frequencies")}
            embedding = partial(project_embedding, mask=mask, keep=keep)
            neurons = partial(project_frequencies, p=subject.p, mask=mask, keep=keep)
            yield {**names, "site": "W_E"}, subject.with_embedding(embedding)
            yield {**names, "site": "mlp_post"}, subject.with_mlp_post(neurons)


def _clusters(
    subject: Subject,
    key: Bool[Tensor, " n_freq"],
    clusters: Int[Tensor, " d_mlp"],
    cfg: Interventions,
    generator: torch.Generator,
) -> Iterator[Result]:
    """The neuron cluster of each key frequency ablated, and as many random other neurons."""
    for frequency in (key.nonzero()[:, 0] + 1).tolist():
        own = clusters == frequency
        others = (~own).nonzero()[:, 0]
        if not own.any() or own.sum() > len(others):
            continue
        sets = [own]
        for _ in range(cfg.random_draws):
            chosen = others[torch.randperm(len(others), generator=generator)[: own.sum()]]
            sets.append(torch.zeros_like(own).index_fill(0, chosen, True))
        for draw, neurons in enumerate(sets):
            names = {
                "intervention": "ablate_cluster",
                "site": "mlp_post",
                "frequency": frequency,
                **_control(draw, "neurons"),
            }
            change = partial(ablate_neurons, neurons=neurons, mode=cfg.neuron_ablation)
            yield names, subject.with_mlp_post(change)


def _control(draw: int, of: str) -> dict[str, str | int]:
    return {"control": f"random_{of}" if draw else "none", "draw": max(0, draw - 1)}


def _scores(
    logits: Logits, labels: Int[Tensor, " pairs"], train: Bool[Tensor, " pairs"]
) -> pd.DataFrame:
    masks = torch.stack([torch.ones_like(train), train, ~train])
    rows = []
    for metric, measure in (("loss", cross_entropy), ("accuracy", correct)):
        values = split_mean(measure(logits, labels), masks).tolist()
        rows += list(zip(("all", "train", "test"), [metric] * 3, values, strict=True))
    return pd.DataFrame(rows, columns=["split", "metric", "value"])
