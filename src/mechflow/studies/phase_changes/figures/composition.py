"""Do the two heads of an induction circuit compose? Composition scores of pairs of heads."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import CONTROL_COLOUR, new_figure, small_pt, styled
from mechflow.studies.phase_changes import induction_circuit, outcomes, variants
from mechflow.studies.phase_changes.circuit_scores import COMPOSITIONS
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.figures import circuits, curves, lines, palette
from mechflow.studies.phase_changes.induction_circuit import Circuit

CIRCUIT, OTHERS, RANDOM = "circuit", "other pairs", "random heads"

_TITLES = {"k": "K-composition", "q": "Q-composition", "v": "V-composition"}
_MOST_NAMED = 6
"""Replicates up to which there is room for the names of their heads."""
_QUANTILES = (0.025, 0.975)


@styled
def draw_composition(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """K-, Q- and V-composition through training, and of each replicate at the end."""
    source = Source()
    name = variants.main_variant(data, "induction")
    found = induction_circuit.circuits(data, name) if name else {}
    if name is None or not found:
        text = "no model of two layers was trained on induction"
        return curves.nothing(style, text), source.table(curves.SOURCE_COLUMNS)
    colour = palette.colours(data, style)[name]
    figure = new_figure(style, 2, 96)
    grid = figure.subplots(2, len(COMPOSITIONS), sharey=True)
    drawn = []
    for (above, below), kind in zip(grid.T, COMPOSITIONS, strict=True):
        rows = outcomes.scores(data, name, f"{kind}_composition")
        random = outcomes.scores(data, name, f"{kind}_composition", "random")["value"].to_numpy()
        above.set_title(_TITLES[kind])
        labels = {"panel": f"{kind}_composition", "variant": name}
        _through_training(above, rows, found, colour, labels, source)
        _at_the_end(below, rows, found, colour, labels, source)
        for axes in (above, below):
            _random(axes, random)
        low, high = _interval(random)
        source.add_row(
            **labels, series=RANDOM, kind="interval of draws", y=float(random.mean()), low=low,
            high=high, n=random.size,
        )  # fmt: skip
        _replicate_ticks(below, found, style)
        drawn += [*rows["value"], low, high]
    panels.limit_to(grid[0, 0], drawn)
    grid[0, 0].set_ylabel("composition score")
    grid[1, 0].set_ylabel("composition score\nafter training")
    panels.key(
        figure,
        [
            panels.Mark("best previous-token head, best induction head", colour),
            panels.Mark("other pairs of heads", circuits.OTHER_COLOUR),
            panels.Mark("random heads", CONTROL_COLOUR, marker="s"),
        ],
    )
    own = data.table("progress")
    panels.note(figure, f"variant {panels.readable(name)}, {palette.scale(data, [name], own)}")
    return figure, source.table()


def _through_training(
    axes: Axes, rows: pd.DataFrame, found: Mapping[int, Circuit], colour: str,
    labels: dict[str, str], source: Source,
) -> None:  # fmt: skip
    """The pair of the circuit with mean and band before all other pairs."""
    pairs = circuits.chosen(rows, {r: circuit.pair for r, circuit in found.items()})
    lines.each(axes, rows[~pairs], circuits.OTHER_COLOUR, source, {**labels, "series": OTHERS})
    lines.seeds_and_mean(
        axes, rows[pairs], colour, source, {**labels, "series": CIRCUIT}, bounds=(0.0, 1.0)
    )
    axes.set_xlim(0, rows["step"].max())
    axes.set_xlabel(palette.STEP)


def _at_the_end(
    axes: Axes, rows: pd.DataFrame, found: Mapping[int, Circuit], colour: str,
    labels: dict[str, str], source: Source,
) -> None:  # fmt: skip
    """The scores of each replicate at its last checkpoint, and how many pairs score more."""
    for place, (replicate, circuit) in enumerate(found.items()):
        own = rows[rows["replicate"] == replicate]
        last = own[own["step"] == own["step"].max()].set_index("column")["value"]
        others = last.drop(circuit.pair)
        shift = np.linspace(-0.22, 0.22, len(others)) if len(others) > 1 else np.zeros(1)
        axes.plot(
            place + shift[: len(others)], others, ls="none", marker=".", ms=3.0, mew=0,
            color=circuits.OTHER_COLOUR, zorder=3,
        )  # fmt: skip
        axes.plot(place, last[circuit.pair], ls="none", marker="D", ms=4, mew=0, color=colour,
                  zorder=4)  # fmt: skip
        for pair, value in last.items():
            series = CIRCUIT if pair == circuit.pair else OTHERS
            source.add_row(
                **{**labels, "panel": f"{labels['panel']} after training"}, series=series,
                kind="replicate", replicate=replicate, head=str(pair), y=float(value),
            )  # fmt: skip


def _random(axes: Axes, values: np.ndarray) -> None:
    """The interval in which most pairs of random heads lie."""
    low, high = _interval(values)
    axes.axhspan(low, high, color=CONTROL_COLOUR, alpha=0.45, lw=0, zorder=0)


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, _QUANTILES).tolist()
    return low, high


def _replicate_ticks(axes: Axes, found: Mapping[int, Circuit], style: Style) -> None:
    """The replicates along the axis, with the heads of their circuits where there is room."""
    named = len(found) <= _MOST_NAMED
    names = [
        f"{r}\n{c.previous_token.name}\n{c.induction.name}" if named else str(r)
        for r, c in found.items()
    ]
    panels.ticks_at(axes, range(len(found)), names)
    axes.tick_params(axis="x", labelsize=small_pt(style))
    axes.set_xlim(-0.6, len(found) - 0.4)
    axes.set_xlabel("training seed, and its two heads" if named else "training seed")
