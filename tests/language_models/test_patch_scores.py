import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mechflow.language_models.load import load_language_model
from mechflow.language_models.patch_scores import (
    Following,
    decoded_following,
    next_token_following,
    next_token_leaning,
)
from mechflow.language_models.patching import CleanRuns, NextToken, Patched


def next_token(token: list[int], base: list[float], source: list[float]) -> NextToken:
    return NextToken(torch.tensor(token), torch.tensor(base), torch.tensor(source))


@pytest.fixture
def runs(tiny_llama_folder: Path) -> CleanRuns:
    return CleanRuns(
        load_language_model(tiny_llama_folder, dtype=torch.float32),
        base=next_token([1, 2, 3, 4], [-1.0] * 4, [-5.0] * 4),
        source=next_token([6, 7, 8, 4], [-4.0] * 4, [-1.0] * 4),
        groups=(),
    )


@pytest.fixture
def patched() -> Patched:
    """Follows the source, keeps the base's, does neither; the last pair cannot tell."""
    states = torch.tensor([[10.0, 50.0], [20.0, 20.0], [33.0, 70.0], [40.0, 80.0]])
    return Patched(
        layer=2,
        states=states[:, :, None],
        read_layers=range(2, 4),
        distance=torch.ones(4),
        next_token=next_token([6, 2, 5, 4], [-3.0, -1.0, -2.0, -9.0], [-2.0, -5.0, -5.0, -9.0]),
    )


def test_only_pairs_that_go_on_differently_count(runs: CleanRuns, patched: Patched) -> None:
    assert next_token_following(runs, patched) == Following(
        3, pytest.approx(1 / 3), pytest.approx(1 / 3)
    )
    leaning = next_token_leaning(runs, patched)
    assert leaning.source == pytest.approx(3 / 3)
    assert leaning.base == pytest.approx((-2 + 0 - 1) / 3)


def test_pairs_can_be_chosen(runs: CleanRuns, patched: Patched) -> None:
    among = torch.tensor([True, True, False, True])
    assert next_token_following(runs, patched, among) == Following(2, 0.5, 0.5)
    assert next_token_leaning(runs, patched, among).base == pytest.approx(-1)


def test_no_pair_has_no_share(runs: CleanRuns, patched: Patched) -> None:
    among = torch.tensor([False, False, False, True])
    following = next_token_following(runs, patched, among)
    assert following.n == 0
    assert math.isnan(following.source)
    assert math.isnan(following.base)
    assert all(math.isnan(value) for value in next_token_leaning(runs, patched, among))


def test_numbers_are_decoded_at_the_layer_that_they_are_read_at(patched: Patched) -> None:
    asked = []

    def decode(layer: int, states: Tensor) -> Tensor:
        asked.append(layer)
        return states[:, 0].long()

    base, source = torch.tensor([10, 20, 30, 40]), torch.tensor([50, 60, 70, 40])
    found = decoded_following(patched, decode, base, source)
    assert asked == [2, 3]
    assert found == {
        2: Following(3, 0.0, pytest.approx(2 / 3)),
        3: Following(3, pytest.approx(2 / 3), pytest.approx(1 / 3)),
    }
