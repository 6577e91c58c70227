"""Training of number probes: the notebook's loop, probe after probe, against the package's.

    python -m bench.probes [--states FILE] [--layers 4 12 20 25] [--steps 200] [--threads 2]

FILE is a safetensors file with the states `h` [layer, prompt, d] and the number `b` [prompt] that
they are read for; without one, states with a planted sinusoidal code are made up. All contenders
see as many minibatches of one size and as many evaluations, on the same folds of the numbers. The
accuracies are those on held-out numbers, so that what the time buys can be seen.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from mechflow.probes.bases import binary_basis, digit_basis, sinusoidal_basis
from mechflow.probes.number_split import NumberSplit
from mechflow.probes.readout import Readout, ReadoutFit, train_readouts
from mechflow.probes.readout_settings import PUBLISHED, ReadoutSettings
from mechflow.probes.readout_training import Examples, ReadoutStack, product_dtype
from mechflow.spacing import evenly_spaced
from mechflow.training.process import keep_freed_memory, tuned_for_training

NUMBERS = 1000
FOLDS = 10
ROUNDS = 15


@dataclass(frozen=True)
class Layer:
    """States of one layer and the numbers they are read for."""

    number: int
    states: Tensor
    labels: Tensor


class NotebookProbe(nn.Module):
    """The notebook's probe: two linear maps and the products of what they give."""

    def __init__(self, d: int, basis: Tensor, excluded: Tensor) -> None:
        super().__init__()
        self.into = nn.Linear(d, 100)
        self.out = nn.Linear(basis.shape[1], 100)
        self.basis: Tensor
        self.excluded: Tensor
        self.register_buffer("basis", basis)
        self.register_buffer("excluded", excluded)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """Logits of all numbers, in training without the excluded ones."""
        logits = self.into(x) @ self.out(self.basis).T
        if training:
            logits[:, self.excluded] = -torch.inf
        return logits


def main() -> None:
    """Print the tables."""
    options = _options()
    torch.set_num_threads(options.threads)
    layers = list(_layers(options))
    rows, d = layers[0].states.shape
    print(f"{len(layers)} layers of {rows} states of width {d}, {options.threads} thread(s)\n")
    for batch in (ReadoutSettings().batch, PUBLISHED.batch):
        compare_steps(layers[0], batch)
    compare_sweeps(layers, options)


def compare_steps(layer: Layer, batch: int) -> None:
    """One update of one probe, in alternation."""
    print(f"one update of one probe, batch {batch}: ms, median of {ROUNDS} rounds")
    split = fold(0)
    for name, basis in bases(layer.states.shape[1]).items():
        probe = NotebookProbe(layer.states.shape[1], basis, split.test)
        contenders = {"notebook": notebook_updates(probe, layer, split, batch)}
        for precision in ("float32", "bfloat16"):
            cfg = replace(PUBLISHED, batch=batch, precision=precision)
            contenders[f"mechflow {precision}"] = our_updates(layer, basis, split, cfg)
        times = alternate(contenders)
        first = times["notebook"]
        cells = [f"{label} {1e3 * s:6.2f} ({first / s:.1f}×)" for label, s in times.items()]
        print(f"  {name:<12}{'   '.join(cells)}")
    print()


