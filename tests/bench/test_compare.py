"""Two folders of results: what differs is named, what may differ is not."""

import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from bench import compare, gaps
from mechflow.artifacts import (
    Owner,
    Provenance,
    ShardWriter,
    collect,
    list_files,
    stored_digest,
    write_table,
    write_tensors,
)
from mechflow.claims import Claim, EveryReplicate, Evidence, scoreboard

ROOT = Path(__file__).parents[2]
CURVES = "toy/full/r000-001/curves.parquet"
WEIGHTS = "toy/full/r000-001/weights.safetensors"
STATES = "toy/full/states"
CLAIMS = "toy/claims.parquet"
SUMMARY = "tables/toy/summary.parquet"
KINDS = {
    "curves.parquet": "curves",
    "index.parquet": "states",
    "claims.parquet": "claims",
    "replication.parquet": "replication",
    "files.parquet": "model",
}
N_ARTEFACTS = 10


def origin(code: str) -> Provenance:
    return collect(
        kind="", owner=Owner("toy", "full"), stage="train", spec={}, code=code, seed=None
    )


def put_table(path: Path, frame: pd.DataFrame, code: str = "new") -> None:
    write_table(path, frame, KINDS.get(path.name, "table"), origin(code))


def put_tensors(path: Path, tensors: dict[str, torch.Tensor], code: str = "new") -> None:
    write_tensors(path, tensors, "weights", origin(code), allow_nonfinite=True)


def put_shards(folder: Path, shift: float = 0.0, code: str = "new") -> None:
    writer = ShardWriter(folder, "states", origin(code))
    for first in (0, 4):
        examples = torch.arange(first, first + 4, dtype=torch.float32)
        writer.write(
            first, {"h": (examples[:, None] + shift * (examples[:, None] == 5)).bfloat16()}
        )
    put_table(folder / "index.parquet", writer.finish(), code)


def curves() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "replicate": np.repeat([0, 1], 4),
            "step": np.tile(np.repeat([0, 100], 2), 2),
            "split": ["train", "test"] * 4,
            "metric": "loss",
            "value": np.linspace(4.0, 0.5, 8),
        }
    )


def weights() -> dict[str, torch.Tensor]:
    return {
        "W_E": torch.arange(24.0).view(2, 3, 4),
        "W_U": torch.ones(2, 2),
        "step": torch.arange(2),
    }


def board(**values: float) -> pd.DataFrame:
    """Verdicts on claims that the value of a claim is above 0.9."""
    claims = [
        Claim(name, f"{name} happens", "paper", "share", EveryReplicate("above", 0.9), Evidence.of)
        for name in values
    ]
    judged = [scoreboard([claim], [values[claim.id]] * 3) for claim in claims]
    return pd.concat(judged, ignore_index=True)


def put_claims(folder: Path, found: pd.DataFrame, code: str = "new") -> None:
    put_table(folder / CLAIMS, found, code)
    put_table(folder / "replication.parquet", found.assign(study="toy"), code)


def put_model(folder: Path, data: bytes, code: str = "new") -> None:
    model = folder / "models/tiny"
    model.mkdir(parents=True, exist_ok=True)
    (model / "model.safetensors").write_bytes(data)
    put_table(model / "files.parquet", list_files(model, ["model.safetensors"]), code)


def put_all(folder: Path, code: str) -> Path:
    """Results with every kind of artefact."""
    put_table(folder / CURVES, curves(), code)
    put_tensors(folder / WEIGHTS, weights(), code)
    put_shards(folder / STATES, code=code)
    put_claims(folder, board(groks=1.0, sparse=0.95), code)
    for path in (SUMMARY, "figures/toy/loss.parquet"):
        put_table(folder / path, pd.DataFrame({"n": [1, 2], "mean": [0.5, math.nan]}), code)
    put_model(folder, b"weights", code)
    (folder / "figures/toy/loss.pdf").write_bytes(b"drawing")
    (folder / "report.html").write_text("page")
    return folder


class Outcome(NamedTuple):
    status: int
    lines: list[list[str]]
    """What differs, split into its columns."""
    summary: str


