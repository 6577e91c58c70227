"""What the number format of the stored states costs, by layer."""

import pandas as pd
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import NOTE_COLOUR, new_figure, small_pt, styled
from mechflow.studies.number_probes.config import Figures
from mechflow.studies.number_probes.figures import layered, palette

QUANTITIES = {
    "relative_error_median": ("median", "-"),
    "relative_error_max": ("largest", (0, (1.2, 1))),
}
UNIT_ROUNDOFF = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
"""Largest relative error of rounding one number."""
_PANEL_MM = 46.0


@styled
def draw_precision(data: FigureData, figures: Figures, style: Style) -> tuple[Figure, pd.DataFrame]:
    """Median and largest relative error of the states against float32."""
    table = data.table("extraction")
    errors = table[table["quantity"].isin(QUANTITIES)]
    figure = new_figure(style, 1, 62)
    axes = figure.subplots()
    source = Source()
    drawn = errors[errors["value"] > 0]
    if drawn.empty:
        panels.empty(axes, "states were not checked against float32,\nor equal it", style)
        return figure, source.table(("panel", "variant", "series", "x", "value"))
    colours = palette.variant_colours(data.variants, style)
    last = int(table["layer"].max())
    ends: list[layered.End] = []
    panels.log_axis(axes)
    limits = list(drawn["value"])
    roundoff = _roundoff(data)
    panels.limit_to(axes, limits + list(roundoff.values()), log=True)
    for variant in data.variants:
        for quantity, (name, line) in QUANTITIES.items():
            rows = layered.of(drawn, variant=variant, quantity=quantity).sort_values("layer")
            axes.plot(rows["layer"], rows["value"], color=colours[variant], ls=line, lw=1.0)
            source.add(
                rows[["layer", "value"]].rename(columns={"layer": "x"}),
                panel="relative error", variant=variant, series=name, kind="value",
            )  # fmt: skip
            if quantity == "relative_error_median" and len(rows):
                ends.append(
                    layered.End(
                        float(rows["value"].iloc[-1]), panels.readable(variant), colours[variant]
                    )
                )
    for dtype, value in roundoff.items():
        panels.reference_line(axes, value)
        axes.annotate(
            f"rounding to {dtype}", (last, value), (-1, -1.5), textcoords="offset points",
            ha="right", va="top", fontsize=small_pt(style), color=NOTE_COLOUR,
        )  # fmt: skip
        source.add_row(panel="relative error", series=dtype, kind="reference", value=value)
    palette.layer_axis(axes, last)
    palette.mark_final_norm(axes, last)
    axes.set_ylabel("relative error of the states")
    layered.label_ends(axes, ends, _PANEL_MM, style)
    panels.key(
        figure,
        [panels.Mark(f"{name} over prompts", line=line) for name, line in QUANTITIES.values()],
    )
    panels.note(figure, f"n = {_checked(data)} prompts of each variant")
    return figure, source.table()


def _roundoff(data: FigureData) -> dict[str, float]:
    """The error of rounding for each number format in use that loses something."""
    used = {data.config(variant).extraction.dtype for variant in data.variants}
    return {dtype: value for dtype, value in UNIT_ROUNDOFF.items() if dtype in used}


def _checked(data: FigureData) -> str:
    counts = sorted({data.config(variant).extraction.check_prompts for variant in data.variants})
    return " or ".join(map(str, counts))
