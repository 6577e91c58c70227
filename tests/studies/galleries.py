"""Figures of the phase changes study drawn from made-up artefacts, for the tests of all of them."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures.data import FigureData
from mechflow.figures.style import context
from mechflow.studies.declaration import Figure as Declared
from mechflow.studies.phase_changes import (
    figure_texts_circuits,
    figure_texts_curves,
    figure_texts_digits,
)
from mechflow.studies.phase_changes import figures as package
from mechflow.studies.phase_changes.config import Figures
from tests.studies import fabricated_circuits, fabricated_digits, fabricated_phases
from tests.studies.test_modular_addition_figures import texts
from tests.studies.test_number_probes_figures import check_text

STYLE = Style(dpi=60)
Drawn = tuple[Figure, pd.DataFrame]


@dataclass(frozen=True)
class Gallery:
    """Figures that are drawn from artefacts made up by the same functions."""

    figures: Sequence[Declared]
    data: Callable[..., FigureData]
    """Takes what a figure may read, and what says of which variants."""
    some: Callable[[Sequence[str], int], Mapping[str, Any]]
    """Arguments for some variants with so many replicates."""
    every: Mapping[str, Any]
    """Arguments for all variants."""
    _default: dict[str, Drawn] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of the figures."""
        return [figure.name for figure in self.figures]

    def draw(self, name: str, shown: Figures | None = None, **options: Any) -> Drawn:
        """Draws a figure that may read nothing but what it declares."""
        (figure,) = (figure for figure in self.figures if figure.name == name)
        module = importlib.import_module(f"{package.__name__}.{figure.module}")
        data = self.data(reads=figure.reads, **{**self.every, **options})
        drawn, source = getattr(module, f"draw_{name}")(data, shown or Figures(), STYLE)
        assert isinstance(drawn, Figure)
        return drawn, source

    def draw_some(self, name: str, names: Sequence[str], replicates: int = 1) -> Drawn:
        """Draws a figure of some variants."""
        return self.draw(name, **self.some(names, replicates))

    def default(self, name: str) -> Drawn:
        """A figure of all variants, drawn once for all tests that only look."""
        if name not in self._default:
            self._default[name] = self.draw(name)
        return self._default[name]


def _of(module: Any) -> Callable[[Sequence[str], int], Mapping[str, Any]]:
    def some(names: Sequence[str], replicates: int) -> Mapping[str, Any]:
        variants = module.with_replicates(replicates)
        return {"variants": {name: variants[name] for name in names}}

    return some


CURVES = Gallery(
    figure_texts_curves.FIGURES,
    fabricated_phases.data,
    _of(fabricated_phases),
    {"variants": fabricated_phases.VARIANTS},
)
DIGITS = Gallery(
    figure_texts_digits.FIGURES,
    fabricated_digits.data,
    _of(fabricated_digits),
    {"variants": fabricated_digits.VARIANTS},
)
CIRCUITS = Gallery(
    figure_texts_circuits.FIGURES,
    fabricated_circuits.data,
    lambda names, replicates: {"names": names, "replicates": replicates},
    {},
)
GALLERIES = {name: g for g in (CURVES, DIGITS, CIRCUITS) for name in g.names}
"""The gallery of each figure."""


def check_layout(figure: Figure) -> None:
    """No text lies on other text or off the page."""
    with context(STYLE):
        figure.draw_without_rendering()
        check_text(figure)


def words(figure: Figure) -> str:
    """All text of a figure, line breaks as spaces."""
    return " ".join(text.get_text() for text in texts(figure)).replace("\n", " ")
