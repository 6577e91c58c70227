import math
from collections import Counter

import pandas as pd
import pytest
import torch
from torch import Tensor

from mechflow import fourier
from mechflow.config.sections import Transformer
from mechflow.observations import Observations
from mechflow.seeds import Seeds
from mechflow.studies.phase_changes import dataset, digits, head_tables, spectra
from mechflow.studies.phase_changes.config import (
    Addition,
    Data,
    Induction,
    SkipTrigram,
    Spectra,
)
from mechflow.studies.phase_changes.inputs import sequences_of
from mechflow.studies.phase_changes.model import stacked_model
from mechflow.studies.phase_changes.tasks import task_of
from tests.studies.phase_changes_models import as_checkpoints, initial

SEEDS = Seeds(0, "phase_changes", "analysed")
REPLICATES = range(3, 5)
ADDITION = Data(task="addition", addition=Addition(n_digits=2), test_examples=4)
SKIP_TRIGRAM = Data(
    task="skip_trigram", skip_trigram=SkipTrigram(n_triggers=3, seq_len=5), test_examples=4
)
INDUCTION = Data(
    task="induction",
    induction=Induction(seq_len=13, subseq_len=3, repeats=2, d_vocab=6),
    test_examples=4,
)
MODEL = Transformer(d_model=12, d_mlp=10, n_heads=2, d_head=4)
DOUBLED = Transformer(
    d_model=12, d_mlp=0, n_heads=2, d_head=4, n_layers=2, residual_gain=2.0, positions="none"
)
TASKS = {
    "addition": (ADDITION, MODEL),
    "skip_trigram": (SKIP_TRIGRAM, Transformer(d_model=12, d_mlp=0, n_heads=2)),
    "induction": (INDUCTION, Transformer(d_model=12, d_mlp=0, n_heads=3, n_layers=2)),
}


def analysed(data: Data, model: Transformer) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    trained, untrained = (initial(data, model, 2, seed) for seed in (0, 5))
    found = spectra.run(
        dataset=dataset.run(data=data, finite=None, seeds=SEEDS, replicates=REPLICATES)["dataset"],
        weights=trained,
        checkpoints=as_checkpoints(untrained, trained),
        data=data,
        model=model,
        spectra=Spectra(examples=3),
        seeds=SEEDS,
        replicates=REPLICATES,
    )
    return found["spectra"], found["spectra_arrays"]


@pytest.mark.parametrize("name", TASKS)
def test_every_number_is_there_once_and_arrays_lead_with_replicates(name: str) -> None:
    data, model = TASKS[name]
    table, arrays = analysed(data, model)
    columns = ["replicate", "matrix", "quantity", "index", "value", "model"]
    assert list(table.columns) == columns
    assert table["value"].notna().all()
    assert not table.duplicated([c for c in columns if c != "value"]).any()
    assert table.groupby("model").size().nunique() == 1
    assert set(table["model"]) == {"trained", "untrained"}
    assert set(table["replicate"]) == set(REPLICATES)
    assert arrays
    for array in arrays.values():
        assert len(array) == 2
        assert array.is_contiguous()
        assert array.isfinite().all()


def test_singular_values_are_those_of_the_product() -> None:
    data, model = TASKS["induction"]
    table, _ = analysed(data, model)
    weights = initial(data, model, 2)
    W = {k: weights[f"blocks.1.attn.{k}"][1, 2].double() for k in ("W_Q", "W_K", "W_V", "W_O")}
    W_E, W_U = weights["embed.W_E"][1].double(), weights["unembed.W_U"][1].double()
    qk, ov = W["W_Q"] @ W["W_K"].T / math.sqrt(4), W["W_V"] @ W["W_O"]
    products = {"QK": qk, "OV": ov, "QK_full": W_E @ qk @ W_E.T, "OV_full": W_E @ ov @ W_U}
    head = table.query("replicate == 4 and model == 'trained' and quantity == 'singular_value'")
    for circuit, product in products.items():
        found = head[head["matrix"] == f"{circuit}.L1H2"]
        expected = torch.linalg.svdvals(product)
        torch.testing.assert_close(torch.tensor(found["value"].to_numpy()), expected[:4])
        assert expected[4:].max() < 1e-9


