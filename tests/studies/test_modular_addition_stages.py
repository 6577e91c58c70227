"""The stages of modular addition against each other and against direct computation."""

import pandas as pd
import pytest
import torch

from mechflow import fourier
from mechflow.artifacts import SCHEMAS
from mechflow.models.quantise import quantise
from mechflow.models.stacked import StackedTransformer
from mechflow.studies.modular_addition.inputs import all_tokens
from mechflow.studies.modular_addition.interventions import Subject
from mechflow.studies.modular_addition.key import key_mask, neuron_frequency
from mechflow.training.checkpoints import untrained
from tests.studies.tiny import MODEL, REPLICATES, TinyStudy

P = 11
LOGITS = "hook_logits"
MLP_POST = "blocks.0.mlp.hook_post"


def rows(frame: pd.DataFrame, **values: object) -> pd.DataFrame:
    for name, value in values.items():
        frame = frame[frame[name] == value]
    return frame


OWN_COLUMNS = {
    "dataset": ["a", "b", "label"],
    "probes": ["model", "frequency"],
    "spectra": ["model", "weights"],
    "interventions": ["frequency"],
}


@pytest.mark.parametrize(
    "kind", ["dataset", "curves", "probes", "spectra", "progress", "interventions"]
)
def test_tables_have_the_columns_that_their_schema_names(tiny: TinyStudy, kind: str) -> None:
    frame = getattr(tiny, kind)
    declared = [column.name for column in SCHEMAS[kind]]
    assert list(frame.columns) == declared + OWN_COLUMNS.get(kind, [])
    assert set(frame["replicate"]) == set(REPLICATES)
    assert not frame.duplicated(
        [c for c in frame.columns if c not in ("value", "split")]
        + (["split"] if "split" in frame and kind != "dataset" else [])
    ).any()


def test_activations_are_those_of_a_direct_forward_pass(tiny: TinyStudy) -> None:
    stacked = StackedTransformer(MODEL, d_vocab=P + 1, d_vocab_out=P, n_ctx=3)
    tokens = all_tokens(P)
    states = {"trained": tiny.weights, "untrained": untrained(tiny.checkpoints)}
    for name, state in states.items():
        for index in range(len(REPLICATES)):
            logits, cache = stacked.module(state, index).run_with_cache(tokens)
            read = tiny.activations
            torch.testing.assert_close(read[f"{name}/{LOGITS}"][index], logits[:, -1])
            torch.testing.assert_close(read[f"{name}/{MLP_POST}"][index], cache[MLP_POST][:, -1])
            pattern = cache["blocks.0.attn.hook_pattern"][:, :, -1]
            torch.testing.assert_close(read[f"{name}/blocks.0.attn.hook_pattern"][index], pattern)


def test_last_checkpoint_is_the_final_weights_and_the_first_is_untrained(tiny: TinyStudy) -> None:
    assert tiny.checkpoints["step"][0] == 0
    assert tiny.checkpoints["step"][-1] == 60
    for name, weight in tiny.weights.items():
        assert torch.equal(tiny.checkpoints[name][-1], weight)
        if name != "ln_final.w":
            assert not torch.equal(tiny.checkpoints[name][0], weight)


def test_curves_and_progress_agree_on_the_final_loss(tiny: TinyStudy) -> None:
    for split in ("train", "test"):
        curve = rows(tiny.curves, step=60, split=split, metric="loss")["value"].to_numpy()
        measure = rows(tiny.progress, step=60, split=split, metric="loss")["value"].to_numpy()
        assert measure == pytest.approx(curve, rel=1e-5)


def test_interventions_start_from_the_untouched_model(tiny: TinyStudy) -> None:
    untouched = rows(tiny.interventions, intervention="none", metric="loss", split="test")
    curve = rows(tiny.curves, step=60, split="test", metric="loss")["value"].to_numpy()
    assert untouched["value"].to_numpy() == pytest.approx(curve, rel=1e-5)


