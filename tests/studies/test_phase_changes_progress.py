"""Scores by checkpoint: of a circuit built by hand, against naive computation, identities."""

import math
import warnings

import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mechflow.artifacts import SCHEMAS
from mechflow.config.sections import Transformer
from mechflow.models.quantise import quantise
from mechflow.models.transformer import HookedToyTransformer
from mechflow.seeds import Seeds
from mechflow.studies.phase_changes import dataset, progress
from mechflow.studies.phase_changes.circuit_scores import copying, matched, trigger_attention
from mechflow.studies.phase_changes.config import Addition, Data, Progress, SkipTrigram
from mechflow.studies.phase_changes.heads import observe, of_replicate
from mechflow.studies.phase_changes.inputs import sequences_of
from mechflow.studies.phase_changes.model import stacked_model
from mechflow.studies.phase_changes.tasks import task_of
from mechflow.studies.phase_changes.tasks.induction import Induction
from mechflow.training.sequences import Sequences
from tests.studies.induction_pair import (
    D_VOCAB,
    DATA,
    EXAMPLES,
    MODEL,
    SEQ_LEN,
    built_dataset,
    built_weights,
)

SEEDS = Seeds(0, "phase_changes", "toy")
REPLICATES = range(4, 6)
TRIGGERS = Data(
    task="skip_trigram", skip_trigram=SkipTrigram(n_triggers=3, seq_len=5), test_examples=40
)
SUMS = Data(addition=Addition(n_digits=2), test_examples=30)


def measured(
    data: Data, model: Transformer, loss_factor: str = "mean", **settings: object
) -> tuple[pd.DataFrame, dict[str, Tensor], pd.DataFrame]:
    """The table, the random checkpoints that it measures (at steps 0 and 30), and the dataset."""
    frame = dataset.run(data=data, finite=None, seeds=SEEDS, replicates=REPLICATES)["dataset"]
    stacked = stacked_model(task_of(data), model)
    states = [
        stacked.initial(SEEDS.torch(replicate, f"weights {step}") for replicate in REPLICATES)
        for step in (0, 30)
    ]
    checkpoints = {name: torch.stack([s[name] for s in states]) for name in states[0]}
    checkpoints["step"] = torch.tensor([0, 30])
    table = progress.run(
        dataset=frame,
        checkpoints=checkpoints,
        data=data,
        model=model,
        loss_factor=loss_factor,
        progress=Progress(**{"random_draws": 2, **settings}),
        seeds=SEEDS,
        replicates=REPLICATES,
    )["progress"]
    return table, checkpoints, frame


@pytest.fixture(scope="module")
def built() -> pd.DataFrame:
    """Progress to the induction pair that is built by hand."""
    return progress.run(
        dataset=built_dataset(),
        checkpoints=built_weights(),
        data=DATA,
        model=MODEL,
        loss_factor="mean",
        progress=Progress(random_draws=3),
        seeds=SEEDS,
        replicates=REPLICATES,
    )["progress"]


def values(table: pd.DataFrame, metric: str, step: int = 0, control: str = "none") -> list[float]:
    kept = (table["metric"] == metric) & (table["step"] == step) & (table["control"] == control)
    return table[kept]["value"].tolist()


def module_at(
    checkpoints: dict[str, Tensor], data: Data, model: Transformer, index: int, replicate: int
) -> HookedToyTransformer:
    state = {name: w[index] for name, w in checkpoints.items() if name != "step"}
    return stacked_model(task_of(data), model).module(state, replicate)


def test_the_built_pair_has_the_scores_that_it_was_built_for(built: pd.DataFrame) -> None:
    expected = {
        "loss": 0.0,
        "previous_token.L0H0": 1.0,
        "prefix_matching.L1H0": 1.0,
        "prefix_matching.L0H0": 0.0,
        "copying.L1H0": 1.0,
        "copying.L0H0": 0.0,  # what it writes is never unembedded
        "k_composition.L0H0-L1H0": 1 / math.sqrt(D_VOCAB),
        "q_composition.L0H0-L1H0": 0.0,
        "v_composition.L0H0-L1H0": 0.0,
        "k_composition.L0H1-L1H0": 0.0,
    }
    for metric, value in expected.items():
        assert values(built, metric, 200) == pytest.approx([value] * 2, abs=1e-4), metric
    uniform = values(built, "previous_token.L1H0", control="uniform")
    assert max(values(built, "previous_token.L1H0", 200)) <= min(uniform) < 0.3


