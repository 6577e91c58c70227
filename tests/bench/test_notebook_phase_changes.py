"""The benchmark compares the same work: both loops give the same losses."""

from dataclasses import replace

import pytest
import torch

from bench import phase_changes as bench
from mechflow.studies.phase_changes.config import Addition, Data, Induction, SkipTrigram

SMALL = {
    "addition": Data(addition=Addition(n_digits=2)),
    "skip_trigram": Data(task="skip_trigram", skip_trigram=SkipTrigram(n_triggers=3, seq_len=8)),
    "induction": Data(
        task="induction", induction=Induction(seq_len=16, subseq_len=4, repeats=3, d_vocab=9)
    ),
}


@pytest.fixture(params=bench.CASES)
def case(request: pytest.FixtureRequest) -> bench.Case:
    """The task at a small size, with the architecture's own options."""
    case = bench.CASES[request.param]
    width = {"d_model": 16, "d_mlp": 24 if case.model.d_mlp else 0}
    training = {"batch_size": 12, "lr": 1e-2, "warmup_steps": 10}
    return replace(
        case,
        data=SMALL[case.data.task].model_copy(update={"test_examples": 8}),
        model=case.model.model_copy(update=width),
        training=case.training.model_copy(update=training),
    )


def test_first_100_updates_agree_in_float64(case: bench.Case) -> None:
    theirs = bench.notebook_losses(case, 100, torch.float64)
    ours = bench.our_losses(case, 100, torch.float64)
    assert ours == pytest.approx(theirs, abs=1e-7)
    assert theirs[-1] < theirs[0] - 0.05


def test_first_updates_agree_in_float32(case: bench.Case) -> None:
    assert bench.our_losses(case, 5) == pytest.approx(bench.notebook_losses(case, 5), abs=1e-4)


def test_stacked_replicates_train_as_each_does_alone(case: bench.Case) -> None:
    alone, stacked = bench.new_trainer(case, 1), bench.new_trainer(case, 2)
    for trainer in (alone, stacked):
        for _ in range(5):
            trainer.advance()
    for name, weight in alone.weights.items():
        torch.testing.assert_close(stacked.weights[name][:1], weight, rtol=1e-3, atol=1e-4)
