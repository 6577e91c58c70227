import numpy as np
import pytest
import torch

from mechflow import fourier
from mechflow.statistics import clipped, mean_interval
from mechflow.studies.networks import select
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.figures import digit_basis, digit_neurons
from tests.studies.fabricated_digits import MODELS, VARIANTS, data
from tests.studies.galleries import DIGITS, words

default = DIGITS.default


def table(name, **wanted):
    return select(data(VARIANTS).table(name), **wanted)


# Digits in the Fourier basis


def test_the_basis_is_orthonormal_as_drawn():
    drawn, source = default("fourier_basis")
    cells = select(source, panel="basis").pivot(index="component", columns="digit", values="value")
    basis = cells.to_numpy(dtype=float)
    assert basis @ basis.T == pytest.approx(np.eye(10), abs=1e-6)
    assert basis[-1] == pytest.approx((-1.0) ** np.arange(10) / np.sqrt(10))
    assert select(source, series="largest error")["value"].item() < 1e-14
    assert "identity" in words(drawn)


@pytest.mark.parametrize("model", MODELS)
def test_gram_matrices_are_those_of_the_shown_network(model):
    _, source = DIGITS.draw("fourier_basis", shown=Figures(replicate=1))
    arrays = VARIANTS["addition_finite"].spectra_arrays()
    ending = "" if model == "trained" else "_untrained"
    for basis, name in (("digits", "digit_gram"), ("Fourier basis", "digit_gram_fourier")):
        cells = select(source, variant="addition_finite", series=f"{model}, {basis}", kind="map")
        values = cells.pivot(index="row", columns="column", values="value")
        assert np.array_equal(values, arrays[f"{name}{ending}"][1])


def test_off_diagonal_shares_have_intervals_over_networks():
    _, source = default("fourier_basis")
    gram = VARIANTS["addition"].spectra_arrays()["digit_gram"].double().numpy()
    total = (gram**2).sum((1, 2))
    shares = 1 - (np.diagonal(gram, axis1=1, axis2=2) ** 2).sum(1) / total
    rows = select(source, variant="addition", series="trained", basis="digits")
    assert select(rows, kind="replicate")["value"].tolist() == pytest.approx(shares.tolist())
    wanted = clipped(mean_interval(shares), 0.0, 1.0)
    mean = select(rows, kind="mean").rename(columns={"value": "centre"})
    assert mean.iloc[0][["centre", "low", "high"]].tolist() == pytest.approx(wanted[:3])


def test_the_expected_share_in_random_bases_is_that_of_random_bases():
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    gram = torch.zeros(10, 10, dtype=torch.float64)
    gram[1:, 1:] = W @ W.T
    normal = torch.randn(4000, 9, 9, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(normal).Q
    turned = rotation.mT @ gram[1:, 1:] @ rotation
    sampled = digit_basis.off_diagonal(turned).mean()
    expected = digit_basis.off_diagonal_of_random_bases(gram)
    assert expected.item() == pytest.approx(sampled.item(), abs=3e-3)


@pytest.mark.parametrize("measure", ["off_diagonal", "off_diagonal_of_random_bases"])
def test_equal_directions_are_diagonal_in_every_basis(measure):
    gram = torch.diag(torch.tensor([0.0] + [2.0] * 9, dtype=torch.float64))
    both = torch.stack([gram, torch.zeros_like(gram)])
    assert getattr(digit_basis, measure)(both).tolist() == pytest.approx([0.0, 0.0])


def test_embeddings_that_only_know_differences_are_diagonal_in_the_fourier_basis():
    # Any function of the difference of two digits mod 10.
    gram = torch.tensor([3.0, 1.0, -0.5, 0.2, 0.1, -2.0, 0.1, 0.2, -0.5, 1.0]).double()
    digit = torch.arange(10)
    values = gram[(digit[:, None] - digit) % 10]
    basis = fourier.fourier_basis(10)
    assert digit_basis.off_diagonal(basis @ values @ basis.T).item() < 1e-12
    assert digit_basis.off_diagonal(values).item() > 0.3


def test_gram_matrices_that_are_not_stored_are_left_out():
    drawn, source = DIGITS.draw("fourier_basis", without="_untrained")
    assert "untrained: not stored" in words(drawn)
    assert not source["series"].fillna("").str.startswith("untrained").any()


def test_spectra_of_digits_are_those_of_the_table():
    drawn, source = default("digit_spectrum")
    for matrix, model in (("W_E", "trained"), ("W_U", "untrained")):
        rows = table("spectra", variant="addition_finite", matrix=matrix, model=model)
        values = select(rows, quantity="fourier_norm", index=7)["value"]
        drawn_rows = select(
            source, panel=matrix, variant="addition_finite", series=model, x=7
        )  # fmt: skip
        assert select(drawn_rows, kind="replicate")["value"].tolist() == values.tolist()
        mean = select(drawn_rows, kind="mean").iloc[0]
        wanted = clipped(mean_interval(values), 0.0, np.inf)
        assert mean[["value", "low", "high", "n"]].tolist() == pytest.approx(tuple(wanted))
    gini = table("spectra", variant="addition", matrix="W_E", quantity="gini", model="trained")
    assert f"Gini {gini['value'].mean():.2f}" in words(drawn)


# Neurons


def test_neurons_are_those_of_the_table_and_of_the_arrays():
    drawn, source = DIGITS.draw("digit_neurons", shown=Figures(replicate=2))
    rows = table("spectra", variant="addition", matrix="neurons.digit.1", model="untrained")
    values = select(rows, quantity="frequency_power", index=4)["value"]
    found = select(source, panel="neurons.digit.1", variant="addition", series="untrained", x=4)
    assert select(found, kind="replicate")["value"].tolist() == values.tolist()
    arrays = VARIANTS["addition"].spectra_arrays()
    number = int(arrays["pair_mean_neurons"][2, 3])
    cells = select(source, panel=f"neuron {number}", variant="addition")
    assert np.array_equal(
        cells.pivot(index="x", columns="y", values="value"), arrays["pair_means"][2, 3]
    )
    power = select(source, panel="power, units predicted", variant="addition")
    power = power.pivot(index="k_x", columns="k_y", values="value").to_numpy(dtype=float)
    assert power == pytest.approx(arrays["pair_power"][:, 0].mean(0).numpy(), rel=1e-5)
    noise = select(rows, quantity="sampling_share")["value"].mean()
    assert f"untrained {100 * noise:.0f} %" in words(drawn)


def test_noise_has_as_much_of_each_frequency_as_is_drawn():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(100, 3000, generator=generator, dtype=torch.float64)
    measured = fourier.neuron_fraction_explained(noise, 10).mean(1)
    assert digit_neurons.unstructured_shares() == pytest.approx(measured.tolist(), abs=3e-3)


def test_models_without_an_mlp_have_no_neurons():
    def without_neurons(name, frame):
        return frame[~frame["matrix"].str.startswith("neurons")] if name == "spectra" else frame

    drawn, source = DIGITS.draw("digit_neurons", change=without_neurons)
    assert source.empty
    assert "MLP" in words(drawn)