def test_idle_heads_score_what_uniform_attention_scores(built: pd.DataFrame) -> None:
    """At step 100 all attention weights are zero."""
    for score in ("prefix_matching", "previous_token"):
        for head in ("L0H0", "L0H1", "L1H0", "L1H1"):
            name = f"{score}.{head}"
            uniform = values(built, name, control="uniform")
            assert values(built, name, 100) == pytest.approx(uniform, rel=1e-6)
            assert 0 < uniform[0] < 0.3
    assert values(built, "loss", 100) == pytest.approx([math.log(D_VOCAB)] * 2)


def test_the_table_is_as_its_schema_says(built: pd.DataFrame) -> None:
    assert list(built.columns) == [column.name for column in SCHEMAS["progress"]]
    assert set(built["replicate"]) == set(REPLICATES)
    assert set(built["split"]) == {"test"}
    assert built["value"].notna().all()
    assert not built.drop(columns="value").duplicated().any()
    later = built[built["step"] > 0]
    assert set(later["control"]) == {"none"}
    assert not later["metric"].str.contains("_loss").any()


def test_random_heads_are_drawn_for_every_pair_and_replicate(built: pd.DataFrame) -> None:
    random = built[built["control"] == "random"]
    assert len(random) == 3 * 4 * 3 * 2  # kinds, pairs, draws, replicates
    assert random["value"].nunique() == len(random)
    assert set(random["draw"]) == {0, 1, 2}
    assert random["value"].mean() == pytest.approx(MODEL.d_model**-0.5, rel=0.05)
    alone = progress.run(
        dataset=built_dataset()[lambda d: d["replicate"] == 5],
        checkpoints={n: w if n == "step" else w[:, 1:] for n, w in built_weights().items()},
        data=DATA,
        model=MODEL,
        loss_factor="mean",
        progress=Progress(random_draws=3),
        seeds=SEEDS,
        replicates=range(5, 6),
    )["progress"]
    same = built[built["replicate"] == 5].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, same, rtol=1e-6)


def test_every_row_holds_what_the_checkpoint_of_its_step_gives() -> None:
    """The notebook kept aliases, so that all of its checkpoints were the final weights."""
    for data in (DATA, TRIGGERS, SUMS):
        model = Transformer(n_heads=2, d_model=8, d_mlp=6)
        table, checkpoints, frame = measured(data, model)
        sequences = sequences_of(frame, "test")
        assert sequences is not None
        found = {}
        for index, step in enumerate((0, 30)):
            for replicate in range(2):
                own = of_replicate(sequences, replicate)
                module = module_at(checkpoints, data, model, index, replicate)
                found[step, replicate] = plain_loss(module, own)
            expected = [found[step, 0], found[step, 1]]
            assert values(table, "loss", step) == pytest.approx(expected, rel=1e-5)
        assert len({round(loss, 4) for loss in found.values()}) == 4


@torch.no_grad()
def plain_loss(module: HookedToyTransformer, sequences: Sequences) -> float:
    logits = module(sequences.tokens).take_along_dim(sequences.positions[..., None], 1)
    return functional.cross_entropy(logits.flatten(0, 1), sequences.targets.flatten()).item()


def test_prefix_matching_reads_where_the_loss_reads() -> None:
    model = Transformer(n_layers=2, n_heads=2, d_model=8, d_mlp=0)
    table, checkpoints, frame = measured(DATA, model)
    sequences = sequences_of(frame, "test")
    assert sequences is not None
    own = of_replicate(sequences, 1)
    _, cache = module_at(checkpoints, DATA, model, 1, 1).run_with_cache(own.tokens)
    for layer in range(2):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"]
        for head in range(2):
            total, count, rows = 0.0, 0, own.tokens.tolist()
            for example, queries in enumerate(own.positions.tolist()):
                for t in queries:
                    count += 1
                    for s in range(1, t + 1):
                        if rows[example][s - 1] == rows[example][t]:
                            total += pattern[example, head, t, s].item()
            found = values(table, f"prefix_matching.L{layer}H{head}", 30)[1]
            assert found == pytest.approx(total / count, rel=1e-5)


def test_matches_are_those_of_the_reads() -> None:
    tokens = torch.tensor([[0, 3, 1, 2, 3, 3]])
    reads = torch.tensor([[4, 5]])
    found = matched(Sequences(tokens, reads, reads, reads))
    assert found.long().tolist() == [[[0, 0, 1, 0, 0, 0], [0, 0, 1, 0, 0, 1]]]


