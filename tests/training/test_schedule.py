"""When checkpoints are kept, rates rise and training stops."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mechflow.config.sections import EarlyStop, Training
from mechflow.training.schedule import checkpoint_steps, learning_rate, stop_step


@given(st.integers(1, 10**6), st.integers(2, 200))
def test_checkpoints_are_increasing_and_hold_both_ends(steps: int, count: int) -> None:
    kept = checkpoint_steps(steps, count)
    assert kept[0] == 0
    assert kept[-1] == steps
    assert list(kept) == sorted(set(kept))
    assert len(kept) <= count


def test_checkpoints_are_spaced_evenly_in_the_logarithm() -> None:
    assert checkpoint_steps(10_000, 6) == (0, 1, 10, 100, 1000, 10_000)


def test_warm_up_is_linear_and_ends_at_the_rate() -> None:
    cfg = Training(lr=0.5, warmup_steps=10)
    rates = [learning_rate(step, cfg) for step in range(12)]
    assert rates[:10] == pytest.approx([0.05 * k for k in range(1, 11)])
    assert rates[10:] == [0.5, 0.5]
    assert learning_rate(0, Training(lr=0.5, warmup_steps=0)) == 0.5


def test_training_stops_once_every_replicate_has_generalised_for_long_enough() -> None:
    rule = EarlyStop(test_accuracy=0.9, sustained=2, extra_steps=100)
    steps = [0, 10, 20, 30, 40]
    first = torch.tensor([0.1, 0.95, 0.95, 0.95, 0.95])
    second = torch.tensor([0.1, 0.95, 0.5, 0.95, 0.95])
    both = torch.stack([first, second], 1)
    assert stop_step(steps, first[:, None], rule) == 20 + 100
    assert stop_step(steps, both, rule) == 40 + 100
    assert stop_step(steps[:4], both[:4], rule) is None
    assert stop_step(steps, both, None) is None
