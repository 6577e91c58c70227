import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures.style import (
    CONTROL_COLOUR,
    FURTHER_COLOURS,
    VARIANT_COLOURS,
    context,
    new_figure,
    small_pt,
    styled,
    variant_colours,
    width_mm,
)

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
}


def lab(colour: str, vision: str) -> np.ndarray:
    """CIE L*a*b* of a colour as it is seen."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(VISION[vision]) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.array(to_xyz) @ seen / [0.9505, 1, 1.089]
    f = [np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_colours_of_variants_can_be_told_apart(vision):
    for one, other in itertools.combinations([*VARIANT_COLOURS.values(), CONTROL_COLOUR], 2):
        distance = np.linalg.norm(lab(one, vision) - lab(other, vision))
        assert distance > 14, (one, other, distance)


def test_known_variants_keep_their_colours():
    assert variant_colours(["ternary", "full"], Style()) == {
        "full": VARIANT_COLOURS["full"],
        "ternary": VARIANT_COLOURS["ternary"],
    }


def test_users_choose_colours():
    style = Style(colours={"full": "#123456", "mine": "#654321"})
    assert variant_colours(["full", "mine"], style) == {"full": "#123456", "mine": "#654321"}


def test_a_new_variant_has_the_same_colour_whatever_else_runs():
    alone = variant_colours(["wide"], Style())["wide"]
    assert alone in FURTHER_COLOURS
    assert variant_colours(["full", "binary", "wide"], Style())["wide"] == alone


def test_new_variants_share_no_colour_while_there_are_enough():
    names = [f"variant_{i}" for i in range(len(FURTHER_COLOURS))]
    assert len(set(variant_colours([*names, "full"], Style()).values())) == len(names) + 1


def test_there_is_a_colour_for_any_number_of_variants():
    names = [f"variant_{i}" for i in range(30)]
    assert set(variant_colours(names, Style())) == set(names)


def test_widths_are_those_of_one_and_two_columns():
    style = Style(column_width_mm=85.0)
    assert width_mm(style, 1) == 85
    assert width_mm(style, 2) == 175
    assert new_figure(style, 2, 50).get_size_inches() == pytest.approx([175 / 25.4, 50 / 25.4])


@pytest.mark.parametrize(("base", "small"), [(7.0, 6.0), (9.0, 8.0), (6.5, 6.0), (5.0, 5.0)])
def test_small_text_stays_legible(base, small):
    assert small_pt(Style(font_size_pt=base)) == small


def test_drawing_changes_no_global_setting():
    before = dict(matplotlib.rcParams)

    @styled
    def draw(style: Style) -> float:
        return matplotlib.rcParams["font.size"]

    assert draw(Style(font_size_pt=9.0)) == 9
    assert draw(style=Style(font_size_pt=8.0)) == 8
    assert dict(matplotlib.rcParams) == before


def test_own_settings_of_the_user_do_not_show():
    with matplotlib.rc_context({"axes.facecolor": "black"}), context(Style()):
        assert matplotlib.rcParams["axes.facecolor"] == "white"


def test_a_drawing_function_needs_a_style():
    @styled
    def draw(figure: Figure) -> None: ...

    with pytest.raises(TypeError, match="style"):
        draw(Figure())