def test_copying_is_that_of_the_weights_in_use() -> None:
    cfg = Transformer(n_heads=2, d_model=8, d_mlp=0, precision="binary")
    stacked = stacked_model(Induction(9, 3, 2, 6), cfg)
    weights = stacked.initial([SEEDS.torch(0, "weights")])
    for head, (found, _) in enumerate(copying(weights, cfg)):
        W_V, W_O = (
            quantise(weights[f"blocks.0.attn.{name}"][0], "binary", scale=False)[head]
            for name in ("W_V", "W_O")
        )
        full = weights["embed.W_E"][0] @ W_V @ W_O @ weights["unembed.W_U"][0]
        eigenvalues = torch.linalg.eigvals(full.double())
        expected = eigenvalues.sum().real / eigenvalues.abs().sum()
        torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-4)


ONE_HEAD = Transformer(n_heads=1, d_model=8, d_head=4, d_mlp=0)
TWO_LAYERS = Transformer(n_layers=2, n_heads=2, d_model=8, d_mlp=6)


@pytest.mark.parametrize("model", [ONE_HEAD, TWO_LAYERS], ids=["one head", "two layers"])
def test_the_attention_gradient_is_the_slope_of_the_mean_loss(model: Transformer) -> None:
    task = task_of(TRIGGERS)
    sequences = task.generate(12, torch.Generator().manual_seed(0))
    weights = stacked_model(task, model).initial([SEEDS.torch(0, "weights")])
    module = stacked_model(task, model).module(weights, 0).double()
    stacked = Sequences(*(getattr(sequences, f)[None] for f in dataset.FIELDS))
    rows = trigger_attention([observe(module, sequences)], stacked, task, 1.0)
    found = {names["metric"]: score.item() for score, names in rows}
    places = task.places(sequences.tokens)
    triggers, small = sequences.groups[:, 0], 1e-6
    for trigger in range(3):
        own = (triggers == trigger).nonzero()[:, 0].tolist()
        slopes = []
        for example in own:
            for layer in range(model.n_layers):
                for head in range(model.n_heads):
                    spot = (example, head, -1, int(places[example]))
                    up, down = (
                        shifted_loss(module, sequences, layer, spot, shift)
                        for shift in (small, -small)
                    )
                    slopes.append((up - down) / (2 * small))
        mean = sum(slopes) / len(slopes)
        assert found[f"attention_gradient.{trigger}"] == pytest.approx(mean, rel=1e-4, abs=1e-9)


@torch.no_grad()
def shifted_loss(
    module: HookedToyTransformer,
    sequences: Sequences,
    layer: int,
    spot: tuple[int, int, int, int],
    shift: float,
) -> float:
    """Mean loss with one attention weight changed, without renormalisation."""

    def patch(pattern: Tensor, hook: object) -> Tensor:
        pattern[spot] += shift
        return pattern

    name = f"blocks.{layer}.attn.hook_pattern"
    logits = module.run_with_hooks(sequences.tokens, fwd_hooks=[(name, patch)])[:, -1]
    return functional.cross_entropy(logits, sequences.targets[:, 0]).item()


def test_gradients_leave_no_hooks_and_need_no_deprecated_ones() -> None:
    task = task_of(TRIGGERS)
    sequences = task.generate(12, torch.Generator().manual_seed(0))
    weights = stacked_model(task, ONE_HEAD).initial([SEEDS.torch(0, "weights")])
    module = stacked_model(task, ONE_HEAD).module(weights, 0)
    stacked = Sequences(*(getattr(sequences, f)[None] for f in dataset.FIELDS))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in trigger_attention([observe(module, sequences)], stacked, task, 1.0):
            pass
    for part in module.modules():
        assert not part._forward_hooks
        assert not part._backward_hooks
    assert all(parameter.grad is None for parameter in module.parameters())


def test_attention_to_triggers_is_read_at_the_query() -> None:
    table, checkpoints, frame = measured(TRIGGERS, ONE_HEAD)
    sequences = sequences_of(frame, "test")
    assert sequences is not None
    task = task_of(TRIGGERS)
    own = of_replicate(sequences, 1)
    _, cache = module_at(checkpoints, TRIGGERS, ONE_HEAD, 1, 1).run_with_cache(own.tokens)
    pattern = cache["blocks.0.attn.hook_pattern"]
    for trigger in range(3):
        given = (own.tokens == task.first_trigger + trigger).nonzero().tolist()
        expected = sum(pattern[n, 0, -1, place].item() for n, place in given) / len(given)
        assert values(table, f"trigger_attention.{trigger}", 30)[1] == pytest.approx(expected)
        uniform = values(table, f"trigger_attention.{trigger}", control="uniform")
        assert uniform == pytest.approx([1 / 7] * 2)


