"""Speed of reading hidden states: the notebook's loop against the package's packs of prompts.

All read the last token of the same prompts in all layers, tokenisation included, on the same number
of threads, in turns. The prompts are a run out of the middle of the study's sorted sample, such as
one of its jobs reads at a time. The notebook's loop is measured in float32, and in bfloat16 to tell
what the number format gains from what the packing gains; states are compared with its float32.

    python -m bench.extraction [--model FOLDER] [--prompts 2048] [--batch 1024] [--threads 2]
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch

from mechflow.language_models.extract import MAX_NODES, hidden_states, relative_errors
from mechflow.language_models.fetch import fetch_packaged
from mechflow.language_models.load import LanguageModel, load_language_model
from mechflow.language_models.templates import render
from mechflow.language_models.tokens import Encoded, encode
from mechflow.language_models.trie import pack_prompts
from mechflow.seeds import Seeds
from mechflow.studies.number_probes import prompts as study_prompts
from mechflow.studies.number_probes.config import Prompts

TEMPLATE = "{a} + {b}"
PACKAGED = "smollm2-135m-instruct"
OF_THE_PIPELINE = Path("results/models/smollm2")
NUMBER_FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
NOTE = "relative difference of states"
REFERENCE = "notebook's loop, float32"
States = dict[str, torch.Tensor]
"""[prompts, d_model] by site."""


def main() -> None:
    """Print the table."""
    options = _options()
    torch.set_num_threads(options.threads)
    prompts = chosen_prompts(options.prompts, options.sample)
    with model_folder(options.model) as folder:
        models = {
            name: load_language_model(folder, dtype=dtype, device=options.device)
            for name, dtype in NUMBER_FORMATS.items()
        }
    describe(models["float32"], encoded(models["float32"], prompts), options)
    loops = ways(models, prompts, options.batch)
    seconds, states = timed(loops, options.rounds)
    n_tokens = sum(map(len, encoded(models["float32"], prompts).ids))
    print(f"  {'':<26}{'prompts/s':>10}{'tokens/s':>10}{'× float32':>11}{'× bfloat16':>12}  {NOTE}")
    for name, taken in seconds.items():
        gains = [seconds[f"notebook's loop, {f}"] / taken for f in NUMBER_FORMATS]
        print(f"  {name:<26}{len(prompts) / taken:>10.0f}{n_tokens / taken:>10.0f}", end="")
        print(f"{gains[0]:>11.1f}{gains[1]:>12.1f}  {difference(states[REFERENCE], states[name])}")


def ways(
    models: Mapping[str, LanguageModel], prompts: pd.DataFrame, batch: int
) -> Mapping[str, Callable[[], States]]:
    """What is measured, by name."""
    notebook = {
        f"notebook's loop, {name}": partial(notebook_states, model, prompts, batch)
        for name, model in models.items()
    }
    ours = {
        f"mechflow, {name}": partial(our_states, model, prompts) for name, model in models.items()
    }
    return notebook | ours


@torch.no_grad()
def notebook_states(model: LanguageModel, prompts: pd.DataFrame, batch: int) -> States:
    """The notebook's loop: each batch padded to its longest prompt, all layers of all tokens.

    The notebook needs no padding, since its tokenizer writes a number as one token. It is on the
    left here, so that the last place is the last token of every prompt.
    """
    texts = prompts["text"].tolist()
    collected: dict[int, list[torch.Tensor]] = defaultdict(list)
    for first in range(0, len(texts), batch):
        inputs = model.tokenizer(
            texts[first : first + batch], return_tensors="pt", padding=True, padding_side="left"
        )
        output = model.backbone(**inputs.to(model.device), output_hidden_states=True)
        for layer, states in enumerate(output.hidden_states):
            collected[layer].extend(states[:, -1, :].detach().cpu())
    # transformers gives the last layer after the final norm only.
    sites = (*model.sites[:-2], model.sites[-1])
    return {sites[layer]: torch.stack(rows) for layer, rows in collected.items()}


def our_states(model: LanguageModel, prompts: pd.DataFrame) -> States:
    """The same states, and those before the final norm, from packs of prompts."""
    states = hidden_states(model, encoded(model, prompts))
    return {site: values[:, 0] for site, values in states.items()}


def encoded(model: LanguageModel, prompts: pd.DataFrame) -> Encoded:
    """Prompts as tokens, to be read where the second operand ends, which is the last token."""
    numbers = zip(prompts["a"].tolist(), prompts["b"].tolist(), strict=True)
    spans = [render(TEMPLATE, a, b)[1] for a, b in numbers]
    return encode(model.tokenizer, prompts["text"].tolist(), spans, ["b"])


def chosen_prompts(n_prompts: int, sample: int) -> pd.DataFrame:
    """Successive prompts out of the middle of the study's sample."""
    seeds = Seeds(root=0, study="number_probes", variant="")
    drawn = study_prompts.run(prompts=Prompts(template=TEMPLATE, sample=sample), seeds=seeds)
    first = max(0, (sample - n_prompts) // 2)
    return drawn["prompts"].iloc[first : first + n_prompts]


def timed(
    loops: Mapping[str, Callable[[], States]], rounds: int
) -> tuple[dict[str, float], dict[str, States]]:
    """Median seconds of each way, measured in turns, and the states it gave."""
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    states: dict[str, States] = {}
    for _ in range(rounds):
        for name, loop in loops.items():
            states.pop(name, None)
            began = time.perf_counter()
            # The states are on the CPU, so that nothing of the work is still under way.
            states[name] = loop()
            seconds[name].append(time.perf_counter() - began)
    return {name: sorted(taken)[len(taken) // 2] for name, taken in seconds.items()}, states


def difference(reference: States, states: States) -> str:
    """Relative difference of the states that both have, over prompts and layers."""
    exact, found = (
        torch.stack([values[site].float() for site in reference]) for values in (reference, states)
    )
    median, largest = relative_errors({"all": exact}, {"all": found})["all"]
    return f"median {median:.0e}, largest {largest:.0e}"


def describe(model: LanguageModel, prompts: Encoded, options: argparse.Namespace) -> None:
    """Says what is read, and how many tokens packing leaves."""
    nominal = sum(map(len, prompts.ids))
    packs = pack_prompts(prompts.ids, prompts.positions, MAX_NODES)
    nodes = sum(len(pack.tokens) for pack in packs)
    print(f"{len(prompts.ids)} prompts {TEMPLATE!r}, all {len(model.sites)} sites")
    print(f"{nominal} tokens; packed {nodes}, {nominal / nodes:.1f} times fewer")
    print(f"{options.threads} thread(s), {options.device}; medians of {options.rounds} rounds")


@contextmanager
def model_folder(given: Path | None) -> Iterator[Path]:
    """The folder of the model: as given, as the pipeline left it, or fetched for the time being."""
    if given is not None:
        yield given
    elif OF_THE_PIPELINE.is_dir():
        yield OF_THE_PIPELINE
    else:
        with TemporaryDirectory() as folder:
            fetch_packaged(PACKAGED, Path(folder, PACKAGED))
            yield Path(folder, PACKAGED)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder of a model; default: SmolLM2-135M")
    parser.add_argument(
        "--prompts", type=int, default=2048, help="successive prompts that are read"
    )
    parser.add_argument(
        "--sample", type=int, default=20000, help="prompts of which these are a run"
    )
    parser.add_argument(
        "--batch", type=int, default=1024, help="prompts in a batch of the notebook"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds that are timed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