@pytest.mark.parametrize("layer", [0, 1])
def test_full_circuits_are_what_the_model_computes_without_the_other_layer(layer: int) -> None:
    task = task_of(INDUCTION)
    weights = initial(INDUCTION, DOUBLED, 1)
    weights[f"blocks.{1 - layer}.attn.W_O"].zero_()
    model = stacked_model(task, DOUBLED).module(weights, 0)
    circuits = head_tables.head_circuits(weights, DOUBLED, layer)
    every = torch.arange(task.d_vocab)

    with torch.no_grad():
        # Alone, a token attends to itself: all that is added comes through the OV circuits.
        added = model(every[:, None])[:, 0] - 4 * model.embed.W_E @ model.unembed.W_U
        site = f"blocks.{layer}.attn.hook_attn_scores"
        _, cache = model.run_with_cache(every[None], names_filter=[site])
    expected = circuits["OV_full"].product()[0].sum(0)
    torch.testing.assert_close(added.double(), expected, atol=1e-4, rtol=1e-4)
    scores = circuits["QK_full"].product()[0]
    seen = torch.ones(len(every), len(every), dtype=torch.bool).tril()
    torch.testing.assert_close(
        cache[site][0].double()[:, seen], scores[:, seen], atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "none"])
def test_query_scores_are_those_of_the_model_with_each_token_at_each_place(positions: str) -> None:
    task = task_of(SKIP_TRIGRAM)
    cfg = TASKS["skip_trigram"][1].model_copy(update={"positions": positions})
    weights = initial(SKIP_TRIGRAM, cfg, 2)
    site = "blocks.0.attn.hook_attn_scores"
    for replicate in range(2):
        model = stacked_model(task, cfg).module(weights, replicate)
        for token in range(task.d_vocab):
            tokens = torch.full((1, task.n_ctx), token)
            tokens[:, 0], tokens[:, -1] = 0, 1
            with torch.no_grad():
                _, cache = model.run_with_cache(tokens, names_filter=[site])
            expected = cache[site][0, :, -1, 1:-1].mean(-1)
            found = head_tables.query_scores(weights, cfg, task)[replicate, :, token]
            torch.testing.assert_close(found.float(), expected, atol=1e-5, rtol=1e-4)


def test_trigram_tables_belong_to_their_replicate_and_step() -> None:
    cfg = TASKS["skip_trigram"][1]
    states = [initial(SKIP_TRIGRAM, cfg, 2, 10 * seed) for seed in range(21)]
    arrays = head_tables.trigram_tables(as_checkpoints(*states), cfg, task_of(SKIP_TRIGRAM))
    assert arrays["table_steps"].tolist() == [[0, 40, 80, 120, 160, 200]] * 2
    assert arrays["qk"].shape == (2, 6, 2, 8)
    assert arrays["ov"].shape == (2, 6, 2, 8, 3)
    for place, step in enumerate(range(0, 21, 4)):
        alone = head_tables.head_circuits(states[step], cfg, 0)["OV_full"].product()
        torch.testing.assert_close(arrays["ov"][:, place], alone.float())
        scores = head_tables.query_scores(states[step], cfg, task_of(SKIP_TRIGRAM))
        torch.testing.assert_close(arrays["qk"][:, place], scores.float())


def test_example_patterns_are_those_of_the_recorded_sequence() -> None:
    data, model = TASKS["induction"]
    _, arrays = analysed(data, model)
    recorded = dataset.run(data=data, finite=None, seeds=SEEDS, replicates=REPLICATES)["dataset"]
    sequences = sequences_of(recorded, "test")
    assert sequences is not None
    assert arrays["example_tokens"].equal(sequences.tokens[:, 0])
    assert arrays["example_reads"].equal(sequences.positions[:, 0])
    pattern = arrays["example_pattern"]
    assert pattern.shape == (2, 2, 3, 13, 13)
    torch.testing.assert_close(pattern.sum(-1), torch.ones(pattern.shape[:-1]))
    module = stacked_model(task_of(data), model).module(initial(data, model, 2), 1)
    _, cache = module.run_with_cache(sequences.tokens[1, :3])
    torch.testing.assert_close(pattern[1, 1], cache["blocks.1.attn.hook_pattern"][0])


