import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.source import Source
from mechflow.figures.style import LEVELS, SIGNED
from mechflow.statistics import Interval, mean_interval


@pytest.fixture
def axes():
    return Figure().subplots()


def test_signed_maps_are_symmetric_about_zero(axes):
    mesh = panels.heat_map(axes, [[-1.0, 3.0]], SIGNED)
    assert mesh.get_clim() == (-3, 3)


def test_maps_of_zeros_have_a_scale(axes):
    assert panels.heat_map(axes, np.zeros((2, 2)), LEVELS).get_clim() == (0, 1)


def test_map_cells_are_centred_on_their_indices(axes):
    mesh = panels.heat_map(axes, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], LEVELS)
    assert mesh.get_array().ravel().tolist() == [1, 2, 3, 4, 5, 6]
    assert axes.get_xlim() == (-0.5, 2.5)
    assert axes.get_ylim() == (-0.5, 1.5)


def test_limits_hold_all_values_and_ignore_what_cannot_be_drawn(axes):
    axes.set_yscale("log")
    panels.limit_to(axes, [1e-5, 10.0, 0.0, np.nan, np.inf], log=True)
    low, high = axes.get_ylim()
    assert 1e-6 < low < 1e-5
    assert 10 < high < 100


def test_limits_of_a_constant_have_room(axes):
    panels.limit_to(axes, [2.0, 2.0])
    low, high = axes.get_ylim()
    assert low < 2 < high


def test_limits_of_nothing_stay(axes):
    before = axes.get_ylim()
    panels.limit_to(axes, [np.nan])
    assert axes.get_ylim() == before


def test_a_dot_for_each_replicate_and_a_bar_for_their_mean(axes):
    panels.dots(axes, 1.0, [1.0, 2.0, 3.0], mean_interval([1.0, 2.0, 3.0]), "#000000")
    (line,) = axes.lines
    assert line.get_ydata().tolist() == [1, 2, 3]
    assert np.mean(line.get_xdata()) == pytest.approx(1)
    assert len(axes.collections) == 2


def test_one_replicate_is_a_dot_without_a_bar(axes):
    panels.dots(axes, 0.0, [1.0], Interval(1.0, np.nan, np.nan, 1), "#000000")
    assert len(axes.lines) == 1
    assert not axes.collections


def test_a_mean_without_an_interval_has_no_band(axes):
    band = pd.DataFrame({"x": [0, 1], "mean": [1.0, 2.0], "low": np.nan, "high": np.nan})
    panels.mean_line(axes, band, "#000000")
    assert not axes.collections
    panels.mean_line(axes, band.assign(low=0.0, high=3.0), "#000000")
    assert len(axes.collections) == 1


def test_no_text_is_smaller_than_the_style_says(axes):
    style = Style()
    text = panels.corner_text(axes, "note", style, corner="lower right")
    assert text.get_fontsize() >= 6


def test_source_data_keep_labels_and_order():
    source = Source()
    source.add_map([[1.0, 2.0]], "a", "b", panel="head", replicate=3)
    source.add_row(panel="text", y=1.5, variant="full")
    table = source.table()
    assert list(table)[:3] == ["panel", "variant", "replicate"]
    assert table["panel"].tolist() == ["head", "head", "text"]
    assert table[["a", "b", "value"]].iloc[1].tolist() == [0, 1, 2]
    assert table["replicate"].isna().tolist() == [False, False, True]


def test_source_data_of_nothing_keep_their_columns():
    table = Source().table(("row", "value"))
    assert list(table) == ["row", "value"]
    assert table.empty