class Pair(NamedTuple):
    """Two folders with the same values, of other code."""

    a: Path
    b: Path
    capsys: pytest.CaptureFixture[str]

    def compared(self, *options: str) -> Outcome:
        status = compare.main([str(self.a), str(self.b), *options])
        sides, *lines, summary = self.capsys.readouterr().out.split("\n\n")
        assert sides == f"A: {self.a}\nB: {self.b}"
        columns = [
            [part.strip() for part in line.split("  ") if part]
            for group in lines
            for line in group.splitlines()
        ]
        return Outcome(status, columns, summary.strip())

    def told(self, *options: str) -> str:
        """What is said of the only artefact that differs."""
        status, lines, _ = self.compared(*options)
        assert (status, len(lines)) == (1, 1)
        return lines[0][-1]

    def tables_told(self, old: object, new: object, *options: str) -> str:
        """What is said of a table whose column x has other values; empty if nothing."""
        for folder, values in ((self.a, old), (self.b, new)):
            put_table(folder / SUMMARY, pd.DataFrame({"x": values}))
        return self.told(*options) if self.compared(*options).status else ""

    def tensors_told(self, old: torch.Tensor, new: torch.Tensor, *options: str) -> str:
        """The same for a tensor x."""
        for folder, values in ((self.a, old), (self.b, new)):
            put_tensors(folder / WEIGHTS, {"x": values})
        return self.told(*options) if self.compared(*options).status else ""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    put_all(folder / "a", "old")
    put_all(folder / "b", "new")
    return folder