def test_triggers_that_do_not_occur_have_no_rows() -> None:
    data = TRIGGERS.model_copy(update={"skip_trigram": SkipTrigram(n_triggers=300, seq_len=3)})
    table, _, frame = measured(data, ONE_HEAD)
    for replicate in REPLICATES:
        own = frame[frame["replicate"] == replicate]
        rows = table[(table["replicate"] == replicate) & (table["step"] == 30)]
        seen = rows[rows["metric"].str.startswith("trigger_attention.")]["metric"]
        assert set(seen) == {f"trigger_attention.{target}" for target in own["targets"]}
    assert table["value"].notna().all()


def test_sums_are_measured_by_their_carries() -> None:
    model = Transformer(n_heads=2, d_model=8, d_mlp=6)
    table, checkpoints, frame = measured(SUMS, model, examples=20)
    for subset in ("none", "one", "cascade"):
        sequences = sequences_of(frame, "test", subset, 20)
        assert sequences is not None
        for index, step in enumerate((0, 30)):
            modules = [module_at(checkpoints, SUMS, model, index, r) for r in range(2)]
            own = [of_replicate(sequences, r) for r in range(2)]
            expected = [plain_loss(m, s) for m, s in zip(modules, own, strict=True)]
            found = values(table, f"loss.carries.{subset}", step)
            assert found == pytest.approx(expected, rel=1e-5)
            right = [
                (m(s.tokens)[:, 5:8].argmax(-1) == s.targets).double().mean().item()
                for m, s in zip(modules, own, strict=True)
            ]
            assert values(table, f"accuracy.carries.{subset}", step) == pytest.approx(right)


def test_references_of_addition() -> None:
    table, _, _ = measured(SUMS, Transformer(n_heads=1, d_model=4, d_mlp=3))
    carry = -0.495 * math.log(0.495) - 0.505 * math.log(0.505)
    assert values(table, "uniform_loss") == pytest.approx([math.log(10)] * 2)
    assert values(table, "blind_loss") == pytest.approx([(2 * math.log(10) + carry) / 3] * 2)
    assert values(table, "blind_loss.digit.2") == pytest.approx([carry] * 2)
    for name in ("", ".digit.0", ".digit.1", ".digit.2"):
        assert values(table, f"optimal_loss{name}") == [0.0, 0.0]


def test_references_of_induction(built: pd.DataFrame) -> None:
    assert values(built, "uniform_loss") == pytest.approx([math.log(D_VOCAB - 1)] * 2)
    uniform = values(built, "uniform_loss")
    assert values(built, "blind_loss.repeat.1") == pytest.approx(uniform)
    # All matches are clear, but for a predictor that does not know where the original lies there
    # is always the chance that it has not begun.
    optimal = values(built, "optimal_loss")
    assert 0 <= optimal[0] < 0.1
    assert optimal == pytest.approx(values(built, "optimal_loss.repeat.1"))


def test_the_published_factor_acts_on_all_losses_and_their_slopes() -> None:
    for data, n_ctx in ((TRIGGERS, 7), (SUMS, 9), (DATA, SEQ_LEN)):
        model = Transformer(n_layers=2, n_heads=1, d_model=4, d_mlp=0)
        plain, published = (measured(data, model, kind)[0] for kind in ("mean", "published"))
        scaled = plain["metric"].str.contains("loss|gradient")
        assert scaled.any()
        factor = scaled.map({True: n_ctx / (n_ctx - 1), False: 1.0})
        expected = (plain["value"] * factor).to_numpy()
        assert published["value"].to_numpy() == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_only_the_first_examples_and_some_checkpoints_are_used() -> None:
    model = Transformer(n_heads=1, d_model=4, d_mlp=0)
    inputs = {
        "checkpoints": built_weights(),
        "data": DATA,
        "model": MODEL,
        "loss_factor": "mean",
        "seeds": SEEDS,
        "replicates": REPLICATES,
    }
    few = Progress(examples=5, checkpoints=2, random_draws=1)
    table = progress.run(dataset=built_dataset(), **inputs, progress=few)["progress"]
    assert set(table["step"]) == {0, 200}
    head = built_dataset().groupby("replicate").head(5)
    again = progress.run(dataset=head, **inputs, progress=few)["progress"]
    pd.testing.assert_frame_equal(table, again)
    whole = progress.run(
        dataset=built_dataset(), **inputs, progress=few.model_copy(update={"examples": EXAMPLES})
    )["progress"]
    assert values(whole, "loss") != values(table, "loss")
    assert measured(DATA, model)[0]["control"].isin(["none", "uniform"]).all()  # nothing composes
