"""What a model and its tokenizer must pass before the study reads them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mechflow.language_models.errors import TokenisationError, UnsupportedModelError
from mechflow.language_models.self_check import PATCH_TOLERANCE, STATE_TOLERANCE
from mechflow.language_models.templates import render
from mechflow.seeds import Seeds
from mechflow.studies.number_probes import check
from mechflow.studies.number_probes.check import a_few

TEMPLATE = "{a} + {b} ="


def prompts(template: str = TEMPLATE, limit: int = 120) -> pd.DataFrame:
    rows = [(a, b) for a in range(0, limit, 7) for b in range(limit - a)]
    frame = pd.DataFrame(rows, columns=["a", "b"])
    return frame.assign(text=[render(template, a, b)[0] for a, b in rows])


def checked(model: Path, template: str = TEMPLATE, **changes: Any) -> pd.DataFrame:
    given: dict[str, Any] = {"weights": "pretrained", "limit": 120, "position": "b", "pairs": 5}
    return check.run(
        model=model,
        prompts=prompts(template),
        template=template,
        seeds=Seeds(0, "number_probes", "main"),
        device="cpu",
        **given | {"operand_digits": 2} | changes,
    )["check"]


@pytest.mark.parametrize("weights", ["pretrained", "random"])
@pytest.mark.parametrize("kind", ["tiny_llama_folder", "tiny_llama_numbers_folder"])
def test_what_was_measured_stands_beside_what_is_allowed(
    kind: str, weights: str, request: pytest.FixtureRequest
) -> None:
    found = checked(request.getfixturevalue(kind), weights=weights).set_index("quantity")
    assert found.index.tolist() == ["states", "patched_runs", "pairs_left_out"]
    assert found["allowed"].tolist()[:2] == [STATE_TOLERANCE, PATCH_TOLERANCE]
    assert (found["value"][:2] < found["allowed"][:2] / 10).all()
    # Both tokenizers give all numbers of two digits equally many tokens.
    operands = range(10, 100)
    alike = sum(
        b != other and a + b < 120 and a + other < 120
        for a in operands for b in operands for other in operands
    )  # fmt: skip
    assert found.loc["pairs_left_out", ["value", "n"]].tolist() == [0, alike]


def test_without_pairs_nothing_is_asked_of_answers_and_patches(
    tiny_llama_numbers_folder: Path,
) -> None:
    merging = "{a} {b} 1"
    assert checked(tiny_llama_numbers_folder, merging, pairs=0)["quantity"].tolist() == ["states"]
    with pytest.raises(TokenisationError, match="the answer does not begin with a token of its"):
        checked(tiny_llama_numbers_folder, merging)


def test_every_prompt_must_give_its_operand_tokens_of_its_own(
    tiny_llama_numbers_folder: Path,
) -> None:
    with pytest.raises(TokenisationError, match="holds more than operand b"):
        checked(tiny_llama_numbers_folder, "{a}, {b}0", pairs=0)


def test_a_model_that_looks_ahead_is_refused(tiny_llama_folder: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_llama_folder, tmp_path / "model"))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"is_causal": False}))
    with pytest.raises(UnsupportedModelError, match="give other states than each prompt alone"):
        checked(model, pairs=0)


def test_the_few_prompts_are_neighbours_from_all_over_and_the_longest_and_shortest() -> None:
    asked = prompts()
    few = a_few(asked)
    assert len(few) <= 10
    assert few.index.is_monotonic_increasing
    lengths = asked["text"].str.len()
    assert {lengths.min(), lengths.max()} <= set(few["text"].str.len())
    assert (pd.Series(few.index).diff() == 1).sum() >= 3
    assert few.index[0] < len(asked) / 4
    assert few.index[-1] > len(asked) * 3 / 4
    assert a_few(asked[:1]).index.tolist() == [0]