def test_fourier_norms_keep_the_frobenius_norm_of_the_digits() -> None:
    table, arrays = analysed(*TASKS["addition"])
    weights = initial(ADDITION, MODEL, 2)
    matrices = {"W_E": weights["embed.W_E"][:, :10], "W_U": weights["unembed.W_U"]}
    norms = table.query("quantity == 'fourier_norm' and model == 'trained'")
    for name, matrix in matrices.items():
        for index, replicate in enumerate(REPLICATES):
            own = norms[(norms["replicate"] == replicate) & (norms["matrix"] == name)]["value"]
            assert len(own) == 10
            assert (own**2).sum() == pytest.approx(float(matrix[index].square().sum()), rel=1e-5)
    gram = arrays["digit_gram"]
    torch.testing.assert_close(gram.sum(-1), torch.zeros(2, 10), atol=1e-4, rtol=0)
    basis = fourier.fourier_basis(10).float()
    torch.testing.assert_close(arrays["digit_gram_fourier"], basis @ gram @ basis.T)
    torch.testing.assert_close(gram.diagonal(dim1=1, dim2=2).sum(1), _centred_squares(matrices))


def _centred_squares(matrices: dict[str, Tensor]) -> Tensor:
    W_E = matrices["W_E"]
    return (W_E - W_E.mean(1, keepdim=True)).square().sum((1, 2))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_digits_on_a_circle_have_one_frequency(k: int) -> None:
    angle = 2 * math.pi * k * torch.arange(12) / 10
    W_E = torch.stack([angle.cos(), angle.sin(), torch.ones(12)], dim=1).expand(1, -1, -1)
    rows = Observations(range(1))
    digits.observe_digits(rows, "trained", {"embed.W_E": W_E, "unembed.W_U": W_E[:, :10].mT})
    table = rows.table().query("quantity == 'frequency_power'")
    for matrix in ("W_E", "W_U"):
        power = table[table["matrix"] == matrix].set_index("index")["value"]
        assert power[k] == pytest.approx(1.0)
        assert power.sum() == pytest.approx(1.0)


def test_balanced_sums_hold_every_pair_of_every_column_equally_often() -> None:
    task = task_of(Data(task="addition", addition=Addition(n_digits=3)))
    tokens, pairs = digits.balanced_sums(task, 7, torch.Generator().manual_seed(0))
    a, b = task.operands(tokens)
    assert (10 * a + b).equal(pairs)
    for column in pairs.unbind(1):
        assert column.bincount(minlength=100).tolist() == [7] * 100
    joint = Counter(zip(pairs[:, 0].tolist(), pairs[:, 1].tolist(), strict=True))
    assert len(joint) > 600  # of at most 700: columns are not tied to one another


def test_pair_means_are_averages_over_sums_where_the_digit_is_predicted() -> None:
    task, examples = task_of(ADDITION), 3
    weights = initial(ADDITION, MODEL, 2)
    found = digits.pair_means(weights, MODEL, task, examples, (SEEDS, REPLICATES))
    assert found.means.shape == (2, 2, 100, 10)
    tokens, _ = digits.balanced_sums(task, examples, SEEDS.torch(4, "sums of digit pairs"))
    model = stacked_model(task, MODEL).module(weights, 1)
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
    post = cache["blocks.0.mlp.hook_post"].double()
    # a1 a0 + b1 b0 = s2 s1 s0: the tens are predicted where s2 is read, the units where s1 is.
    for digit, position, x, y in ((0, 7, 1, 4), (1, 6, 0, 3)):
        groups: dict[int, list[Tensor]] = {pair: [] for pair in range(100)}
        for row, sequence in enumerate(tokens.tolist()):
            groups[10 * sequence[x] + sequence[y]].append(post[row, position])
        stacked = torch.stack([torch.stack(groups[pair]) for pair in range(100)])
        torch.testing.assert_close(found.means[1, digit], stacked.mean(1))
        noise = stacked.var(1).mean(0).sum() / examples
        share = noise / stacked.mean(1).var(0).sum()
        torch.testing.assert_close(found.sampling_share[1, digit], share)
        assert 0.05 < share < 1.5