@pytest.fixture
def pair(written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Pair:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return Pair(tmp_path / "a", tmp_path / "b", capsys)


# What is compared


def test_equal_values_of_other_code_do_not_differ(pair: Pair) -> None:
    artefacts = [p for p in pair.a.rglob("*.*") if p.suffix in (".parquet", ".safetensors")]
    own = [path for path in artefacts if path != pair.a / "models/tiny/model.safetensors"]
    assert len(own) == N_ARTEFACTS
    # Files with one digest would not be read at all.
    for path in own:
        assert stored_digest(path) != stored_digest(pair.b / path.relative_to(pair.a))
    assert pair.compared() == (
        0,
        [],
        "Compared 10 artefacts of 1 study by value (rtol 1e-06, atol 1e-12) and 2 other files by "
        "name: none differs.",
    )


def test_the_same_folder_does_not_differ_from_itself(pair: Pair) -> None:
    assert pair._replace(b=pair.a).compared().status == 0


def test_a_changed_value_is_named_with_its_row_and_both_values(pair: Pair) -> None:
    changed = curves()
    changed.loc[[2, 5], "value"] += [0.25, 0.125]
    put_table(pair.b / CURVES, changed)
    status, lines, summary = pair.compared()
    told = (
        "value: 2 of 8 rows differ, largest 2.5e-01 at row 2 (replicate=0, step=100, "
        "split=train): 3 -> 3.25"
    )
    assert lines == [["toy", "full/r000-001", "curves.parquet", told]]
    assert status == 1
    assert summary.endswith("by name: 1 differs.")


@pytest.mark.parametrize("path", ["figures/toy/loss.parquet", SUMMARY])
def test_figures_and_tables_are_named_by_study(pair: Pair, path: str) -> None:
    put_table(pair.b / path, pd.DataFrame({"n": [1, 2], "mean": [0.5, 0.25]}))
    part, study, file = path.split("/")
    told = "mean: 1 of 2 rows differs, largest inf at row 1 (n=2): nan -> 0.25"
    assert pair.compared().lines == [[study, part, file, told]]


def test_a_changed_tensor_is_named_with_its_place_and_both_values(pair: Pair) -> None:
    changed = weights()
    changed["W_E"][1, 2, 3] = 23.5
    changed["W_E"][0, 1, 0] -= 1
    put_tensors(pair.b / WEIGHTS, changed)
    told = "W_E: 2 of 24 values differ, largest 1.0e+00 at [0, 1, 0]: 4 -> 3"
    assert pair.compared().lines == [["toy", "full/r000-001", "weights.safetensors", told]]


def test_a_model_is_compared_by_the_list_of_its_files(pair: Pair) -> None:
    (pair.b / "models/tiny/model.safetensors").unlink()
    assert pair.compared().status == 0
    put_model(pair.b, b"heights")
    ((study, part, file, told),) = pair.compared().lines
    assert (study, part, file) == ("models", "tiny", "files.parquet")
    assert told.startswith("sha256: 1 of 1 rows differs, first at row 0: '")


def test_shards_are_compared_by_their_tensors_not_their_digests(pair: Pair) -> None:
    indices = [pd.read_parquet(folder / STATES / "index.parquet") for folder in (pair.a, pair.b)]
    assert (indices[0]["digest"] != indices[1]["digest"]).all()
    put_shards(pair.b / STATES, shift=1.0)
    told = "h: 1 of 4 values differs, largest 1.0e+00 at [1, 0]: 5 -> 6"
    expected = ["toy", "full", "states/examples-00000004.safetensors", told]
    assert pair.compared().lines == [expected]


def test_other_columns_of_an_index_and_digests_elsewhere_count(pair: Pair) -> None:
    index = pd.read_parquet(pair.b / STATES / "index.parquet")
    put_table(pair.b / STATES / "index.parquet", index.assign(examples=[4, 3]))
    told = (
        "examples: 1 of 2 rows differs, first at row 1 (file=examples-00000004.safetensors): 4 -> 3"
    )
    assert pair.told() == told
    put_table(pair.b / STATES / "index.parquet", index)
    for folder in (pair.a, pair.b):
        put_table(folder / SUMMARY, pd.DataFrame({"digest": [folder.name]}))
    assert pair.told() == "digest: 1 of 1 rows differs, first at row 0: 'a' -> 'b'"


@pytest.mark.parametrize(
    "path", [".train.resume.safetensors", "toy/.hidden/x.parquet", "logs/x.txt", "toy/x.log"]
)
def test_logs_hidden_files_and_the_committed_page_are_left_out(pair: Pair, path: str) -> None:
    (pair.a / "README.md").write_text("page")
    (pair.a / path).parent.mkdir(exist_ok=True)
    (pair.a / path).write_text("text")
    assert pair.compared().status == 0


@pytest.mark.parametrize("path", ["figures/toy/loss.pdf", "report.html", CURVES, WEIGHTS])
def test_a_file_on_one_side_only_is_named(pair: Pair, path: str) -> None:
    (pair.b / path).unlink()
    status, lines, _ = pair.compared()
    assert status == 1
    assert [(line[-2], line[-1]) for line in lines] == [(Path(path).name, "only in A")]
    swapped = pair._replace(a=pair.b, b=pair.a)
    assert swapped.told() == "only in B"


def test_figures_and_pages_may_have_other_bytes(pair: Pair) -> None:
    (pair.b / "figures/toy/loss.pdf").write_bytes(b"another drawing")
    (pair.b / "report.html").write_text("another page")
    assert pair.compared().status == 0


def test_results_behind_a_link_are_compared(pair: Pair, tmp_path: Path) -> None:
    shutil.move(pair.b / "toy", tmp_path / "elsewhere")
    (pair.b / "toy").symlink_to(tmp_path / "elsewhere")
    assert pair.compared().status == 0


# Values


FLOATS = [
    (1.0, 1.0 + 5e-7, (), False),
    (1.0, 1.0 + 2e-6, (), True),
    (0.0, 5e-13, (), False),
    (0.0, 2e-12, (), True),
    (1.0, 1.1, ("--rtol", "0.1"), False),
    (1.0, 1.1, ("--atol", "0.11"), False),
    (1.0, 1.1, ("--atol", "0.09"), True),
    (1.0, 1.0 + 5e-7, ("--rtol", "0", "--atol", "0"), True),
    # The tolerance is relative to B.
    (0.0, 1.0, ("--rtol", "1"), False),
    (1.0, 0.0, ("--rtol", "1"), True),
    (math.nan, math.nan, (), False),
    (math.nan, 1.0, ("--rtol", "1"), True),
    (1.0, math.nan, ("--rtol", "1"), True),
    (math.inf, math.inf, (), False),
    (-math.inf, -math.inf, (), False),
    (math.inf, -math.inf, ("--rtol", "1"), True),
    (1.0, math.inf, ("--rtol", "1"), True),
    (math.inf, 1.0, ("--rtol", "1"), True),
]
"""Two values, options, and whether they differ."""


@pytest.mark.parametrize(("old", "new", "options", "differs"), FLOATS)
def test_floats_of_tables_differ_beyond_the_tolerance(
    pair: Pair, old: float, new: float, options: tuple[str, ...], differs: bool
) -> None:
    told = pair.tables_told([7.0, old], [7.0, new], *options)
    assert told.startswith("x: 1 of 2 rows differs, ") if differs else not told


@pytest.mark.parametrize(("old", "new", "options", "differs"), FLOATS)
def test_floats_of_tensors_differ_beyond_the_tolerance(
    pair: Pair, old: float, new: float, options: tuple[str, ...], differs: bool
) -> None:
    x, y = (torch.tensor([7.0, value], dtype=torch.float64) for value in (old, new))
    told = pair.tensors_told(x, y, *options)
    assert told.startswith("x: 1 of 2 values differs, ") if differs else not told


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([1, 2**53], [1, 2**53 + 1]),
        ([True, False], [True, True]),
        (["a", "b"], ["a", "c"]),
        (pd.array([1, 2], "Int64"), pd.array([1, None], "Int64")),
        (["a", None], ["a", "b"]),
    ],
)
def test_all_but_floats_must_be_equal(pair: Pair, old: object, new: object) -> None:
    told = pair.tables_told(old, new, "--rtol", "1", "--atol", "1e9")
    assert told.startswith("x: 1 of 2 rows differs, first at row 1: ")
    assert not pair.tables_told(new, new)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_tensors_of_integers_and_booleans_must_be_equal(pair: Pair, dtype: torch.dtype) -> None:
    old, new = torch.tensor([0, 1, 1]).to(dtype), torch.tensor([0, 0, 0]).to(dtype)
    told = pair.tensors_told(old, new, "--rtol", "1", "--atol", "1e9")
    assert told.startswith("x: 2 of 3 values differ, first at [1]: ")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_tensors_of_any_precision_are_compared(pair: Pair, dtype: torch.dtype) -> None:
    old, new = torch.tensor([0.5, 1.0]).to(dtype), torch.tensor([0.5, 1.5]).to(dtype)
    told = "x: 1 of 2 values differs, largest 5.0e-01 at [1]: 1 -> 1.5"
    assert pair.tensors_told(old, new) == told


