import pytest
import torch

from mechflow.seeds import Seeds
from mechflow.studies.phase_changes import dataset
from mechflow.studies.phase_changes.config import Data, Finite, SkipTrigram
from mechflow.studies.phase_changes.inputs import sequences_of

DATA = Data(task="skip_trigram", skip_trigram=SkipTrigram(n_triggers=2, seq_len=3), test_examples=4)
"""Of which there are 2 triggers x 3 places x 2 x 2 noise tokens = 24 sequences."""


def recorded(examples: int):  # type: ignore[no-untyped-def]
    return dataset.run(
        data=DATA, finite=Finite(examples=examples), seeds=Seeds(0, "x", "y"), replicates=range(2)
    )["dataset"]


def test_train_sets_have_no_sequence_twice_and_none_of_the_test_set() -> None:
    table = recorded(15)
    for replicate in range(2):
        own = table[table["replicate"] == replicate]
        train, test = (set(own.loc[own["split"] == s, "tokens"]) for s in ("train", "test"))
        assert len(train) == 15
        assert not train & test
    both = sequences_of(table, "train")
    assert both is not None
    assert both.tokens.shape == (2, 15, 5)
    assert not torch.equal(both.tokens[0], both.tokens[1])


def test_more_train_sequences_than_there_are_is_an_error_and_no_endless_search() -> None:
    with pytest.raises(ValueError, match=r"finite\.examples is 25, but only 2[0-3] different"):
        recorded(25)
