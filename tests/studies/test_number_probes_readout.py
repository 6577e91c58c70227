"""Trained probes of all layers: a job that was interrupted ends where it would have ended."""

from typing import Any

import pandas as pd
import pytest
import torch

from mechflow.artifacts import Provenance, Shards, ShardWriter, collect
from mechflow.artifacts.provenance import Owner
from mechflow.seeds import Seeds
from mechflow.studies.number_probes import config, folds, readout

SITES = ("hook_embed", *(f"blocks.{i}.hook_resid_post" for i in range(2)))
SITES += ("ln_final.hook_normalized",)
LIMIT = 12
SEEDS = Seeds(0, "number_probes", "operand")


class Memory:
    """Keeps the state that a job saves, and interrupts the job at one of the savings."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.saved: list[dict[str, torch.Tensor]] = []
        self._interrupt_at = interrupt_at

    def load(self) -> dict[str, torch.Tensor] | None:
        return dict(self.saved[-1]) if self.saved else None

    def save(self, state: dict[str, torch.Tensor]) -> None:
        self.saved.append({name: state[name].clone() for name in sorted(state)})
        if len(self.saved) == self._interrupt_at:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the stage reads: states in which the number is hidden in noise."""
    labels = torch.arange(10 * LIMIT) % LIMIT
    generator = torch.Generator().manual_seed(1)
    means = torch.randn(LIMIT, 6, generator=generator)
    writer = ShardWriter(tmp_path_factory.mktemp("states"), "states", origin())
    for first in range(0, len(labels), 50):
        part = labels[first : first + 50]
        writer.write(
            first,
            {
                site: means[part] + depth * torch.randn(len(part), 6, generator=generator)
                for depth, site in enumerate(SITES)
            },
        )
    replicates = range(1, 3)
    divided = config.Folds(folds=3, valid_share=0.2)
    return {
        "prompts": pd.DataFrame({"label": labels.numpy()}),
        "states": Shards(writer.folder, "states", writer.finish(), origin().owner),
        "folds": folds.run(limit=LIMIT, folds=divided, seeds=SEEDS, replicates=replicates)["folds"],
        "limit": LIMIT,
        "readout": config.Readout(
            bases=("digits", "random_code"),
            controlled_bases=("digits",),
            hidden_dim=4,
            steps=6,
            eval_every=3,
            batch_size=16,
        ),
        "seeds": SEEDS,
        "replicates": replicates,
        "device": "cpu",
    }


def origin() -> Provenance:
    return collect(
        kind="states",
        owner=Owner("number_probes", "operand"),
        stage="extract",
        spec={},
        code="",
        seed=0,
        device="cpu",
        threads=1,
        inputs={},
    )


@pytest.fixture(scope="module")
def uninterrupted(arguments: dict[str, Any]) -> dict[str, Any]:
    return readout.run(**arguments)


@pytest.mark.parametrize("interrupt_at", range(1, len(SITES) + 1))
def test_an_interrupted_job_goes_on_to_the_same_bits(
    arguments: dict[str, Any],
    uninterrupted: dict[str, Any],
    interrupt_at: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readout, "SAVE_AFTER", 0.0)
    store = Memory(interrupt_at)
    with pytest.raises(KeyboardInterrupt):
        readout.run(**arguments, resume=store)
    assert len(store.saved) == interrupt_at
    loaded = count_loads(arguments["states"], monkeypatch)
    resumed = readout.run(**arguments, resume=store)
    assert loaded == list(SITES[interrupt_at:])
    for name in ("readout", "readout_values"):
        pd.testing.assert_frame_equal(resumed[name], uninterrupted[name], check_exact=True)
    ours, theirs = resumed["readout_weights"], uninterrupted["readout_weights"]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def count_loads(states: Shards, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list to which every site is added when its states are read."""
    loaded: list[str] = []
    load = states.load

    def listed(name: str) -> torch.Tensor:
        loaded.append(name)
        return load(name)

    monkeypatch.setattr(states, "load", listed)
    return loaded


def test_nothing_is_saved_of_a_short_job(arguments: dict[str, Any]) -> None:
    store = Memory()
    readout.run(**arguments, resume=store)
    assert store.saved == []
