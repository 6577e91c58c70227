"""How many held-out numbers every probe reads, by layer."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import new_figure, styled
from mechflow.studies.number_probes import outcomes, published
from mechflow.studies.number_probes.config import Figures
from mechflow.studies.number_probes.figures import layered, palette

LEAST_SQUARES = ("linear", "log", "digits")
_HEIGHT_MM = 68.0
_PANEL_MM = 50.0


@styled
def draw_accuracy_by_layer(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Share of held-out numbers read by trained codes, and by least squares."""
    variant = figures.main
    figure = new_figure(style, 2, _HEIGHT_MM)
    grid = figure.subplots(1, 2, sharey=True)
    source = Source()
    families = (
        ("trained codes", bases(data, variant)),
        ("least squares", [f"{palette.LEAST_SQUARES}{name}" for name in LEAST_SQUARES]),
    )
    last = outcomes.last_layer(data, variant)
    for axes, (title, probes) in zip(grid, families, strict=True):
        axes.set_ylim(-0.02, 1.02)
        axes.set_title(title, loc="left")
        _panel(axes, data, variant, title, probes, source, style)
        palette.layer_axis(axes, last)
        palette.mark_final_norm(axes, last)
    grid[0].set_ylabel("share of held-out numbers read")
    _keep_published_inverse(data, variant, source)
    pale = ""
    if published.is_published_model(data, variant):
        pale = "; pale: published, share of prompts"
        layers = published.published_layers(last)
        for axes, (title, probes) in zip(grid, families, strict=True):
            _published(axes, title, probes, layers, source)
    fits = outcomes.accuracies(data, variant, f"{palette.LEAST_SQUARES}linear")
    panels.note(figure, layered.scale_text(data, variant, fits) + pale)
    return figure, source.table().assign(variant=variant)


def bases(data: FigureData, variant: str) -> list[str]:
    """The codes whose probes were trained, in their order."""
    table = data.table("readout")
    return list(dict.fromkeys(table.loc[table["variant"] == variant, "basis"]))


def _panel(
    axes: Axes, data: FigureData, variant: str, title: str, probes: list[str], source: Source,
    style: Style,
) -> None:  # fmt: skip
    ends = []
    for probe in probes:
        colour = palette.probe_colour(probe)
        found = layered.draw(
            axes, outcomes.accuracies(data, variant, probe), colour, palette.probe_line(probe),
            source, panel=title, series=probe,
        )  # fmt: skip
        if found is not None:
            last = float(found["mean"].iloc[-1])
            ends.append(layered.End(last, palette.probe_name(probe), colour))
    layered.label_ends(axes, ends, _PANEL_MM, style)


def _published(
    axes: Axes, title: str, probes: list[str], layers: list[int], source: Source
) -> None:
    """The notebook's numbers, at the layers that it read."""
    for probe in (*probes, f"{palette.LEAST_SQUARES}log_published"):
        values = published.OPERAND_ACCURACY.get(probe)
        if values is None or probe.startswith(palette.LEAST_SQUARES) != (title == "least squares"):
            continue
        rows = published_rows(layers, values)
        axes.plot(
            rows["x"], rows["mean"], color=palette.probe_colour(probe), lw=2.0, alpha=0.3, zorder=1
        )
        source.add(rows, kind="published", panel=title, series=probe)


def published_rows(layers: Sequence[int], values: Sequence[float]) -> pd.DataFrame:
    """Published numbers at our numbers of the layers: columns x and mean."""
    count = min(len(layers), len(values))
    return pd.DataFrame({"x": list(layers[:count]), "mean": list(values[:count])})


def _keep_published_inverse(data: FigureData, variant: str, source: Source) -> None:
    """The published inverse of the logarithm is kept beside what is drawn."""
    probe = f"{palette.LEAST_SQUARES}log_published"
    wide = outcomes.accuracies(data, variant, probe)
    if not wide.empty:
        rows = layered.over_fits(wide)
        source.add(rows, kind="not drawn", panel="least squares", series=probe)