def test_a_model_without_neurons_is_described_by_its_digits_alone() -> None:
    table, arrays = analysed(ADDITION, MODEL.model_copy(update={"d_mlp": 0}))
    assert not table["matrix"].str.startswith("neurons").any()
    assert "pair_means" not in arrays
    assert arrays["digit_gram"].shape == (2, 10, 10)


def test_planted_neurons_are_found_at_their_frequency() -> None:
    x, y = torch.arange(100).div(10, rounding_mode="floor").double(), torch.arange(100) % 10
    wave = [1 + torch.cos(2 * math.pi * k * (x + y) / 10) for k in (3, 3, 5)]
    mixed = torch.cos(2 * math.pi * x / 10) + torch.cos(2 * math.pi * 2 * y / 10)
    silent = torch.full((100,), 0.5, dtype=torch.float64)
    means = torch.stack([*wave, mixed, silent], dim=1).expand(1, 1, -1, -1)
    found = digits.PairMeans(means, torch.zeros(1, 1))
    rows = Observations(range(1))
    digits.observe_neurons(rows, "trained", found)
    table = rows.table()
    assert set(table["matrix"]) == {"neurons.digit.0"}

    def values(quantity: str) -> list[float]:
        return table[table["quantity"] == quantity]["value"].tolist()

    assert values("neuron_frequency") == [3, 3, 5, 0, 0]
    assert values("cluster_size") == [0, 0, 2, 0, 1]
    assert values("tuned_neurons") == [3]
    assert values("neuron_fraction_explained") == pytest.approx([1, 1, 1, 0.5, 0])
    # Variances are 1/2 each for the cosines of frequency 3 and those of the mixture, 1 for (-1)^s.
    assert values("frequency_power") == pytest.approx([1 / 6, 1 / 6, 1 / 3, 0, 1 / 3])

    arrays = digits.neuron_arrays(found)
    power = arrays["pair_power"][0, 0]
    assert power.sum() == pytest.approx(1.0)
    assert power[5:7, 5:7].sum() == pytest.approx(1 / 3)  # cos 3 and sin 3 of both digits
    assert power[9, 9] == pytest.approx(1 / 3)
    assert power[1, 0] == pytest.approx(1 / 6)
    assert power[0, 3] == pytest.approx(1 / 6)
    chosen = arrays["pair_mean_neurons"][0].tolist()
    assert set(chosen[:2]) == {2, 3}  # the largest variances first
    shown = arrays["pair_means"][0, chosen.index(3)]
    assert shown.shape == (10, 10)
    torch.testing.assert_close(shown, mixed.view(10, 10).float())


def test_dead_neurons_have_no_power() -> None:
    dead = digits.PairMeans(torch.zeros(1, 1, 100, 3).double(), torch.zeros(1, 1).double())
    rows = Observations(range(1))
    digits.observe_neurons(rows, "trained", dead)
    assert rows.table()["value"].notna().all()
    assert digits.neuron_arrays(dead)["pair_power"].abs().max() == 0


def test_ramps_and_steps_stay_below_the_threshold_of_tuned_neurons() -> None:
    x, y = torch.arange(100).div(10, rounding_mode="floor"), torch.arange(100) % 10
    above = (x + y).unsqueeze(1) - torch.arange(18)
    ramps = torch.cat([above.clamp(min=0), (-above).clamp(min=0), (above > 0)], dim=1)
    single = (y.unsqueeze(1) - torch.arange(9)).clamp(min=0)
    for functions, bound in ((ramps, 0.67), (single, 0.75)):
        fraction = fourier.neuron_fraction_explained(functions.double(), 10)
        assert fraction.max() == pytest.approx(bound, abs=0.005)
        assert (fraction.argmax(0)[fraction.amax(0) > 0.3] == 0).all()