def test_patching_a_site_with_its_own_activations_changes_nothing(tiny: TinyStudy) -> None:
    stacked = StackedTransformer(MODEL, d_vocab=P + 1, d_vocab_out=P, n_ctx=3)
    subject = Subject(stacked.module(tiny.weights, 0), P)
    logits = subject.logits()
    torch.testing.assert_close(subject.with_embedding(lambda x: x), logits)
    torch.testing.assert_close(subject.with_mlp_post(lambda x: x.clone()), logits)
    assert not torch.allclose(subject.with_mlp_post(lambda x: 0 * x), logits)
    assert not torch.allclose(subject.with_embedding(lambda x: 0 * x), logits)


def test_embedding_spectrum_preserves_the_norm(tiny: TinyStudy) -> None:
    norms = rows(tiny.spectra, model="trained", matrix="W_E", quantity="fourier_norm")
    total = norms.assign(square=norms["value"] ** 2).groupby("replicate")["square"].sum()
    expected = tiny.weights["embed.W_E"][:, :P].double().square().sum((1, 2))
    assert total.to_numpy() == pytest.approx(expected.numpy())


def test_neuron_logit_map_is_read_with_the_weights_that_the_forward_pass_uses(
    tiny: TinyStudy,
) -> None:
    logits = []
    for kind in ("latent", "quantised"):
        W_out = tiny.weights["blocks.0.mlp.W_out"]
        if kind == "quantised":
            W_out = quantise(W_out, "binary", scale=False, stacked=True)
        W_L = (W_out * tiny.weights["ln_final.w"][:, None]) @ tiny.weights["unembed.W_U"]
        singular = torch.linalg.svdvals(W_L.double())
        stored = rows(
            tiny.spectra, model="trained", weights=kind, matrix="W_L", quantity="singular_value"
        )["value"].to_numpy()
        assert stored == pytest.approx(singular.flatten().numpy(), rel=1e-4, abs=1e-6)
        logits.append(stored)
    assert not (abs(logits[0] - logits[1]) < 1e-3).all()


def test_key_frequencies_survive_the_way_through_the_table(tiny: TinyStudy) -> None:
    mask = key_mask(tiny.spectra, REPLICATES, P)
    W_out = quantise(tiny.weights["blocks.0.mlp.W_out"], "binary", scale=False, stacked=True)
    W_L = (W_out * tiny.weights["ln_final.w"][:, None]) @ tiny.weights["unembed.W_U"]
    power = fourier.frequency_power(fourier.transform_1d(W_L.mT.double()))
    assert torch.equal(mask, fourier.key_frequencies(power, "norm_ratio", ratio=0.25))
    clusters = neuron_frequency(tiny.spectra, REPLICATES)
    fraction = tiny.spectra_arrays["neuron_fraction"]
    assert torch.equal(clusters, fourier.neuron_clusters(fraction))


def test_shares_of_logit_variance_add_up_to_at_most_one(tiny: TinyStudy) -> None:
    power = rows(tiny.spectra, matrix="logits", quantity="frequency_power")
    assert (power["value"] >= 0).all()
    assert (power.groupby("replicate")["value"].sum() <= 1 + 1e-9).all()


def test_probes_have_both_controls_at_every_site(tiny: TinyStudy) -> None:
    scores = rows(tiny.probes, target="a", split="test")
    counts = scores.groupby(["site", "model", "control"]).size()
    assert (counts == len(REPLICATES)).all()
    assert len(counts) == scores["site"].nunique() * 2 * 2


def test_attention_patterns_sum_to_one_over_sources(tiny: TinyStudy) -> None:
    attention = tiny.spectra_arrays["attention"]
    assert attention.shape == (2, 4, 3, P, P)
    torch.testing.assert_close(attention.sum(2), torch.ones(2, 4, P, P))


def test_a_symmetric_model_attends_to_a_in_b_as_to_b_in_a(tiny: TinyStudy) -> None:
    attention = tiny.spectra_arrays["attention"]
    torch.testing.assert_close(attention[:, :, 0], attention[:, :, 1].mT)


def test_example_neurons_are_functions_of_a_and_b(tiny: TinyStudy) -> None:
    shown = tiny.spectra_arrays["example_neurons"]
    neurons = tiny.activations[f"trained/{MLP_POST}"]
    assert shown[1, 2, 3, 7] == neurons[1, 3 * P + 7, 2]
