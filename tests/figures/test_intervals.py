import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mechflow.figures.intervals import band, dots, per_replicate


def frame(values: dict[int, list[float]]) -> pd.DataFrame:
    rows = [(r, step, v) for r, series in values.items() for step, v in enumerate(series)]
    return pd.DataFrame(rows, columns=["replicate", "step", "value"])


def test_band_is_students_interval_over_replicates():
    found = band(frame({0: [1.0, 2.0], 1: [3.0, 2.0], 2: [5.0, 2.0]}), "step")
    assert found["mean"].tolist() == [3, 2]
    low, high = stats.t.interval(0.95, 2, loc=3, scale=2 / np.sqrt(3))
    assert found.loc[0, ["low", "high"]].tolist() == pytest.approx([low, high])
    assert found["n"].tolist() == [3, 3]


def test_band_of_losses_is_geometric():
    found = band(frame({0: [1e-6], 1: [1e-2]}), "step", log=True)
    assert found["mean"].item() == pytest.approx(1e-4)
    low, high = stats.t.interval(0.95, 1, loc=-4, scale=2)
    assert np.log10(found[["low", "high"]].iloc[0]).tolist() == pytest.approx([low, high])


def test_one_replicate_has_no_interval():
    found = band(frame({0: [1.0, 2.0]}), "step")
    assert found["mean"].tolist() == [1, 2]
    assert found[["low", "high"]].isna().all(axis=None)


def test_band_stops_where_a_replicate_stopped():
    found = band(frame({0: [1.0, 2.0, 3.0], 1: [1.0, 2.0]}), "step")
    assert found["x"].tolist() == [0, 1]


def test_a_loss_of_zero_is_drawn_at_the_bottom():
    assert 0 < band(frame({0: [0.0]}), "step", log=True)["mean"].item() < 1e-300


def test_dots_of_a_missing_value_have_no_mean():
    assert np.isnan(dots([1.0, float("nan")]).centre)
    assert dots([2.0]).centre == 2
    assert np.isnan(dots([2.0]).low)
    assert dots([1e-2, 1e-4], log=True).centre == pytest.approx(1e-3)


def test_draws_are_averaged_within_replicates():
    rows = pd.DataFrame({"replicate": [0, 0, 1], "site": "x", "value": [1.0, 4.0, 9.0]})
    assert per_replicate(rows, ["site"])["value"].tolist() == [2.5, 9]
    assert per_replicate(rows, ["site"], log=True)["value"].tolist() == pytest.approx([2, 9])
