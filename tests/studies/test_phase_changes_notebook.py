"""The flaws of the phase changes notebook, each with a test that it is not here."""

import numpy as np
import pandas as pd
import pytest
import torch

from mechflow.config.sections import Transformer
from mechflow.seeds import Seeds
from mechflow.studies.phase_changes import dataset, train
from mechflow.studies.phase_changes.batches import fresh_batches, repeated_batches
from mechflow.studies.phase_changes.config import (
    Addition,
    Data,
    Finite,
    Induction,
    StreamTraining,
)
from mechflow.studies.phase_changes.inputs import sequences_of
from mechflow.studies.phase_changes.model import loss_scale, stacked_model
from mechflow.studies.phase_changes.tasks import task_of
from mechflow.training.answers import Answers

SEEDS = Seeds(0, "phase_changes", "test")
ADDITION = Data(addition=Addition(n_digits=2), test_examples=40)
INDUCTION = Data(
    task="induction",
    induction=Induction(seq_len=13, subseq_len=4, repeats=2, d_vocab=9),
    test_examples=40,
)
SKIP = Data(task="skip_trigram", test_examples=40)
ALL = pytest.mark.parametrize("data", [ADDITION, SKIP, INDUCTION], ids=lambda data: data.task)
SMALL = Transformer(d_model=16, d_mlp=0, n_heads=2)


def recorded(data: Data, finite: Finite | None, replicates: range = range(2)) -> pd.DataFrame:
    return dataset.run(data=data, finite=finite, seeds=SEEDS, replicates=replicates)["dataset"]


@ALL
def test_generators_leave_the_global_random_state_alone(data: Data) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    recorded(data, Finite(examples=30))
    fresh_batches(task_of(data), 8, SEEDS, range(2))(0)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002


@ALL
def test_no_train_sequence_is_a_test_sequence(data: Data) -> None:
    table = recorded(data, Finite(examples=200))
    for _, rows in table.groupby("replicate"):
        train_rows = rows.loc[rows["split"] == "train", "tokens"]
        test_rows = rows.loc[rows["split"] == "test", "tokens"]
        assert len(train_rows) == train_rows.nunique() == 200
        assert not set(train_rows) & set(test_rows)


@ALL
def test_the_test_set_does_not_share_the_noise_of_the_stream(data: Data) -> None:
    test = sequences_of(recorded(data, None), "test")
    batch = fresh_batches(task_of(data), 40, SEEDS, range(2))(0)
    assert test is not None
    same = (test.tokens[:, :, None] == batch.tokens[:, None]).all(-1)
    assert same.float().mean() < 0.01


@ALL
def test_replicates_have_data_of_their_own(data: Data) -> None:
    test = sequences_of(recorded(data, None), "test")
    assert test is not None
    assert not torch.equal(test.tokens[0], test.tokens[1])
    alone = sequences_of(recorded(data, None, range(1, 2)), "test")
    assert alone is not None
    assert torch.equal(alone.tokens[0], test.tokens[1])


def test_checkpoints_are_copies_and_not_the_last_weights_under_other_names() -> None:
    table = recorded(ADDITION, None)
    found = train.run(
        dataset=table,
        data=ADDITION,
        model=SMALL,
        training=StreamTraining(steps=20, lr=1e-2, batch_size=8, checkpoints=3),
        seeds=SEEDS,
        replicates=range(2),
        device="cpu",
    )
    kept = found["checkpoints"]
    assert kept["step"].tolist() == [0, 10, 20]
    assert torch.equal(kept["embed.W_E"][2], found["weights"]["embed.W_E"])
    assert not torch.allclose(kept["embed.W_E"][0], kept["embed.W_E"][1])
    assert not torch.allclose(kept["embed.W_E"][1], kept["embed.W_E"][2])


def objective(loss_factor: str) -> tuple[Answers, dict[str, torch.Tensor]]:
    task = task_of(INDUCTION)
    model = stacked_model(task, SMALL)
    test = sequences_of(recorded(INDUCTION, None), "test")
    assert test is not None
    answers = Answers(
        model,
        fresh_batches(task, 8, SEEDS, range(2)),
        test,
        task.groups,
        loss_factor=loss_scale(loss_factor, task),
    )
    return answers, model.initial(SEEDS.torch(r, "initial weights") for r in range(2))


def test_the_loss_is_the_mean_over_repeated_positions_only() -> None:
    answers, weights = objective("mean")
    batch = fresh_batches(task_of(INDUCTION), 8, SEEDS, range(2))(0)
    for replicate, loss in enumerate(answers.losses(weights, 0)):
        module = answers.model.module(weights, replicate)
        log_p = module(batch.tokens[replicate]).double().log_softmax(-1)
        total, count = 0.0, 0
        for row, positions in enumerate(batch.positions[replicate].tolist()):
            for position in positions:
                token = batch.tokens[replicate, row, position + 1]
                total, count = total - log_p[row, position, token].item(), count + 1
        assert loss.item() == pytest.approx(total / count, rel=1e-6)


def test_the_published_factor_is_what_the_masked_mean_of_the_notebook_comes_to() -> None:
    (plain, weights), (published, _) = objective("mean"), objective("published")
    batch = fresh_batches(task_of(INDUCTION), 8, SEEDS, range(2))(0)
    module = plain.model.module(weights, 0)
    log_p = module(batch.tokens[0])[:, :-1].log_softmax(-1)
    mask = torch.zeros(batch.tokens[0].shape).scatter(1, batch.positions[0], 1.0)
    picked = log_p.gather(-1, batch.tokens[0][:, 1:, None])[..., 0] * mask[:, :-1]
    notebook = -picked.mean() * mask.numel() / mask.sum()
    assert published.losses(weights, 0)[0].item() == pytest.approx(notebook.item(), rel=1e-6)
    ratio = (published.losses(weights, 0) / plain.losses(weights, 0)).tolist()
    assert ratio == pytest.approx([13 / 12] * 2)


def test_batches_depend_on_the_step_alone() -> None:
    task = task_of(ADDITION)
    first, again = (fresh_batches(task, 4, SEEDS, range(2)) for _ in range(2))
    forwards = [first(step).tokens for step in range(70)]
    for step in (69, 0, 40, 33):
        assert torch.equal(again(step).tokens, forwards[step])
    assert len({batch.numpy().tobytes() for batch in forwards}) == 70


@pytest.mark.parametrize("size", [None, 7, 30])
def test_an_epoch_sees_every_train_sequence_once(size: int | None) -> None:
    stored = sequences_of(recorded(ADDITION, Finite(examples=30)), "train")
    assert stored is not None
    batch = repeated_batches(stored, size, SEEDS, range(2))
    per_epoch = 1 if size is None else -(-30 // size)
    for epoch in (0, 3):
        parts = [batch(epoch * per_epoch + place).tokens for place in range(per_epoch)]
        seen = torch.cat(parts, 1)
        for replicate in range(2):
            rows = sorted(map(tuple, seen[replicate].tolist()))
            assert rows == sorted(map(tuple, stored.tokens[replicate].tolist()))
    if size == 7:
        assert not torch.equal(batch(0).tokens, batch(per_epoch).tokens)
