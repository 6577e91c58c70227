import hashlib
import os
import re
import subprocess
import sys
from io import BytesIO

import matplotlib.image
import pytest

from mechflow.config.study import Style
from mechflow.figures.panels import heat_map
from mechflow.figures.save import save_figure
from mechflow.figures.style import SIGNED, context, new_figure


def example() -> tuple[bytes, bytes]:
    style = Style(dpi=100)
    with context(style):
        figure = new_figure(style, 1, 40)
        left, right = figure.subplots(1, 2)
        left.plot([1, 2, 3], [1e-3, 1, 0.1], label="a line")
        left.set_yscale("log")
        left.fill_between([1, 2, 3], [1e-4, 0.1, 0.1], [1, 2, 3], alpha=0.2)
        left.set_title("$W_E$ − δ")
        left.legend()
        heat_map(right, [[1.0, -2.0], [0.5, 0.0]], SIGNED)
    return save_figure(figure, style)


def digests() -> str:
    return " ".join(hashlib.sha256(data).hexdigest() for data in example())


def test_two_processes_write_the_same_bytes():
    command = [sys.executable, "-c", "from tests.figures import test_save as t; print(t.digests())"]
    found = {
        subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, **environment}
        ).stdout
        for environment in (
            {"PYTHONHASHSEED": "1", "TZ": "UTC"},
            {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LANG": "C"},
        )
    }
    assert len(found) == 1


def test_saving_twice_gives_the_same_bytes():
    figure = new_figure(Style(), 1, 30)
    figure.subplots().plot([1, 2])
    assert save_figure(figure, Style()) == save_figure(figure, Style())


def test_files_hold_no_date_and_no_version():
    pdf, png = example()
    assert pdf.startswith(b"%PDF")
    assert not re.search(rb"CreationDate|ModDate|Producer|Creator|[Mm]atplotlib", pdf)
    assert not re.search(rb"Software|[Mm]atplotlib", png)


def test_fonts_are_embedded_as_truetype():
    pdf, _ = example()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf


@pytest.mark.parametrize("dpi", [80, 160])
def test_the_picture_has_the_resolution_of_the_style(dpi):
    style = Style(dpi=dpi, column_width_mm=50.8)
    figure = new_figure(style, 1, 25.4)
    _, png = save_figure(figure, style)
    assert matplotlib.image.imread(BytesIO(png)).shape[:2] == (dpi, 2 * dpi)
