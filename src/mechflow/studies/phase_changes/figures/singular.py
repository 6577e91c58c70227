"""Singular values of the heads' circuits, before and after training."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import band
from mechflow.figures.source import Source
from mechflow.figures.style import CONTROL_COLOUR, INK, new_figure, styled
from mechflow.studies import networks
from mechflow.studies.phase_changes import variants
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.figures import palette
from mechflow.studies.phase_changes.figures.curves import SOURCE_COLUMNS, nothing
from mechflow.studies.phase_changes.head_names import Head

CIRCUITS: Mapping[str, str] = {
    "QK": r"QK, $W_Q W_K^T\,/\,\sqrt{d_{head}}$",
    "QK_full": "QK between tokens",
    "OV": "OV, $W_V W_O$",
    "OV_full": "OV from tokens to answers",
}
_LINES: Mapping[str, Any] = {"trained": "-", "untrained": (0, (3.5, 1.2))}
_ROW_MM = 34
_PALEST = 0.45
"""How much of the colour the weakest head keeps."""


@styled
def draw_circuit_singular_values(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Singular values of every circuit of each task's model, layer by layer."""
    chosen = shown_variants(data)
    source = Source()
    if not chosen:
        return nothing(style, "no variant on infinite data was run"), source.table(SOURCE_COLUMNS)
    colours = palette.colours(data, style)
    spectra = by_strength(circuit_rows(data.table("spectra")))
    lines = [
        (variant, layer)
        for variant in chosen
        for layer in sorted(set(networks.select(spectra, variant=variant)["layer"]))
    ]
    figure = new_figure(style, 2, 14 + _ROW_MM * len(lines))
    grid = figure.subplots(len(lines), len(CIRCUITS), squeeze=False)
    for line, (variant, layer) in zip(grid, lines, strict=True):
        rows = networks.select(spectra, variant=variant, layer=layer)
        for axes, circuit in zip(line, CIRCUITS, strict=True):
            part = networks.select(rows, circuit=circuit)
            _values(axes, part, colours[variant], source)
            panels.corner_text(axes, _ranks(part, source), style, corner="upper right")
        panels.row_title(line[0], variant, colours[variant], f"singular value, block {layer + 1}")
    for axes, name in zip(grid[0], CIRCUITS.values(), strict=True):
        axes.set_title(name)
    for axes in grid[-1]:
        axes.set_xlabel("rank")
    panels.key(
        figure,
        [
            panels.Mark("trained (in the variant's colour)", INK, _LINES["trained"]),
            panels.Mark("untrained", CONTROL_COLOUR, _LINES["untrained"]),
            panels.Mark("the palest line: the head of the smallest norm", _pale(INK, 1.0)),
        ],
    )
    panels.note(figure, palette.scale(data, chosen, spectra))
    return figure, source.table()


def shown_variants(data: FigureData) -> list[str]:
    """For each task the first variant on infinite data that can do it."""
    found = [variants.plain(data, task, finite=False) for task in variants.TASKS]
    return [names[0] for names in found if names]


def circuit_rows(spectra: pd.DataFrame) -> pd.DataFrame:
    """Rows of the heads' circuits, with the columns circuit, layer and head."""
    pattern = rf"^({'|'.join(CIRCUITS)})\.(L\d+H\d+)$"
    found = spectra["matrix"].str.extract(pattern).set_axis(["circuit", "head"], axis=1)
    kept = found["circuit"].notna().to_numpy()
    heads = [Head.named(name) for name in found.loc[kept, "head"]]
    return spectra[kept].assign(
        circuit=found.loc[kept, "circuit"].to_numpy(),
        layer=[head.layer for head in heads],
        head=[head.name for head in heads],
    )


def by_strength(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a column ``place``: 0 for the head whose circuit has the largest norm.

    Which of a layer's heads does what is up to chance, so that heads of the same number cannot be
    averaged over networks; the strongest ones can.
    """
    keys = [*networks.KEY, "model", "circuit", "layer"]
    values = networks.select(rows, quantity="singular_value")
    norms = values["value"].pow(2).groupby([values[key] for key in [*keys, "head"]]).sum()
    places = norms.groupby(keys).rank(method="first", ascending=False).astype(int) - 1
    return rows.join(places.rename("place"), on=[*keys, "head"])


def _values(axes: Axes, rows: pd.DataFrame, colour: str, source: Source) -> None:
    """A line for each head, before and after training."""
    values = networks.select(rows, quantity="singular_value")
    values = values.assign(index=values["index"] + 1)
    last = max(1, int(values["place"].max()))
    for model, ink in (("untrained", CONTROL_COLOUR), ("trained", colour)):
        for place in sorted(set(values["place"])):
            mean = band(networks.select(values, model=model, place=place), "index")
            mean["low"] = mean["low"].clip(lower=0.0)
            shade = _pale(ink, place / last)
            panels.mean_line(axes, mean, shade, _LINES[model], shaded=model == "trained")
            source.add(
                mean.rename(columns={"mean": "y"}), **_labels(rows), series=model,
                head=f"{place + 1}", kind="mean",
            )  # fmt: skip
    axes.set_ylim(0.0, 1.08 * float(values["value"].max()))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _ranks(rows: pd.DataFrame, source: Source) -> str:
    """The mean effective rank over heads and networks, after and before training."""
    ranks = networks.select(rows, quantity="effective_rank").groupby("model")["value"].mean()
    for model, value in ranks.items():
        source.add_row(**_labels(rows), series=str(model), kind="effective rank", y=float(value))
    return f"effective rank {ranks['trained']:.1f}\n(untrained {ranks['untrained']:.1f})"


def _labels(rows: pd.DataFrame) -> dict[str, str]:
    layer, circuit = int(rows["layer"].iloc[0]), str(rows["circuit"].iloc[0])
    return {"panel": f"{circuit}, block {layer + 1}", "variant": str(rows["variant"].iloc[0])}


def _pale(colour: str, share: float) -> str:
    """A colour on its way to the palest one."""
    ramp = LinearSegmentedColormap.from_list("pale", [colour, "#ffffff"])
    return to_hex(ramp(share * (1 - _PALEST)))
