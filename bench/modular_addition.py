"""Training speed on modular addition at p = 113: the notebook's loop against the package's.

Both start from the same weights and see the same examples, on the same number of threads, in
alternation. The package is measured with its schedule of evaluations, which is how it is used, and
with the test loss at every epoch, which is what the notebook does.

    python -m bench.modular_addition [--epochs 40] [--threads 2] [--device cpu|cuda]
"""

import argparse
import time
from collections.abc import Callable, Mapping

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.notebook_loop import NotebookTransformer
from bench.notebook_loop import train as notebook_epochs
from mechflow.config.sections import Training, Transformer
from mechflow.models.stacked import StackedTransformer
from mechflow.studies.modular_addition.dataset import labels, pairs, train_mask
from mechflow.studies.modular_addition.inputs import all_tokens
from mechflow.training.evaluate import loss_and_accuracy
from mechflow.training.examples import Examples
from mechflow.training.full_batch import FullBatch
from mechflow.training.loop import Trainer
from mechflow.training.process import tuned_for_training

P = 113
SPLIT_SEED = 598
ARCHITECTURES = {
    "full precision (TransformerLens' demo)": Transformer(initialization="transformer_lens"),
    "binary (the notebook)": Transformer(
        positions="none",
        causal=False,
        normalization="RMS",
        normalization_sites=("final",),
        attention_scale="sqrt_d_model",
        precision="binary",
        initialization="torch",
    ),
}
TRAINING = Training(steps=10**9, warmup_steps=0)
TokensAndLabels = tuple[torch.Tensor, torch.Tensor]
EPOCHS_COMPARED = 200
EPOCHS_COMPARED_FLOAT64 = 20


def main() -> None:
    """Print the table."""
    options = _options()
    torch.set_num_threads(options.threads)
    rate = matmul_rate(options.device)
    print(f"p = {P}, {options.threads} thread(s), {options.device}; medians of alternating rounds")
    print(f"float32 matrix products on this machine: {rate / 1e9:.0f} GFLOP/s\n")
    for name, cfg in ARCHITECTURES.items():
        print(name)
        if options.device == "cpu":
            compare_losses(cfg)
            compare_with_notebook(cfg, options.epochs, rate)
        compare_replicates(cfg, options, rate)
        print()


def compare_with_notebook(cfg: Transformer, epochs: int, rate: float) -> None:
    """One model: the notebook's loop against ours, with evaluations as seldom and as often."""
    notebook = notebook_epochs(*_notebook(cfg))
    alone = new_trainer(cfg, 1, TRAINING)
    evaluating = new_trainer(cfg, 1, TRAINING.model_copy(update={"eval_every": 1}))
    theirs, update, both = alternate(
        {
            "notebook": lambda: next(notebook),
            "update": alone.advance,
            "update and evaluation": evaluating.advance,
        },
        epochs,
    ).values()
    scheduled = update + (both - update) / TRAINING.eval_every
    print(f"  {'notebook, test loss every epoch':<40}{theirs * 1e3:7.1f} ms/epoch")
    for name, seconds in (
        (f"mechflow, evaluated every {TRAINING.eval_every} epochs", scheduled),
        ("mechflow, evaluated every epoch", both),
    ):
        print(f"  {name:<40}{seconds * 1e3:7.1f} ms/epoch, {theirs / seconds:.1f} times faster")
    share = epoch_flops(cfg) / update / rate
    print(f"  {'mechflow, the update alone':<40}{update * 1e3:7.1f} ms/epoch, {_share(share)}")


def compare_losses(cfg: Transformer) -> None:
    """How far the train losses of both loops are apart, from the same weights.

    In float32 trajectories part at the rate at which rounding errors grow in training: the
    notebook's loop parts from itself when its examples are put in another order. On the same
    weights, and in float64, the losses must agree.
    """
    print("  largest difference of train losses after so many epochs")
    theirs, ours = notebook_losses(cfg, EPOCHS_COMPARED), our_losses(cfg, EPOCHS_COMPARED)
    reordered = notebook_losses(cfg, EPOCHS_COMPARED, reordered=True)
    for span in (10, 50, EPOCHS_COMPARED):
        gap, noise = (largest_gap(theirs[:span], other) for other in (ours, reordered))
        print(f"    {span:4d} float32: mechflow {gap:.0e}, examples reordered {noise:.0e}")
    same = same_weights_gap(cfg, EPOCHS_COMPARED)
    print(f"    {EPOCHS_COMPARED:4d} float32: on the notebook's weights of each epoch {same:.0e}")
    span = EPOCHS_COMPARED_FLOAT64
    exact = notebook_losses(cfg, span, torch.float64), our_losses(cfg, span, torch.float64)
    print(f"    {span:4d} float64: mechflow {largest_gap(*exact):.0e}")


def same_weights_gap(cfg: Transformer, epochs: int) -> float:
    """Largest difference of the two train losses on the weights that the notebook's loop visits."""
    model, training, train, test = _notebook(cfg)
    ours = new_trainer(cfg, 1, TRAINING).objective
    assert isinstance(ours, FullBatch)
    losses = notebook_epochs(model, training, train, test)
    gap = 0.0
    for _ in range(epochs):
        stacked = {name: w[None].clone() for name, w in model.weights().items()}
        loss, _ = loss_and_accuracy(ours.model, stacked, ours.splits["train"], ours.dtype)
        gap = max(gap, abs(next(losses)[0] - loss.item()))
    return gap


