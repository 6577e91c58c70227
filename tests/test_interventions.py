import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mechflow import interventions
from mechflow.fourier import (
    Definition,
    component_frequency,
    fourier_basis,
    inverse_2d,
    transform_2d,
)

DEFINITIONS: list[Definition] = ["sum_directions", "block_2x2", "all_products_of_frequency"]
moduli = st.integers(min_value=3, max_value=13)
seeds = st.integers(min_value=0, max_value=2**32)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def belongs(i: int, j: int, chosen: set[int]) -> bool:
    """Whether component (i, j) belongs to a chosen frequency: the definition, word for word."""
    present = {(i + 1) // 2, (j + 1) // 2} - {0}
    return len(present) == 1 and present <= chosen


@given(moduli, seeds)
@settings(max_examples=40, deadline=None)
def test_all_products_of_frequency_are_the_stated_2d_components(p: int, seed: int) -> None:
    values, mask = normal(seed, 2, p * p, 3), normal(seed, 2, p // 2) > 0
    kept = interventions.project_frequencies(values, p, mask, keep=True)
    removed = interventions.project_frequencies(values, p, mask, keep=False)
    spectrum = transform_2d(values, p)
    for r in range(2):
        chosen = {k for k in range(1, p // 2 + 1) if mask[r, k - 1]}
        inside = torch.tensor([[belongs(i, j, chosen) for j in range(p)] for i in range(p)])
        constant = torch.zeros(p, p, dtype=torch.bool)
        constant[0, 0] = True
        keep = spectrum[r] * (inside | constant).unsqueeze(-1)
        remove = spectrum[r] * ~inside.unsqueeze(-1)
        torch.testing.assert_close(kept[r], inverse_2d(keep))
        torch.testing.assert_close(removed[r], inverse_2d(remove))


def test_a_frequency_has_eight_components() -> None:
    p = 7
    assert sum(belongs(i, j, {2}) for i in range(p) for j in range(p)) == 8


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("p", [7, 8])
def test_kept_and_removed_add_up_with_the_constant_counted_once(
    p: int, definition: Definition
) -> None:
    values, mask = normal(0, 2, p * p, 3), normal(1, 2, p // 2) > 0
    kept, removed = (
        interventions.project_frequencies(values, p, mask, keep=keep, definition=definition)
        for keep in (True, False)
    )
    mean = values.mean(1, keepdim=True)
    torch.testing.assert_close(kept + removed - mean, values)
    torch.testing.assert_close(kept.mean(1), values.mean(1))
    torch.testing.assert_close(removed.mean(1), values.mean(1))
    torch.testing.assert_close(
        ((kept - mean) * (removed - mean)).sum(1), torch.zeros(2, 3).double()
    )


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_products_of_two_frequencies_are_dropped_by_keep_and_left_by_removal(
    definition: Definition,
) -> None:
    p, basis = 11, fourier_basis(11)
    product = torch.outer(basis[3], basis[10]).reshape(-1, 1)  # cos 2 of a times sin 5 of b
    mask = torch.tensor([False, True, False, False, True])
    kept, removed = (
        interventions.project_frequencies(product, p, mask, keep=keep, definition=definition)
        for keep in (True, False)
    )
    torch.testing.assert_close(kept, torch.zeros_like(kept))
    torch.testing.assert_close(removed, product)


def test_waves_of_one_letter_belong_only_to_all_products() -> None:
    p, basis = 11, fourier_basis(11)
    wave = basis[3].repeat_interleave(p).unsqueeze(1)
    mask = torch.tensor([False, True, False, False, False])
    for definition in DEFINITIONS:
        kept = interventions.project_frequencies(wave, p, mask, keep=True, definition=definition)
        expected = wave if definition == "all_products_of_frequency" else torch.zeros_like(wave)
        torch.testing.assert_close(kept, expected)


def test_all_and_no_frequencies() -> None:
    p, values = 7, normal(2, 49, 2)
    none, every = torch.zeros(3, dtype=torch.bool), torch.ones(3, dtype=torch.bool)
    kept = interventions.project_frequencies(values, p, none, keep=True)
    torch.testing.assert_close(kept, values.mean(0).expand_as(values))
    removed = interventions.project_frequencies(values, p, none, keep=False)
    torch.testing.assert_close(removed, values)
    embedding = normal(3, p, 4)
    torch.testing.assert_close(
        interventions.project_embedding(embedding, every, keep=True), embedding
    )


@given(moduli, seeds)
@settings(max_examples=25, deadline=None)
def test_embedding_projection_equals_explicit_rows(p: int, seed: int) -> None:
    W_E, mask = normal(seed, 2, p, 3), normal(seed, 2, p // 2) > 0
    kept = interventions.project_embedding(W_E, mask, keep=True)
    removed = interventions.project_embedding(W_E, mask, keep=False)
    frequency = component_frequency(p)
    for r in range(2):
        chosen = [i for i in range(1, p) if mask[r, frequency[i] - 1]]
        rows = fourier_basis(p)[chosen]
        torch.testing.assert_close(removed[r], W_E[r] - rows.T @ (rows @ W_E[r]))
        torch.testing.assert_close(kept[r] + removed[r] - W_E[r].mean(0), W_E[r])


def test_ablated_neurons_are_constant_and_the_others_untouched() -> None:
    mlp_post = normal(4, 2, 9, 3)
    neurons = torch.tensor([[True, False, False], [False, True, True]])
    mean = interventions.ablate_neurons(mlp_post, neurons)
    zero = interventions.ablate_neurons(mlp_post, neurons, "zero")
    for r in range(2):
        for neuron in range(3):
            if neurons[r, neuron]:
                level = mlp_post[r, :, neuron].mean().expand(9)
                torch.testing.assert_close(mean[r, :, neuron], level)
                assert zero[r, :, neuron].eq(0).all()
            else:
                assert torch.equal(mean[r, :, neuron], mlp_post[r, :, neuron])
                assert torch.equal(zero[r, :, neuron], mlp_post[r, :, neuron])
