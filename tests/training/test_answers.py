"""Training on answers inside sequences: losses against plain loops, resumption to the last bit."""

import pytest
import torch
from torch.nn import functional

from mechflow.config.sections import Training, Transformer
from mechflow.models.stacked import StackedTransformer
from mechflow.training.answers import Answers
from mechflow.training.loop import Trainer
from mechflow.training.sequences import Sequences, concatenate, group_means, stack

R, VOCAB, POS, READ, GROUPS = 2, 7, 6, 3, ("first", "second")
CFG = Transformer(d_model=16, d_mlp=24, n_heads=2, n_layers=2)
TRAINING = Training(steps=30, lr=1e-2, eval_every=5, checkpoints=4, resume_every=7)


def sequences(seed: int, n: int) -> Sequences:
    generator = torch.Generator().manual_seed(seed)

    def numbers(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, shape, generator=generator)

    return Sequences(
        tokens=numbers(VOCAB, R, n, POS),
        positions=numbers(POS, R, n, READ),
        targets=numbers(VOCAB, R, n, READ),
        groups=numbers(len(GROUPS), R, n, READ),
    )


def objective(train: Sequences | None = None) -> Answers:
    model = StackedTransformer(CFG, d_vocab=VOCAB, d_vocab_out=VOCAB, n_ctx=POS)
    return Answers(
        model,
        lambda step: sequences(1000 + step, 5),
        sequences(1, 11),
        GROUPS,
        train=train,
        loss_factor=1.5,
    )


def initial(answers: Answers) -> dict[str, torch.Tensor]:
    return answers.model.initial(torch.Generator().manual_seed(r) for r in range(R))


def test_measured_numbers_are_those_of_a_plain_loop() -> None:
    answers = objective()
    weights = initial(answers)
    found = dict(zip(answers.metrics, answers.measure(weights, 4), strict=True))
    for split, data in (("train", sequences(1004, 5)), ("test", sequences(1, 11))):
        for replicate in range(R):
            module = answers.model.module(weights, replicate)
            losses: dict[int, list[float]] = {0: [], 1: []}
            right = []
            for row in range(len(data)):
                logits = module(data.tokens[replicate, row][None])[0].double()
                for read in range(READ):
                    at = logits[data.positions[replicate, row, read]]
                    target = data.targets[replicate, row, read]
                    loss = 1.5 * functional.cross_entropy(at, target).item()
                    losses[int(data.groups[replicate, row, read])].append(loss)
                    right.append(float(at.argmax() == target))
            every = losses[0] + losses[1]
            for name, values in (
                ("loss", every),
                ("accuracy", right),
                ("loss.first", losses[0]),
                ("loss.second", losses[1]),
            ):
                expected = sum(values) / len(values)
                measured = found[split, name][replicate].item()
                assert measured == pytest.approx(expected, rel=1e-5), (split, name)


def test_a_finite_train_set_is_measured_whole() -> None:
    train = sequences(5, 9)
    answers = objective(train)
    weights = initial(answers)
    column = answers.metrics.index(("train", "loss"))
    assert torch.equal(answers.measure(weights, 3), answers.measure(weights, 8))
    assert torch.equal(answers.measure(weights, 3)[column], answers.scores(weights, train)[0])


def test_a_group_without_answers_has_no_loss() -> None:
    values = torch.tensor([[[1.0, 3.0]], [[5.0, 7.0]]])
    groups = torch.tensor([[[0, 0]], [[0, 2]]])
    means = group_means(values, groups, 3)
    assert means[:, 0].tolist() == [2.0, 5.0]
    assert means.isnan().tolist() == [[False, True, True], [False, True, False]]


def test_sequences_are_joined_and_taken_apart() -> None:
    whole = sequences(0, 4)
    parts = [
        Sequences(whole.tokens[r], whole.positions[r], whole.targets[r], whole.groups[r])
        for r in range(R)
    ]
    assert torch.equal(stack(parts).tokens, whole.tokens)
    again = concatenate([parts[0].take(slice(1)), parts[0].take(torch.tensor([1, 2, 3]))])
    assert torch.equal(again.groups, parts[0].groups)


class StoppingStore:
    """Keeps states in memory; ends the run at the second save."""

    def __init__(self) -> None:
        self.state: dict[str, torch.Tensor] | None = None
        self.saves = 0

    def load(self) -> dict[str, torch.Tensor] | None:
        return self.state

    def save(self, state: dict[str, torch.Tensor]) -> None:
        self.state = {name: value.clone() for name, value in state.items()}
        self.saves += 1
        if self.saves == 2:
            raise KeyboardInterrupt


def test_a_resumed_run_is_the_uninterrupted_one_to_the_last_bit() -> None:
    answers = objective()
    whole = Trainer(answers, TRAINING, initial(answers))
    expected = whole.run()
    store = StoppingStore()
    with pytest.raises(KeyboardInterrupt):
        Trainer(objective(), TRAINING, initial(answers), resume=store).run()
    resumed = Trainer(objective(), TRAINING, initial(answers), resume=store)
    record = resumed.run()
    assert record.curves(range(R)).equals(expected.curves(range(R)))
    for name, weight in whole.current_weights().items():
        assert torch.equal(weight, resumed.current_weights()[name])
    for ours, theirs in zip(record.checkpoints, expected.checkpoints, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
