"""Training speed on the phase changes study: the notebook's loops against the package's.

Both start from the same weights and see the same batches, on the same number of threads, in
alternation. The package is measured with its schedule of evaluations, which is how it is used, and
its update alone, which is what the notebook's loops do; batches are drawn beforehand.

    python -m bench.phase_changes [--rounds 30] [--threads 2] [--replicates 5]
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import torch

from bench import notebook_phase_changes as notebook
from bench.modular_addition import alternate, largest_gap
from mechflow.config.sections import Transformer
from mechflow.models.stacked import StackedTransformer
from mechflow.studies.phase_changes.config import Data, StreamTraining
from mechflow.studies.phase_changes.tasks import Task, task_of
from mechflow.training.answers import Answers
from mechflow.training.loop import Trainer
from mechflow.training.process import tuned_for_training
from mechflow.training.sequences import Sequences, stack

PREPARED = 8
STEPS_COMPARED = 100
STEPS_COMPARED_FLOAT64 = 20
NEVER = 10**9


@dataclass(frozen=True)
class Case:
    """One task as the notebook sets it: the loop, the sizes and the optimiser."""

    loop: notebook.Loop
    data: Data
    model: Transformer
    training: StreamTraining


def _training(**changes: object) -> StreamTraining:
    return StreamTraining.model_validate({"steps": NEVER, **changes})


CASES = {
    f"addition, d_model {width}": Case(
        notebook.addition,
        Data(task="addition"),
        Transformer(d_model=width, d_mlp=4 * width, biases=("mlp",)),
        _training(lr=1e-4, batch_size=64),
    )
    for width in (512, 128)
} | {
    "skip trigram": Case(
        notebook.skip_trigram,
        Data(task="skip_trigram"),
        Transformer(d_model=32, d_mlp=0, n_heads=1, d_head=8),
        _training(lr=1e-3, batch_size=256),
    ),
    "induction": Case(
        notebook.induction,
        Data(task="induction"),
        Transformer(
            n_layers=2, d_model=48, d_mlp=0, residual_gain=2.0, initialization="head_scaled"
        ),
        _training(
            lr=1e-3,
            weight_decay=1.0,
            betas=(0.9, 0.999),
            warmup_steps=100,
            batch_size=128,
            loss_dtype="float32",
        ),
    ),
}


def main() -> None:
    """Print the table."""
    options = _options()
    torch.set_num_threads(options.threads)
    print(f"{options.threads} thread(s); medians of alternating rounds, ms for each update\n")
    for name, case in CASES.items():
        print(name)
        compare_losses(case)
        compare_speed(case, options.rounds)
        compare_replicates(case, options.rounds, options.replicates)
        print(flush=True)


def compare_losses(case: Case) -> None:
    """How far the losses of both loops are apart, from the same weights on the same batches."""
    for steps, dtype in (
        (STEPS_COMPARED_FLOAT64, torch.float64),
        (STEPS_COMPARED, torch.float32),
    ):
        gap = largest_gap(notebook_losses(case, steps, dtype), our_losses(case, steps, dtype))
        kind = str(dtype).removeprefix("torch.")
        print(f"  largest difference of losses in {steps} updates, {kind}: {gap:.0e}")


def compare_speed(case: Case, rounds: int) -> None:
    """One model: the notebook's loop against ours, without evaluations and with all of them."""
    losses = notebook_loop(case, torch.float32)
    alone, evaluating = new_trainer(case, 1), new_trainer(case, 1, eval_every=1)
    theirs, update, both = alternate(
        {
            "notebook": lambda: next(losses),
            "update": alone.advance,
            "update and evaluation": evaluating.advance,
        },
        rounds,
    ).values()
    every = StreamTraining().eval_every
    scheduled = update + (both - update) / every
    print(f"  {'notebook':<44}{theirs * 1e3:8.2f}")
    for name, seconds in (
        ("mechflow, the update alone", update),
        (f"mechflow, both splits measured every {every}", scheduled),
    ):
        print(f"  {name:<44}{seconds * 1e3:8.2f}  {theirs / seconds:4.1f} times faster")


def compare_replicates(case: Case, rounds: int, n: int) -> None:
    """One update of a stack beside as many of the notebook's, one after the other."""
    losses, trainer = notebook_loop(case, torch.float32), new_trainer(case, n)
    steps: dict[str, Callable[[], object]] = {
        "notebook": lambda: next(losses),
        "stacked": trainer.advance,
    }
    theirs, stacked = alternate(steps, max(5, rounds // 3)).values()
    name = f"mechflow, {n} replicates stacked, each"
    print(f"  {name:<44}{stacked / n * 1e3:8.2f}  {theirs * n / stacked:4.1f} times faster")


def notebook_losses(case: Case, steps: int, dtype: torch.dtype = torch.float32) -> list[float]:
    """Losses of the notebook's loop in its first updates."""
    losses = notebook_loop(case, dtype)
    return [next(losses) for _ in range(steps)]


def our_losses(case: Case, steps: int, dtype: torch.dtype = torch.float32) -> list[float]:
    """Our losses in the first updates, from the same initial weights."""
    trainer = new_trainer(case, 1, dtype=dtype)
    losses = []
    for step in range(steps):
        with torch.no_grad():
            losses.append(trainer.objective.losses(trainer.weights, step).item())
        trainer.advance()
    return losses


def notebook_loop(case: Case, dtype: torch.dtype) -> Iterator[float]:
    """The notebook's loop on the batches and from the weights of our first replicate."""
    task = task_of(case.data)
    model = notebook.NotebookTransformer(case.model, task.d_vocab, task.d_vocab_out, task.n_ctx)
    model = model.to(dtype)
    model.load({name: w[0] for name, w in _initial(case, 1).items()})
    drawn = _batches(task, case.training, 0)
    return case.loop(model, case.training, (drawn[step % PREPARED] for step in count()))


def new_trainer(
    case: Case, n: int, *, eval_every: int = NEVER, dtype: torch.dtype = torch.float32
) -> Trainer:
    """A trainer of n replicates, each on batches of its own."""
    task = task_of(case.data)
    drawn = [_batches(task, case.training, replicate) for replicate in range(n)]
    batches = [stack(parts) for parts in zip(*drawn, strict=True)]
    generator = torch.Generator().manual_seed(1)
    test = stack([task.generate(case.data.test_examples, generator)] * n)
    objective = Answers(
        _model(case),
        lambda step: batches[step % PREPARED],
        test,
        task.groups,
        dtype=torch.promote_types(dtype, getattr(torch, case.training.loss_dtype)),
    )
    initial = {name: w.to(dtype) for name, w in _initial(case, n).items()}
    training = case.training.model_copy(update={"eval_every": eval_every})
    return Trainer(objective, training, initial)


def _model(case: Case) -> StackedTransformer:
    task = task_of(case.data)
    return StackedTransformer(
        case.model, d_vocab=task.d_vocab, d_vocab_out=task.d_vocab_out, n_ctx=task.n_ctx
    )


def _initial(case: Case, n: int) -> dict[str, torch.Tensor]:
    return _model(case).initial(torch.Generator().manual_seed(r) for r in range(n))


def _batches(task: Task, training: StreamTraining, replicate: int) -> list[Sequences]:
    generator = torch.Generator().manual_seed(replicate)
    assert training.batch_size
    return [task.generate(training.batch_size, generator) for _ in range(PREPARED)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30, help="rounds that are timed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--replicates", type=int, default=5, help="models of a stack")
    return parser.parse_args()


if __name__ == "__main__":
    with tuned_for_training():
        main()
