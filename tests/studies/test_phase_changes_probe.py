import pandas as pd
import pytest
import torch
from torch import Tensor

from mechflow.config.sections import Transformer
from mechflow.seeds import Seeds
from mechflow.studies.phase_changes import probe
from mechflow.studies.phase_changes.config import Addition, Data, Induction, Probe, SkipTrigram
from mechflow.studies.phase_changes.model import stacked_model
from mechflow.studies.phase_changes.probe_targets import POOLED, READS_OF_A_SEQUENCE, readings
from mechflow.studies.phase_changes.tasks import task_of
from tests.studies.phase_changes_models import as_checkpoints, initial

SEEDS = Seeds(0, "phase_changes", "probed")
ADDITION = Data(task="addition", addition=Addition(n_digits=3))
SKIP_TRIGRAM = Data(task="skip_trigram", skip_trigram=SkipTrigram(n_triggers=4, seq_len=6))
INDUCTION = Data(
    task="induction", induction=Induction(seq_len=19, subseq_len=4, repeats=3, d_vocab=9)
)
SMALL = Transformer(d_model=16, d_mlp=24, n_heads=2)
TWO_LAYERS = Transformer(d_model=16, d_mlp=0, n_heads=2, n_layers=2)
SETTINGS = Probe(examples=300, penalties=(1e-4, 1e-2, 1.0))


def probes(data: Data, model: Transformer, replicates: range = range(2, 3)) -> pd.DataFrame:
    weights = initial(data, model, len(replicates))
    return probe.run(
        weights=weights,
        checkpoints=as_checkpoints(weights),
        data=data,
        model=model,
        probe=SETTINGS,
        seeds=SEEDS,
        replicates=replicates,
    )["probes"]


@pytest.fixture(scope="module")
def sums() -> pd.DataFrame:
    return probes(ADDITION, SMALL)


def accuracy(table: pd.DataFrame, target: str, control: str, site: str, position: int) -> float:
    rows = table.query(
        "target == @target and control == @control and site == @site and position == @position"
        " and split == 'test' and model == 'trained'"
    )
    return float(rows["value"].item())


def test_labels_of_sums_are_those_of_written_arithmetic() -> None:
    task = task_of(ADDITION)
    sequences = task.generate(200, torch.Generator().manual_seed(0))
    found = readings(task, sequences, torch.Generator())
    assert [reading.position for reading in found] == [7, 8, 9, 10]
    for row, tokens in enumerate(sequences.tokens.tolist()):
        a, b = (int("".join(map(str, tokens[start : start + 3]))) for start in (0, 4))
        for reading in found:
            assert reading.rows[row].tolist() == [reading.position]
            for k in range(3):
                ones, shift = 10 ** (k + 1), 10**k
                assert reading.labels[f"carry.{k}"][row] == (a % ones + b % ones) // ones
                column = a // shift % 10 + b // shift % 10
                assert reading.values[f"nine.{k}"][row] == float(column == 9)
            for k in range(4):
                assert reading.labels[f"digit.{k}"][row] == (a + b) // 10**k % 10


def test_labels_of_repeats_are_the_neighbours_of_reads() -> None:
    task = task_of(INDUCTION)
    sequences = task.generate(50, torch.Generator().manual_seed(0))
    reading, original = readings(task, sequences, torch.Generator().manual_seed(1))
    assert reading.position == original.position == POOLED
    assert reading.rows.shape == original.rows.shape == (50, READS_OF_A_SEQUENCE)
    for n, row in enumerate(reading.rows.tolist()):
        assert len(set(row)) == READS_OF_A_SEQUENCE
        assert set(row) <= set(sequences.positions[n].tolist())
        for i, position in enumerate(row):
            around = sequences.tokens[n, position : position + 2].tolist()
            assert [int(reading.labels[name][n, i]) for name in ("token", "next_token")] == around
    chosen = {tuple(row) for row in reading.rows.tolist()}
    assert len(chosen) > 25  # not the same reads of every sequence


def test_the_previous_token_is_looked_for_where_copies_are_continued_from() -> None:
    task = task_of(INDUCTION)
    interval = 6  # a third of 18 positions
    sequences = task.generate(50, torch.Generator().manual_seed(0))
    _, original = readings(task, sequences, torch.Generator().manual_seed(1))
    assert original.rows.min() == 2
    assert original.rows.max() == interval
    for n, row in enumerate(original.rows.tolist()):
        assert len(set(row)) == READS_OF_A_SEQUENCE
        before = [int(sequences.tokens[n, position - 1]) for position in row]
        assert original.labels["previous_token"][n].tolist() == before


def test_labels_of_the_skip_trigram_are_the_trigger_and_its_place() -> None:
    task = task_of(SKIP_TRIGRAM)
    sequences = task.generate(50, torch.Generator().manual_seed(0))
    (reading,) = readings(task, sequences, torch.Generator())
    assert reading.position == 7
    assert (reading.rows == 7).all()
    place = reading.values["place"].long()
    torch.testing.assert_close(sequences.tokens.gather(1, place), reading.labels["trigger"] + 2 + 4)