def largest_gap(first: list[float], second: list[float]) -> float:
    """Largest difference of two curves over the length of the first."""
    return max(abs(a - b) for a, b in zip(first, second, strict=False))


def compare_replicates(cfg: Transformer, options: argparse.Namespace, rate: float) -> None:
    """Ours for stacks of replicates."""
    counts = (5,) if options.device == "cpu" else (1, 32)
    trainers = {f"{n} stacked": new_trainer(cfg, n, TRAINING, options.device) for n in counts}
    rounds = alternate({k: t.advance for k, t in trainers.items()}, max(5, options.epochs // 4))
    for n, seconds in zip(counts, rounds.values(), strict=True):
        name = f"mechflow, {n} replicates stacked, update"
        share = epoch_flops(cfg) * n / seconds / rate
        print(f"  {name:<40}{seconds / n * 1e3:7.1f} ms/epoch each, {_share(share)}")


def _share(share: float) -> str:
    return f"{share:.0%} of the rate of matrix products"


def alternate(steps: Mapping[str, Callable[[], object]], epochs: int) -> dict[str, float]:
    """Median seconds of each step, measured in turns so that all see the same machine."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(epochs + 2):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_number >= 2:
                seconds[name].append(time.perf_counter() - began)
    return {name: sorted(s)[len(s) // 2] for name, s in seconds.items()}


def matmul_rate(device: str) -> float:
    """Floating point operations a second of a large float32 matrix product: the best of ten."""
    n = 2048
    a, b = torch.ones(n, n, device=device), torch.ones(n, n, device=device)
    step = {"matmul": lambda: a @ b}
    return max(2 * n**3 / alternate(step, 1)["matmul"] for _ in range(10))


def epoch_flops(cfg: Transformer) -> int:
    """Operations in the matrix products of one of our updates of one replicate."""
    trainer = new_trainer(cfg, 1, TRAINING)
    trainer.advance()
    with FlopCounterMode(display=False) as counter:
        trainer.advance()
    return counter.get_total_flops()


def new_trainer(
    cfg: Transformer,
    n: int,
    training: Training,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Trainer:
    """A trainer of n replicates on the demo's split."""
    model = StackedTransformer(cfg, d_vocab=P + 1, d_vocab_out=P, n_ctx=3)
    train, test = (Examples(*(t.expand(n, *t.shape) for t in part)) for part in split())
    weights = initial(cfg, n, dtype)
    objective = FullBatch(
        model, train, test, weights, dtype=getattr(torch, training.loss_dtype), device=device
    )
    return Trainer(objective, training, weights, device=device)


def initial(
    cfg: Transformer, n: int, dtype: torch.dtype = torch.float32
) -> dict[str, torch.Tensor]:
    """Initial weights of n replicates."""
    model = StackedTransformer(cfg, d_vocab=P + 1, d_vocab_out=P, n_ctx=3)
    weights = model.initial(torch.Generator().manual_seed(r) for r in range(n))
    return {name: w.to(dtype) for name, w in weights.items()}


def split() -> tuple[TokensAndLabels, TokensAndLabels]:
    """The train and the test pairs."""
    mask = train_mask(P, 0.3, "ordered", torch.Generator().manual_seed(SPLIT_SEED))
    tokens, answers = all_tokens(P), labels(*pairs(P), P, "add")
    return (tokens[mask], answers[mask]), (tokens[~mask], answers[~mask])


def notebook_losses(
    cfg: Transformer,
    epochs: int,
    dtype: torch.dtype = torch.float32,
    *,
    reordered: bool = False,
) -> list[float]:
    """Train losses of the notebook's loop in its first epochs."""
    model, training, train, test = _notebook(cfg, dtype)
    if reordered:
        train = (train[0].flip(0), train[1].flip(0))
    losses = notebook_epochs(model, training, train, test)
    return [next(losses)[0] for _ in range(epochs)]


def our_losses(cfg: Transformer, epochs: int, dtype: torch.dtype = torch.float32) -> list[float]:
    """Our train losses in the first epochs, from the same initial weights."""
    trainer = new_trainer(cfg, 1, TRAINING.model_copy(update={"eval_every": 1}), dtype=dtype)
    for _ in range(epochs):
        trainer.advance()
    return [row[0, 0].item() for row in trainer.record.history]


def _notebook(
    cfg: Transformer, dtype: torch.dtype = torch.float32
) -> tuple[NotebookTransformer, Training, TokensAndLabels, TokensAndLabels]:
    model = NotebookTransformer(cfg, P + 1, P, 3).to(dtype)
    model.load({name: w[0] for name, w in initial(cfg, 1, dtype).items()})
    return model, TRAINING, *split()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40, help="rounds that are timed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    return parser.parse_args()


if __name__ == "__main__":
    with tuned_for_training():
        main()