def test_a_tensor_is_compared_to_its_end_in_parts(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaps, "_CHUNK", 4)
    old = torch.zeros(3, 5)
    new = old.clone()
    new[0, 3], new[2, 0], new[2, 4] = 1.0, 3.0, 2.0
    told = "x: 3 of 15 values differ, largest 3.0e+00 at [2, 0]: 0 -> 3"
    assert pair.tensors_told(old, new) == told
    told = "x: 3 of 15 values differ, first at [0, 3]: 0 -> 1"
    assert pair.tensors_told(old.long(), new.long()) == told


def test_tensors_without_axes_or_values_are_compared(pair: Pair) -> None:
    told = "x: 1 of 1 values differs, largest 1.0e+00 at []: 0 -> 1"
    assert pair.tensors_told(torch.tensor(0.0), torch.tensor(1.0)) == told
    assert not pair.tensors_told(torch.zeros(0, 3), torch.zeros(0, 3))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (0.913, 0.911, "0.913 -> 0.911"),
        (0.123456, 0.1234561, "0.123456 -> 0.1234561"),
        (0.1, math.nan, "0.1 -> nan"),
        ("x" * 60 + "left", "x" * 60 + "right", f"'…{'x' * 20}left' -> '…{'x' * 20}right'"),
        ("y" * 50, "z" + "y" * 50, f"'{'y' * 40}…' -> 'z{'y' * 39}…'"),
        ("a\nb", "a\nc", r"'a\nb' -> 'a\nc'"),
        ("short" * 20, "short" * 20 + "er", f"'…{'short' * 4}' -> '…{'short' * 4}er'"),
    ],
)
def test_both_values_can_be_told_apart(old: object, new: object, told: str) -> None:
    assert gaps.change(old, new) == told


# Tables and tensors of another form


def test_columns_on_one_side_and_of_another_type_are_named(pair: Pair) -> None:
    table = pd.DataFrame({"n": [1.0, 2.0], "median": [0.5, 0.5]})
    put_table(pair.b / SUMMARY, table)
    told = "column mean only in A; column median only in B; n: int64 -> double"
    assert pair.told() == told