def test_a_control_has_the_same_labels_in_another_order() -> None:
    task = task_of(ADDITION)
    sequences = task.generate(200, torch.Generator().manual_seed(0))
    reading = readings(task, sequences, torch.Generator())[0]
    both = probe.with_control(reading, torch.Generator().manual_seed(0))
    assert len(both.labels) == 2 * len(reading.labels)
    assert len(both.values) == 2 * len(reading.values)
    for plain, targets in ((reading.labels, both.labels), (reading.values, both.values)):
        for name, target in plain.items():
            dealt = targets[f"shuffled_labels {name}"]
            assert targets[f"none {name}"] is target
            assert not dealt.equal(target)
            torch.testing.assert_close(dealt.sort(dim=0).values, target.sort(dim=0).values)


def test_what_is_written_is_read_and_what_is_not_is_at_chance(sums: pd.DataFrame) -> None:
    # The leading digit of the answer, which is the carry of the last column, stands at position 8.
    before = "blocks.0.hook_resid_pre"
    for target in ("carry.2", "digit.3"):
        assert accuracy(sums, target, "none", before, 8) == 1.0
        assert accuracy(sums, target, "shuffled_labels", before, 8) == pytest.approx(0.5, abs=0.2)
        # At "=" nothing but the constant token is there.
        assert accuracy(sums, target, "none", before, 7) == pytest.approx(0.5, abs=0.2)
    assert accuracy(sums, "digit.2", "none", before, 9) == 1.0
    assert accuracy(sums, "digit.2", "shuffled_labels", before, 9) == pytest.approx(0.1, abs=0.12)
    assert accuracy(sums, "nine.0", "none", before, 10) < 0.2


def test_every_probe_is_scored_once_with_its_control(sums: pd.DataFrame) -> None:
    keys = ["site", "target", "control", "split", "metric", "model", "position"]
    assert not sums.duplicated(keys).any()
    assert list(sums.columns) == probe.COLUMNS
    assert sums["value"].notna().all()
    assert set(sums["replicate"]) == {2}
    assert len(sums) == 3 * 10 * 2 * 2 * 2 * 4  # sites, targets, controls, splits, models, places
    metric = sums.groupby(sums["target"].str.split(".").str[0])["metric"].unique()
    assert {name: list(found) for name, found in metric.items()} == {
        "carry": ["accuracy"],
        "digit": ["accuracy"],
        "nine": ["r2"],
    }


def test_tokens_are_read_in_repeats_but_the_next_one_is_not() -> None:
    table = probes(INDUCTION, TWO_LAYERS)
    before = "blocks.0.hook_resid_pre"
    assert accuracy(table, "token", "none", before, POOLED) > 0.99
    assert accuracy(table, "token", "shuffled_labels", before, POOLED) < 0.25
    assert accuracy(table, "next_token", "none", before, POOLED) < 0.25
    assert set(table["site"]) == {
        before,
        "blocks.0.hook_resid_post",
        "blocks.1.hook_resid_post",
    }


def test_rows_of_one_sequence_are_never_both_fitted_and_tested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    masks = []

    def record(X: Tensor, mask: Tensor, *_: object, **__: object) -> pd.DataFrame:
        masks.append(mask.view(-1, READS_OF_A_SEQUENCE))
        return pd.DataFrame({"target": ["none token"], "split": "test", "metric": "", "value": 0.0})

    monkeypatch.setattr(probe, "linear_probe_scores", record)
    monkeypatch.setattr(probe, "COLUMNS", ["target"])
    probes(INDUCTION, TWO_LAYERS)
    assert masks
    for mask in masks:
        assert mask.sum() == 0.7 * 300 * READS_OF_A_SEQUENCE
        assert (mask == mask[:, :1]).all()


def test_a_replicate_does_not_depend_on_its_block() -> None:
    pair = probes(SKIP_TRIGRAM, TWO_LAYERS, range(1, 3))
    alone = probes(SKIP_TRIGRAM, TWO_LAYERS, range(1, 2))
    first = pair[pair["replicate"] == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, alone)
    assert not pair[pair["replicate"] == 2]["value"].reset_index(drop=True).equals(alone["value"])


def test_residual_streams_are_those_that_make_the_logits() -> None:
    model = stacked_model(task_of(ADDITION), SMALL).module(initial(ADDITION, SMALL, 1), 0)
    tokens = task_of(ADDITION).generate(5, torch.Generator().manual_seed(0)).tokens
    held = probe.residual_streams(model, tokens)
    assert list(held) == [f"blocks.0.hook_resid_{place}" for place in ("pre", "mid", "post")]
    torch.testing.assert_close(held["blocks.0.hook_resid_post"] @ model.unembed.W_U, model(tokens))
    torch.testing.assert_close(
        held["blocks.0.hook_resid_pre"], model.embed.W_E[tokens] + model.pos_embed.W_pos
    )
