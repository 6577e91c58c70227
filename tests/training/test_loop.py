"""The training loop against a plain one, and its resumption to the last bit."""

import math

import pytest
import torch
from torch.nn import functional

from mechflow.config.sections import EarlyStop, Training, Transformer
from mechflow.models.stacked import StackedTransformer
from mechflow.training.evaluate import flip_rates, replicate_losses
from mechflow.training.examples import Examples
from mechflow.training.full_batch import FullBatch
from mechflow.training.loop import Trainer

P, R = 7, 2
CFG = Transformer(d_model=16, d_mlp=24)
TRAINING = Training(steps=40, lr=1e-2, eval_every=5, checkpoints=6, resume_every=7)


def examples(seed: int, n: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randint(P, (R, n, 2), generator=generator)
    tokens = torch.cat([pairs, torch.full((R, n, 1), P)], -1)
    return Examples(tokens, pairs.sum(-1) % P)


TRAIN, TEST = examples(0, 30), examples(1, 19)


def trainer(
    cfg: Transformer = CFG, training: Training = TRAINING, resume: object = None
) -> Trainer:
    model = StackedTransformer(cfg, d_vocab=P + 1, d_vocab_out=P, n_ctx=3)
    initial = model.initial(torch.Generator().manual_seed(r) for r in range(R))
    objective = FullBatch(model, TRAIN, TEST, initial, dtype=getattr(torch, training.loss_dtype))
    return Trainer(objective, training, initial, resume=resume)


class InterruptedRunError(Exception):
    pass


class MemoryStore:
    """Keeps the state in memory and kills the run after a number of saves."""

    def __init__(self, saves_before_kill: int | None = None) -> None:
        self.state: dict[str, torch.Tensor] | None = None
        self.left = saves_before_kill

    def load(self) -> dict[str, torch.Tensor] | None:
        return self.state

    def save(self, state: dict[str, torch.Tensor]) -> None:
        self.state = {name: value.clone() for name, value in state.items()}
        if self.left is not None:
            self.left -= 1
            if not self.left:
                self.left = None
                raise InterruptedRunError


@pytest.mark.parametrize("replicate", range(R))
def test_stacked_training_is_each_hooked_module_trained_alone_by_plain_adamw(
    replicate: int,
) -> None:
    run = trainer()
    module = run.objective.model.module(run.current_weights(), replicate)
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=TRAINING.lr, betas=TRAINING.betas, weight_decay=1.0
    )
    losses = []
    for step in range(TRAINING.steps):
        optimizer.param_groups[0]["lr"] = TRAINING.lr * min(1.0, (step + 1) / 10)
        logits = module(TRAIN.tokens[replicate])[:, -1].double()
        loss = functional.cross_entropy(logits, TRAIN.labels[replicate])
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    record = run.run()
    ours = [row[0, replicate].item() for row in record.history[:-1]]
    assert ours == pytest.approx(losses[::5], abs=1e-5)
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(
            run.weights[name][replicate].detach(), parameter.detach(), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("precision", ["full", "binary"])
@pytest.mark.parametrize("kills", [1, 3, 5])
def test_interrupted_and_resumed_is_uninterrupted_bit_for_bit(precision: str, kills: int) -> None:
    cfg = CFG.model_copy(update={"precision": precision})
    whole = trainer(cfg)
    expected = whole.run()
    store = MemoryStore(saves_before_kill=kills)
    with pytest.raises(InterruptedRunError):
        trainer(cfg, resume=store).run()
    resumed = trainer(cfg, resume=store)
    record = resumed.run()
    assert record.steps == expected.steps
    assert record.checkpoint_steps == expected.checkpoint_steps
    torch.testing.assert_close(
        torch.stack(record.history), torch.stack(expected.history), rtol=0, atol=0, equal_nan=True
    )
    for ours, theirs in zip(record.checkpoints, expected.checkpoints, strict=True):
        assert all(torch.equal(ours[n], theirs[n]) for n in theirs)
    final, wanted = resumed.current_weights(), whole.current_weights()
    assert all(torch.equal(final[n], wanted[n]) for n in wanted)


def test_checkpoints_are_copies_and_not_aliases_of_the_last_weights() -> None:
    run = trainer()
    record = run.run()
    w_e = [c["embed.W_E"] for c in record.checkpoints]
    assert record.checkpoint_steps[0] == 0
    assert all(not torch.equal(w_e[i], w_e[i + 1]) for i in range(len(w_e) - 1))
    assert len({w.data_ptr() for w in w_e}) == len(w_e)
    assert torch.equal(w_e[-1], run.weights["embed.W_E"].detach())


def test_first_evaluation_is_of_the_untrained_model() -> None:
    run = trainer()
    initial = run.current_weights()
    record = run.run()
    logits = run.objective.model.last_logits(initial, TRAIN.tokens)
    expected = replicate_losses(logits, TRAIN.labels, torch.float64)
    torch.testing.assert_close(record.history[0][0], expected)


@pytest.mark.parametrize("extra_steps", [0, 4])
def test_early_stop_ends_training_with_a_last_evaluation_and_checkpoint(extra_steps: int) -> None:
    always = EarlyStop(test_accuracy=1e-3, sustained=2, extra_steps=extra_steps)
    record = trainer(training=TRAINING.model_copy(update={"stop": always})).run()
    assert record.steps[-1] == record.checkpoint_steps[-1] < TRAINING.steps
    # The rule is met at an evaluation and acted on after the update that follows it.
    assert record.steps[-1] - record.steps[-2] == max(1, extra_steps)


def test_flip_rate_counts_the_levels_that_one_update_changes() -> None:
    run = trainer(CFG.model_copy(update={"precision": "binary"}))
    record = run.run()
    column = record.metrics.index(("", "flip_rate.blocks.0.mlp.W_in"))
    rates = torch.stack(record.history)[:, column]
    assert ((rates[:-1] >= 0) & (rates[:-1] <= 1)).all()
    assert (rates[:-1] > 0).any()
    assert rates[-1].isnan().all()
    before = {"m": torch.tensor([[1.0, -1.0, 1.0, -1.0]])}
    after = {"m": torch.tensor([[1.0, 1.0, -1.0, -1.0]])}
    assert flip_rates(before, after).item() == 0.5


def test_losses_are_means_over_examples_in_nats() -> None:
    logits = torch.zeros(R, 5, P)
    labels = torch.zeros(R, 5, dtype=torch.long)
    losses = replicate_losses(logits, labels, torch.float64)
    torch.testing.assert_close(losses, torch.full((R,), math.log(P), dtype=torch.float64))


def test_float64_loss_resolves_what_float32_rounds_to_zero() -> None:
    logits = torch.tensor([[[20.0, 0.0]]])
    labels = torch.zeros(1, 1, dtype=torch.long)
    assert replicate_losses(logits, labels, torch.float32).item() == 0.0
    assert replicate_losses(logits, labels, torch.float64).item() == pytest.approx(
        math.exp(-20), rel=1e-6
    )


def test_training_touches_no_global_random_state() -> None:
    before = torch.get_rng_state()
    trainer().run()
    assert torch.equal(before, torch.get_rng_state())
