"""Ablations against plain hooks, on a circuit built by hand, and the choice of heads."""

import math
from itertools import combinations
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from mechflow.artifacts import SCHEMAS
from mechflow.config.sections import Transformer
from mechflow.models.stacked import StackedTransformer
from mechflow.models.transformer import HookedToyTransformer
from mechflow.seeds import Seeds
from mechflow.studies.phase_changes import dataset, interventions, progress
from mechflow.studies.phase_changes.ablation import Parts, Subject
from mechflow.studies.phase_changes.config import Data, Interventions, Progress
from mechflow.studies.phase_changes.config import SkipTrigram as SkipTrigramData
from mechflow.studies.phase_changes.head_names import Head, all_heads
from mechflow.studies.phase_changes.inputs import sequences_of
from mechflow.studies.phase_changes.model import stacked_model
from mechflow.studies.phase_changes.roles import (
    final_scores,
    leading,
    random_groups,
    role_groups,
)
from mechflow.studies.phase_changes.tasks import task_of
from mechflow.training.sequences import Sequences
from tests.studies.induction_pair import D_VOCAB, DATA, MODEL, built_dataset, built_weights

SEEDS = Seeds(0, "phase_changes", "toy")
SIZES = {"d_vocab": 7, "d_vocab_out": 5, "n_ctx": 9}
ARCHITECTURES = {
    "attention only": Transformer(n_layers=2, n_heads=3, d_model=12, d_mlp=0),
    "all parts": Transformer(
        n_layers=3,
        n_heads=2,
        d_head=5,
        d_model=8,
        d_mlp=6,
        normalization="LN",
        biases=("attn", "mlp", "unembed"),
        residual_gain=2.0,
        attention_scale="sqrt_d_model",
    ),
    "binary": Transformer(
        n_heads=2,
        d_model=8,
        d_mlp=6,
        precision="binary",
        weight_scale=True,
        normalization="RMS",
        normalization_sites=("final",),
        positions="sinusoidal",
    ),
}