def test_the_order_of_columns_does_not_matter(pair: Pair) -> None:
    table = pd.read_parquet(pair.b / SUMMARY)
    put_table(pair.b / SUMMARY, table[["mean", "n"]])
    assert pair.compared().status == 0


def test_the_order_of_rows_matters(pair: Pair) -> None:
    put_table(pair.b / CURVES, curves().iloc[::-1])
    assert pair.told().startswith("replicate: 8 of 8 rows differ, first at row 0: 0 -> 1; ")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([*range(8), 7], "8 -> 9 rows, otherwise alike"),
        ([*range(7)], "8 -> 7 rows, otherwise alike"),
        ([], "8 -> 0 rows, otherwise alike"),
        ([0, 1, 2, 2, *range(3, 8)], "8 -> 9 rows, unlike from row 3 on"),
    ],
)
def test_other_numbers_of_rows_are_told(pair: Pair, rows: list[int], told: str) -> None:
    put_table(pair.b / CURVES, curves().iloc[rows])
    assert pair.told() == told


def test_a_row_is_named_by_as_few_columns_as_tell_it_apart(pair: Pair) -> None:
    table = pd.DataFrame({"same": 1, "site": ["a\n" * 30, "b", "b"], "x": 0.5, "k": [1, 1, 2]})
    put_table(pair.a / SUMMARY, table.assign(value=[0, 1, 2]))
    text = r"a\n" * 20
    for row, name in enumerate([f"site={text}…", "site=b, k=1", "site=b, k=2"]):
        put_table(pair.b / SUMMARY, table.assign(value=[9 if i == row else i for i in range(3)]))
        assert pair.told() == f"value: 1 of 3 rows differs, first at row {row} ({name}): {row} -> 9"


def test_tensors_on_one_side_and_of_another_form_are_named(pair: Pair) -> None:
    changed = {"W_L": torch.ones(2), "W_U": torch.ones(2, 2, 1), "step": torch.arange(2).int()}
    put_tensors(pair.b / WEIGHTS, changed)
    assert pair.told() == "tensor W_E only in A; tensor W_L only in B; W_U: F32 [2, 2] -> " + (
        "F32 [2, 2, 1]; step: I64 [2] -> I32 [2]"
    )


def test_of_many_tensors_the_first_are_told_and_the_others_counted(pair: Pair) -> None:
    for folder, value in ((pair.a, 0.0), (pair.b, 1.0)):
        put_tensors(folder / WEIGHTS, {f"W_{i}": torch.tensor(value) for i in range(6)})
    parts = pair.told().split("; ")
    assert [part.split(":")[0] for part in parts] == ["W_0", "W_1", "W_2", "and 3 more tensors"]


# Verdicts


def test_a_changed_verdict_is_named_with_both(pair: Pair) -> None:
    put_claims(pair.b, board(groks=0.5, sparse=0.95))
    _, lines, summary = pair.compared()
    assert ["toy", "claims", "claims.parquet", "groks: replicated -> not replicated"] in lines
    toy = "toy/groks: replicated -> not replicated"
    assert ["all studies", "replication.parquet", toy] in lines
    numbers = [line[-1] for line in lines if line[-1].startswith("ours: ")]
    told = "ours: 1 of 2 rows differs, largest 5.0e-01 at row 0 (id=groks): 1 -> 0.5; "
    assert len(numbers) == 2
    assert all(line.startswith(told) for line in numbers)
    assert summary.endswith("2 differ.")


def test_a_number_that_leaves_the_verdict_alone_is_named(pair: Pair) -> None:
    put_claims(pair.b, board(groks=1.0, sparse=0.96))
    told = "ours: 1 of 2 rows differs, largest 1.0e-02 at row 1 (id=sparse): 0.95 -> 0.96"
    assert all(line[-1].startswith(told) for line in pair.compared().lines)
    assert len(pair.compared().lines) == 2