def compare_sweeps(layers: list[Layer], options: argparse.Namespace) -> None:
    """All layers, bases and folds, with the notebook's loop and with ours."""
    settings = ReadoutSettings(steps=options.steps, batch=options.batch)
    same = replace(
        PUBLISHED,
        steps=options.steps,
        batch=options.batch,
        eval_every=settings.eval_every,
        valid_rows=settings.valid_rows,
        precision="bfloat16",
    )
    names = list(bases(2))
    probes = len(layers) * len(names) * options.folds
    print(f"{probes} probes: {options.steps} updates of batch {options.batch}, then the accuracy")
    print(f"on held-out numbers; the notebook layer after layer on {options.threads} thread(s),")
    print(f"mechflow layer beside layer in {options.threads} process(es) of one, as its jobs run")
    with _workers(options.threads) as pool:
        ours = partial(_in_processes, pool, layers, options.folds)
        contenders: dict[str, Callable[[], list[list[ReadoutFit]]]] = {
            "notebook": lambda: [notebook_layer(layer, options.folds, same) for layer in layers],
            "mechflow, the notebook's settings": lambda: ours(same),
            "mechflow": lambda: ours(settings),
        }
        seconds = {}
        for label, sweep in contenders.items():
            start = time.perf_counter()
            fits = sweep()
            seconds[label] = time.perf_counter() - start
            for layer, of_layer in zip(layers, fits, strict=True):
                found = [held_out_accuracy(fit, layer) for fit in of_layer]
                means = [sum(found[k :: len(names)]) / options.folds for k in range(len(names))]
                cells = [f"{name} {mean:.3f}" for name, mean in zip(names, means, strict=True)]
                print(f"  layer {layer.number:<3} {label:<35}{'   '.join(cells)}", flush=True)
    first = seconds["notebook"]
    for label, total in seconds.items():
        per_probe = f"{1e3 * total / probes:.0f} ms a probe"
        print(f"  {label:<35}{total:7.1f} s, {per_probe}, {first / total:.1f}×")


@contextmanager
def _workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of one thread that have imported torch."""
    with ProcessPoolExecutor(count, get_context("spawn"), _one_thread) as pool:
        list(pool.map(time.sleep, [2.0] * count))
        yield pool


def _one_thread() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    torch.set_flush_denormal(True)


def _in_processes(
    pool: ProcessPoolExecutor, layers: list[Layer], folds: int, cfg: ReadoutSettings
) -> list[list[ReadoutFit]]:
    return list(pool.map(our_layer, layers, [folds] * len(layers), [cfg] * len(layers)))


def notebook_layer(layer: Layer, folds: int, cfg: ReadoutSettings) -> list[ReadoutFit]:
    """The notebook's probes of one layer, one after another."""
    fits = []
    states = layer.states.float()
    for k in range(folds):
        split = fold(k)
        valid = split.rows("valid", layer.labels)
        valid = valid[evenly_spaced(len(valid), cfg.valid_rows)]
        for basis in bases(states.shape[1]).values():
            probe = NotebookProbe(states.shape[1], basis, split.test)
            update = notebook_updates(probe, layer, split, cfg.batch)
            best = -1.0
            for step in range(1, cfg.steps + 1):
                update()
                if step % cfg.eval_every == 0 or step == cfg.steps:
                    with torch.no_grad():
                        logits = probe(states[valid], training=False)
                        F.cross_entropy(logits, layer.labels[valid]).item()
                        hits = logits.argmax(-1) == layer.labels[valid]
                        best = max(best, hits.float().mean().item())
            fits.append(
                ReadoutFit(
                    W_in=probe.into.weight.detach(),
                    b_in=probe.into.bias.detach(),
                    W_out=probe.out.weight.detach(),
                    b_out=probe.out.bias.detach(),
                    readout=Readout(basis, split),
                    steps=cfg.steps,
                    kept_step=cfg.steps,
                )
            )
    return fits


def notebook_updates(
    probe: NotebookProbe, layer: Layer, split: NumberSplit, batch: int
) -> Callable[[], None]:
    """A function that trains the probe for one step, as the notebook does."""
    rows = split.rows("train", layer.labels)
    states, labels = layer.states[rows].float(), layer.labels[rows]
    optimizer = torch.optim.Adam(probe.parameters(), lr=PUBLISHED.lr)
    generator = torch.Generator().manual_seed(0)

    def update() -> None:
        optimizer.zero_grad()
        drawn = torch.randint(len(labels), size=(batch,), generator=generator)
        loss = F.cross_entropy(probe(states[drawn], training=True), labels[drawn])
        loss = loss + PUBLISHED.l1 * sum(p.abs().sum() for p in probe.parameters())
        torch.autograd.backward(loss)
        optimizer.step()

    return update


