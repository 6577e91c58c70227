"""The benchmark compares the same work: both loops give the same losses."""

import pytest
import torch

from bench import modular_addition as bench


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "P", 13)


@pytest.mark.parametrize("name", bench.ARCHITECTURES)
def test_first_200_epochs_agree_in_float64(name: str) -> None:
    cfg = bench.ARCHITECTURES[name].model_copy(update={"d_model": 32, "d_mlp": 64})
    theirs = bench.notebook_losses(cfg, 200, torch.float64)
    ours = bench.our_losses(cfg, 200, torch.float64)
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert theirs[-1] < theirs[0] / 2


@pytest.mark.parametrize("name", bench.ARCHITECTURES)
def test_losses_on_the_same_weights_agree_in_float32_for_200_epochs(name: str) -> None:
    cfg = bench.ARCHITECTURES[name].model_copy(update={"d_model": 32, "d_mlp": 64})
    assert bench.same_weights_gap(cfg, 200) < 1e-5


@pytest.mark.parametrize("name", bench.ARCHITECTURES)
def test_first_epochs_agree_in_float32(name: str) -> None:
    cfg = bench.ARCHITECTURES[name].model_copy(update={"d_model": 32, "d_mlp": 64})
    assert bench.our_losses(cfg, 10) == pytest.approx(bench.notebook_losses(cfg, 10), abs=1e-5)