def test_one_more_claim_does_not_hide_another_verdict(pair: Pair) -> None:
    put_table(pair.b / CLAIMS, board(new=1.0, groks=1.0, sparse=0.5))
    told = [line[-1] for line in pair.compared().lines]
    assert told[:2] == ["claim new only in B", "sparse: replicated -> not replicated"]
    assert len(told) == 3
    put_table(pair.b / CLAIMS, board(groks=1.0))
    assert pair.told() == "claim sparse only in A"


def test_the_order_of_claims_matters(pair: Pair) -> None:
    put_table(pair.b / CLAIMS, board(sparse=0.95, groks=1.0))
    assert pair.told() == "the claims are in another order"


# Damage


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def alter(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [cut_short, alter, empty])
@pytest.mark.parametrize("path", [CURVES, WEIGHTS, CLAIMS, f"{STATES}/index.parquet"])
def test_a_damaged_file_is_told_and_the_others_are_compared(
    pair: Pair, harm: Callable[[Path], None], path: str
) -> None:
    harm(pair.b / path)
    (pair.b / "report.html").unlink()
    status, lines, _ = pair.compared()
    assert status == 1
    assert [line[-1] for line in lines if line[0] != "toy"] == ["only in A"]
    ((_, _, file, told),) = (line for line in lines if line[0] == "toy")
    assert path.endswith(file)
    assert told.startswith("in B: damaged: ")
    harm(pair.a / path)
    told = pair.compared().lines[-1][-1]
    assert told.startswith("in A: damaged: ")
    assert "; in B: damaged: " in told


def test_a_file_in_the_place_of_another_format_is_told(pair: Pair) -> None:
    shutil.copy(pair.a / WEIGHTS, pair.b / CURVES)
    assert pair.told().startswith("cannot be compared: ")
    shutil.copy(pair.a / CURVES, pair.b / CURVES)
    shutil.copy(pair.a / CURVES, pair.b / WEIGHTS)
    assert pair.told().startswith("cannot be compared: ")


def test_a_table_that_the_package_did_not_write_is_told(pair: Pair) -> None:
    curves().to_parquet(pair.b / CURVES)
    assert "mechflow did not write it" in pair.told()


# The report as a whole


def test_the_report_is_grouped_by_study_and_ends_in_counts(pair: Pair) -> None:
    for study in ("other", "toy"):
        put_table(pair.a / study / "a_long_name/x.parquet", pd.DataFrame({"x": [0]}))
    (pair.b / "figures/toy/loss.pdf").unlink()
    (pair.b / "report.html").unlink()
    assert compare.main([str(pair.a), str(pair.b)]) == 1
    assert pair.capsys.readouterr().out.splitlines() == [
        f"A: {pair.a}",
        f"B: {pair.b}",
        "",
        "all studies  report.html  only in A",
        "",
        "other  a_long_name  x.parquet  only in A",
        "",
        "toy  a_long_name  x.parquet  only in A",
        "toy  figures      loss.pdf   only in A",
        "",
        "Compared 12 artefacts of 2 studies by value (rtol 1e-06, atol 1e-12) and 2 other files by "
        "name: 4 differ.",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a"], "the following arguments are required: B"),
        (["a", "nowhere"], "nowhere: there is no such folder"),
        (["report.html", "a"], "report.html: is not a folder"),
        (["a", "empty"], "empty: there are no results in it"),
        (["a", "pages"], "pages: there are no results in it"),
        (["checkout", "a"], "did you mean checkout/results?"),
        (["a", "a", "--rtol", "-1"], "--rtol must be a number from 0 on, not -1.0"),
        (["a", "a", "--atol", "nan"], "--atol must be a number from 0 on, not nan"),
        (["a", "a", "--rtol", "little"], "invalid float value: 'little'"),
    ],
)
def test_wrong_calls_end_with_status_2_in_words(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    put_table(Path("a", SUMMARY), pd.DataFrame({"x": [0]}))
    for folder in ("empty", "pages", "checkout/results"):
        Path(folder).mkdir(parents=True)
    for page in ("report.html", "pages/README.md"):
        Path(page).write_text("page")
    with pytest.raises(SystemExit) as ended:
        compare.main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert words in said.err
    assert not said.out


def test_the_status_is_that_of_the_command(pair: Pair) -> None:
    (pair.b / "report.html").unlink()
    command = [sys.executable, "-m", "bench.compare", str(pair.a), str(pair.b)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 1
