"""The model's own answers to the prompts, by greedy decoding."""

from pathlib import Path
from typing import Literal

import pandas as pd

from mechflow.seeds import Seeds
from mechflow.studies.number_probes.config import Behaviour

COLUMNS = ["example", "a", "b", "expected", "answer", "correct", "first_token_correct"]


def run(
    *,
    model: Path,
    prompts: pd.DataFrame,
    weights: Literal["pretrained", "random"],
    template: str,
    dtype: str,
    behaviour: Behaviour,
    seeds: Seeds,
    device: str,
) -> dict[str, pd.DataFrame]:
    """Answers to a sample of the prompts, or none if none is asked for."""
    if not behaviour.prompts:
        return {"behaviour": pd.DataFrame({name: pd.Series(dtype="int64") for name in COLUMNS})}
    # It imports transformers, which takes seconds: only where there is something to ask.
    from mechflow.studies.number_probes.asking import ask

    answers = ask(
        model=model,
        prompts=prompts,
        weights=weights,
        template=template,
        dtype=dtype,
        behaviour=behaviour,
        seeds=seeds,
        device=device,
    )
    return {"behaviour": answers[COLUMNS]}