def random_subject(cfg: Transformer, seed: int = 0) -> tuple[HookedToyTransformer, Sequences]:
    """A model with random weights, biases too, and reads at random positions."""
    generator = torch.Generator().manual_seed(seed)
    model = StackedTransformer(cfg, **SIZES).module(
        StackedTransformer(cfg, **SIZES).initial([generator]), 0
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    n, reads = 6, (6, 4)
    tokens = torch.randint(SIZES["d_vocab"], (n, SIZES["n_ctx"]), generator=generator)
    positions = torch.randint(SIZES["n_ctx"], reads, generator=generator)
    targets = torch.randint(SIZES["d_vocab_out"], reads, generator=generator)
    return model, Sequences(tokens, positions, targets, torch.zeros_like(targets))


@torch.no_grad()
def hooked_logits(
    model: HookedToyTransformer, sequences: Sequences, parts: Parts, ablation: str
) -> Tensor:
    """What plain hooks give, with the means of a run of their own."""
    _, untouched = model.run_with_cache(sequences.tokens)

    def instead(name: str) -> Tensor:
        mean = untouched[name].mean(dim=0)
        return mean if ablation == "mean" else torch.zeros_like(mean)

    hooks = []
    for head in parts.heads:
        name = f"blocks.{head.layer}.attn.hook_z"

        def patch_head(value: Tensor, hook: object, head: Head = head, name: str = name) -> Tensor:
            value[:, :, head.number] = instead(name)[:, head.number]
            return value

        hooks.append((name, patch_head))
    for layer in parts.mlps:
        name = f"blocks.{layer}.hook_mlp_out"

        def patch_mlp(value: Tensor, hook: object, name: str = name) -> Tensor:
            return instead(name).expand_as(value)

        hooks.append((name, patch_mlp))
    logits = model.run_with_hooks(sequences.tokens, fwd_hooks=hooks)
    return logits.take_along_dim(sequences.positions[..., None], dim=1)


@pytest.mark.parametrize("ablation", ["zero", "mean"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_ablations_equal_plain_hooks(name: str, ablation: str) -> None:
    cfg = ARCHITECTURES[name]
    model, sequences = random_subject(cfg)
    subject = Subject(model, sequences, ablation)
    heads = all_heads(cfg)
    layers = range(cfg.n_layers if cfg.d_mlp else 0)
    choices = [
        Parts(),
        *(Parts((head,)) for head in heads),
        *(Parts(pair) for pair in combinations(heads, 2)),
        *(Parts(mlps=(layer,)) for layer in layers),
        *(Parts((head,), (layer,)) for head in heads for layer in layers),
        Parts(tuple(heads), tuple(layers)),
    ]
    untouched = subject.logits(Parts())
    for parts in choices:
        found = subject.logits(parts)
        torch.testing.assert_close(found, hooked_logits(model, sequences, parts, ablation))
        assert parts == Parts() or not torch.allclose(found, untouched)
    torch.testing.assert_close(subject.logits(Parts()), untouched, rtol=0, atol=0)


def test_a_head_that_says_the_same_everywhere_is_not_missed_by_mean_ablation() -> None:
    model, sequences = random_subject(ARCHITECTURES["attention only"])
    with torch.no_grad():
        for block in model.blocks:
            block.attn.W_V[1] = 0.0
    for ablation in ("zero", "mean"):
        subject = Subject(model, sequences, ablation)
        idle = Parts((Head(0, 1), Head(1, 1)))
        torch.testing.assert_close(subject.logits(idle), subject.logits(Parts()))


def built_tables(ablation: str = "zero") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both stages on checkpoints of which the last holds the pair built by hand."""
    inputs = built_inputs()
    scores = progress.run(**inputs, progress=Progress(random_draws=2))["progress"]
    cfg = Interventions(checkpoints=None, ablation=ablation)
    return scores, interventions.run(**inputs, progress=scores, interventions=cfg)["interventions"]


def built_inputs() -> dict[str, Any]:
    """What both stages are given."""
    return {
        "dataset": built_dataset(),
        "checkpoints": built_weights(),
        "data": DATA,
        "model": MODEL,
        "loss_factor": "mean",
        "seeds": SEEDS,
        "replicates": range(4, 6),
    }


@pytest.fixture(scope="module")
def ablated() -> pd.DataFrame:
    """Zero ablations of the built pair."""
    return built_tables()[1]


def losses(table: pd.DataFrame, step: int = 200, **where: object) -> list[float]:
    table = table[(table["step"] == step) & (table["metric"] == "loss")]
    for name, value in where.items():
        table = table[table[name] == value]
    return table["value"].tolist()


def test_without_its_induction_head_a_perfect_pair_guesses(ablated: pd.DataFrame) -> None:
    assert losses(ablated, site="") == pytest.approx([0.0, 0.0], abs=1e-6)
    guess = [math.log(D_VOCAB)] * 2
    assert losses(ablated, site="L1H0") == pytest.approx(guess)
    own = {"control": "none"}
    assert losses(ablated, site="induction_heads", **own) == pytest.approx(guess)
    assert min(losses(ablated, site="L0H0")) > 2.0
    assert losses(ablated, site="previous_token_heads", **own) == losses(ablated, site="L0H0")
    for site in ("L0H1", "L1H1"):
        assert losses(ablated, site=site) == pytest.approx([0.0, 0.0], abs=1e-6)


def test_random_heads_are_the_others_of_the_layer_and_harmless(ablated: pd.DataFrame) -> None:
    control = ablated[(ablated["control"] == "random_heads") & (ablated["step"] == 200)]
    assert set(control["site"]) == {"induction_heads", "previous_token_heads"}
    assert set(control["draw"]) == {0}  # one other head in each layer
    found = control[control["metric"] == "loss"]["value"].tolist()
    assert found == pytest.approx([0.0] * 4, abs=1e-6)


def test_the_table_is_as_its_schema_says(ablated: pd.DataFrame) -> None:
    assert list(ablated.columns) == [c.name for c in SCHEMAS["interventions"]] + ["step"]
    assert set(ablated["replicate"]) == {4, 5}
    assert set(ablated["step"]) == {0, 100, 200}
    assert set(ablated["metric"]) == {"loss", "accuracy", "loss.repeat.1"}
    assert set(ablated["intervention"]) == {"none", "zero_head"}
    assert not ablated.drop(columns="value").duplicated().any()
    repeats = ablated[ablated["metric"] == "loss.repeat.1"]["value"].to_numpy()
    assert repeats == pytest.approx(ablated[ablated["metric"] == "loss"]["value"].to_numpy())


def test_every_row_holds_what_the_checkpoint_of_its_step_gives(ablated: pd.DataFrame) -> None:
    """The notebook kept aliases, so that all of its checkpoints were the final weights."""
    task, weights = task_of(DATA), built_weights()
    stacked = stacked_model(task, MODEL)
    sequences = built_sequences()
    for index, step in enumerate(weights["step"].tolist()):
        state = {name: w[index] for name, w in weights.items() if name != "step"}
        for replicate in range(2):
            own = stacked.module(state, replicate)
            logits = hooked_logits(own, sequences, Parts((Head(0, 0),)), "zero")
            loss = functional.cross_entropy(logits.flatten(0, 1), sequences.targets.flatten())
            found = losses(ablated, step=step, site="L0H0")[replicate]
            assert found == pytest.approx(loss.item(), rel=1e-5)
    assert (
        len({round(value, 3) for s in (0, 100, 200) for value in losses(ablated, s, site="")}) > 2
    )


def test_a_head_that_is_perfect_only_in_the_end_gives_its_role_to_all_steps() -> None:
    scores, table = built_tables("mean")
    assert role_groups(scores, MODEL, 4) == {
        "previous_token_heads": (Head(0, 0),),
        "induction_heads": (Head(1, 0),),
    }
    for step in (0, 100, 200):
        group = losses(table, step, site="induction_heads", control="none")
        assert group == losses(table, step, site="L1H0")
    assert set(table["intervention"]) == {"none", "mean_head"}


def test_other_tasks_have_mlps_and_no_roles() -> None:
    model = Transformer(n_heads=2, d_model=8, d_mlp=6)
    data = Data(
        task="skip_trigram", skip_trigram=SkipTrigramData(n_triggers=40, seq_len=4), test_examples=9
    )
    frame = dataset.run(data=data, finite=None, seeds=SEEDS, replicates=range(1))["dataset"]
    initial = stacked_model(task_of(data), model).initial([SEEDS.torch(0, "initial weights")])
    checkpoints = {name: w[None] for name, w in initial.items()} | {"step": torch.tensor([0])}
    inputs = {
        "dataset": frame,
        "checkpoints": checkpoints,
        "data": data,
        "model": model,
        "seeds": SEEDS,
        "replicates": range(1),
    }
    scores = progress.run(**inputs, loss_factor="mean", progress=Progress())["progress"]
    plain, published = (
        interventions.run(
            **inputs, loss_factor=kind, progress=scores, interventions=Interventions()
        )["interventions"]
        for kind in ("mean", "published")
    )
    assert set(plain["site"]) == {"", "L0H0", "L0H1", "L0"}
    assert set(plain["intervention"]) == {"none", "mean_head", "mean_mlp"}
    # Triggers that do not occur among the nine sequences have no loss.
    targets = {int(text) for text in frame["targets"]}
    assert set(plain["metric"]) == {"loss", "accuracy", *(f"loss.trigger.{t}" for t in targets)}
    assert plain["value"].notna().all()
    is_loss = plain["metric"] != "accuracy"
    ratio = published["value"] / plain["value"]
    assert ratio[is_loss].to_numpy() == pytest.approx(6 / 5)
    assert published["value"][~is_loss].tolist() == plain["value"][~is_loss].tolist()


def test_only_the_first_examples_and_some_checkpoints_are_used() -> None:
    scores, table = built_tables()
    inputs = built_inputs()
    cfg = Interventions(checkpoints=2, examples=3, ablation="zero")
    few = interventions.run(**inputs, progress=scores, interventions=cfg)["interventions"]
    assert set(few["step"]) == {0, 200}
    assert losses(few, 0, site="") != losses(table, 0, site="")
    head = built_dataset().groupby("replicate").head(3)
    again = interventions.run(**{**inputs, "dataset": head}, progress=scores, interventions=cfg)
    pd.testing.assert_frame_equal(again["interventions"], few)


def built_sequences() -> Sequences:
    both = sequences_of(built_dataset(), "test")
    assert both is not None
    return Sequences(both.tokens[0], both.positions[0], both.targets[0], both.groups[0])


def test_leading_heads_have_at_least_half_of_the_best_score() -> None:
    scores = {Head(1, 2): 0.5, Head(0, 1): 1.0, Head(0, 0): 0.499, Head(1, 0): 0.9}
    assert leading(scores) == (Head(0, 1), Head(1, 0), Head(1, 2))
    assert leading({Head(0, 0): 0.0, Head(0, 1): 0.0}) == ()
    assert leading({}) == ()


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.integers(0, 10**6))
def test_random_groups_are_different_and_like_the_chosen_one(
    n_layers: int, n_heads: int, draws: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    heads = [Head(layer, index) for layer in range(n_layers) for index in range(n_heads)]
    size = int(torch.randint(1, len(heads) + 1, (), generator=generator))
    chosen = tuple(heads[i] for i in torch.randperm(len(heads), generator=generator)[:size])
    groups = random_groups(chosen, heads, draws, generator)
    layers = sorted(head.layer for head in chosen)
    for group in groups:
        assert not set(group) & set(chosen)
        assert len(set(group)) == len(group)
        assert sorted(head.layer for head in group) == layers
    assert len({frozenset(group) for group in groups}) == len(groups)
    possible = math.prod(
        math.comb(n_heads - layers.count(layer), layers.count(layer)) for layer in set(layers)
    )
    assert len(groups) == min(draws, possible)


def test_roles_go_to_layers_that_can_play_them() -> None:
    scores = ("previous_token", "prefix_matching")
    metrics = [f"{score}.L{layer}H0" for score in scores for layer in range(3)]
    final = [0.9, 0.5, 1.0, 1.0, 0.4, 0.9]
    table = pd.concat(
        [
            pd.DataFrame({"metric": metrics, "value": values}).assign(
                replicate=0, step=step, control=control
            )
            for step, control, values in (
                (0, "none", [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
                (0, "uniform", [0.1] * 6),
                (50, "none", final),
                (50, "uniform", [5.0] * 6),
            )
        ]
    )
    assert final_scores(table, "previous_token", 0) == {
        Head(0, 0): 0.9,
        Head(1, 0): 0.5,
        Head(2, 0): 1.0,
    }
    three = Transformer(n_layers=3, n_heads=1, d_model=4)
    assert role_groups(table, three, 0) == {
        "previous_token_heads": (Head(0, 0), Head(1, 0)),
        "induction_heads": (Head(2, 0),),
    }
    one = Transformer(n_layers=1, n_heads=1, d_model=4)
    assert role_groups(table, one, 0) == {"induction_heads": (Head(0, 0),)}
    assert role_groups(table[:0], three, 0) == {}


def test_names_of_heads_are_read_back() -> None:
    assert Head(0, 11).name == "L0H11"
    assert Head.named("L10H2") == Head(10, 2)
    with pytest.raises(ValueError, match="invalid"):
        Head.named("L0")