def our_layer(layer: Layer, folds: int, cfg: ReadoutSettings) -> list[ReadoutFit]:
    """Our readouts of one layer."""
    choices = bases(layer.states.shape[1]).values()
    readouts = [Readout(basis, fold(k)) for k in range(folds) for basis in choices]
    generators = [torch.Generator().manual_seed(i) for i in range(len(readouts))]
    return train_readouts(layer.states, layer.labels, readouts, cfg, generators)


def our_updates(
    layer: Layer, basis: Tensor, split: NumberSplit, cfg: ReadoutSettings
) -> Callable[[], None]:
    """A function that trains one of our readouts for one step."""
    rows = split.rows("train", layer.labels)
    states, labels = layer.states[rows].to(product_dtype(cfg)), layer.labels[rows]
    examples = Examples(states, labels, states[:1].float(), labels[:1])
    candidates = (~split.test).nonzero()[:, 0]
    generator = torch.Generator().manual_seed(0)
    stack = ReadoutStack(examples, [basis], candidates, cfg, [generator])
    return lambda: stack.update(stack.minibatches(1)[0], cfg.lr)


def held_out_accuracy(fit: ReadoutFit, layer: Layer) -> float:
    """Share of the prompts of test numbers that are read right."""
    rows = fit.readout.split.rows("test", layer.labels)
    answers = fit.logits(layer.states[rows].float()).argmax(-1)
    return (answers == layer.labels[rows]).double().mean().item()


def alternate(contenders: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Median seconds of each over rounds in which all take their turn."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, update in contenders.items():
            update()
            start = time.perf_counter()
            for _ in range(5):
                update()
            times[name].append((time.perf_counter() - start) / 5)
    return {name: sorted(found)[len(found) // 2] for name, found in times.items()}


def bases(d: int) -> dict[str, Tensor]:
    """The notebook's two bases, and the digits."""
    return {
        "sinusoidal": sinusoidal_basis(NUMBERS, d),
        "binary": binary_basis(NUMBERS),
        "digits": digit_basis(NUMBERS),
    }


def fold(k: int) -> NumberSplit:
    """A tenth of the numbers for test, half of the next tenth for valid."""
    place = torch.randperm(NUMBERS, generator=torch.Generator().manual_seed(0)) * FOLDS
    rank = (place / NUMBERS - k) % FOLDS
    test, valid = rank < 1, (rank >= 1) & (rank < 1.5)
    return NumberSplit(train=~test & ~valid, valid=valid, test=test)


def _layers(options: argparse.Namespace) -> list[Layer]:
    if options.states is None:
        return [synthetic_layer(i) for i in options.layers]
    with safe_open(options.states, "pt") as file:
        states, labels = file.get_slice("h"), file.get_tensor("b").long()
        return [Layer(i, states[i], labels) for i in options.layers]


def synthetic_layer(number: int, d: int = 576, prompts: int = 20) -> Layer:
    """States that hold twelve circles of the sinusoidal basis, with noise that grows by layer."""
    generator = torch.Generator().manual_seed(number)
    labels = torch.arange(NUMBERS).repeat_interleave(prompts)
    circles = torch.randperm(d // 2, generator=generator)[:12]
    code = sinusoidal_basis(NUMBERS, d).view(NUMBERS, -1, 2)[:, circles].flatten(1)
    mix = torch.randn(code.shape[1], d, generator=generator)
    noise = 0.1 * (number + 1) * torch.randn(len(labels), d, generator=generator)
    return Layer(number, ((code @ mix)[labels] + noise).bfloat16(), labels)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=Path, help="safetensors file with h and b")
    parser.add_argument("--layers", type=int, nargs="+", default=[4, 12, 20, 25])
    parser.add_argument("--folds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=ReadoutSettings().steps)
    parser.add_argument("--batch", type=int, default=PUBLISHED.batch)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    with tuned_for_training():
        main()
