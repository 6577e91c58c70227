from typing import NamedTuple

import torch

from mechflow.observations import Observations


class Subject(NamedTuple):
    matrix: str
    layer: int


def test_rows_name_their_replicate_and_index_in_the_order_of_addition() -> None:
    rows = Observations(range(3, 5))
    rows.add_series(Subject("W_E", 1), "norm", torch.tensor([[1.0, 2.0], [3.0, 4.0]]), first=7)
    rows.add(Subject("W_U", 2), "gini", torch.tensor([0.25, 0.5]))
    table = rows.table()
    assert list(table.columns) == ["replicate", "matrix", "quantity", "index", "value", "layer"]
    assert table.to_numpy().tolist() == [
        [3, "W_E", "norm", 7, 1.0, 1],
        [3, "W_E", "norm", 8, 2.0, 1],
        [4, "W_E", "norm", 7, 3.0, 1],
        [4, "W_E", "norm", 8, 4.0, 1],
        [3, "W_U", "gini", 0, 0.25, 2],
        [4, "W_U", "gini", 0, 0.5, 2],
    ]
    assert table.dtypes[["replicate", "index", "value"]].astype(str).tolist() == [
        "int64",
        "int64",
        "float64",
    ]


def test_what_is_absent_has_no_row() -> None:
    rows = Observations(range(2))
    mask = torch.tensor([[False, True, True], [False, False, True]])
    rows.add_present(Subject("", 0), "key", mask, first=1)
    found = rows.table()[["replicate", "index", "value"]].to_numpy().tolist()
    assert found == [[0, 2, 1.0], [0, 3, 1.0], [1, 3, 1.0]]
