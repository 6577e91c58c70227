import math

import pandas as pd
import pytest

from mechflow import tabular


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (14099.0, "14099"),
        (14099.4, "14100"),
        (2850.0, "2850"),
        (2.03e-7, "2.03e-07"),
        (3e9, "3e+09"),
        (math.inf, "inf"),
        (math.nan, ""),
        (None, ""),
        (7, "7"),
        ("a_b", "a_b"),
    ],
)
def test_numbers_are_as_long_as_can_be_read(value, text):
    assert tabular.cell(value) == text


def test_a_number_and_its_interval_share_a_cell():
    table = pd.DataFrame(
        {
            "variant": ["full", "binary"],
            "loss": [0.5, 1.0],
            "loss_low": [0.25, math.nan],
            "loss_high": [0.75, math.nan],
            "n": [5, 1],
        }
    )
    assert tabular.readable(table).to_dict("list") == {
        "variant": ["full", "binary"],
        "loss": ["0.5 [0.25, 0.75]", "1"],
        "n": [5, 1],
    }


def test_plain_bounds_belong_to_the_column_before_them():
    table = pd.DataFrame({"ours": [2.0], "low": [1.0], "high": [3.0], "low_other": [4.0]})
    assert list(tabular.readable(table)) == ["ours", "low_other"]


def test_both_formats_show_intervals_and_escape_what_would_break_them():
    table = pd.DataFrame({"W_E": [1.0], "W_E_low": [0.5], "W_E_high": [1.5], "why": ["50 % | x"]})
    assert tabular.markdown(table).splitlines()[2] == r"| 1 [0.5, 1.5] | 50 % \| x |"
    assert r"W\_E & why \\" in tabular.latex(table)
    assert r"1 [0.5, 1.5] & 50 \% | x \\" in tabular.latex(table)


def test_an_empty_table_keeps_its_header():
    table = pd.DataFrame({"x": [], "x_low": [], "x_high": []})
    assert tabular.markdown(table).startswith("| x |\n")
