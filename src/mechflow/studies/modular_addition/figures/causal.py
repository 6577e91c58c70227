"""What ablations do to the loss, beside ablations of random frequencies and neurons."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import dots, per_replicate
from mechflow.figures.source import Source
from mechflow.figures.style import CONTROL_COLOUR, INK, REFERENCE_COLOUR, new_figure, styled
from mechflow.studies.modular_addition.config import Figures
from mechflow.studies.modular_addition.figures import shown

_PANELS = (
    ("remove_key", "W_E", "key frequencies removed from $W_E$"),
    ("keep_key", "W_E", "only key frequencies kept in $W_E$"),
    ("remove_key", "mlp_post", "key frequencies removed from neurons"),
    ("keep_key", "mlp_post", "only key frequencies kept in neurons"),
    ("ablate_cluster", "mlp_post", "neurons of one key frequency ablated"),
)
_STEP = 0.27


@styled
def draw_ablations(data: FigureData, figures: Figures, style: Style) -> tuple[Figure, pd.DataFrame]:
    """Test loss of the final networks after each intervention, one dot for each replicate."""
    variants = shown.compared(data, figures)
    colours = shown.colours(data, style)
    losses = shown.of(data.table("interventions"), split="test", metric="loss")
    losses = losses[losses["variant"].isin(variants)]
    figure = new_figure(style, 2, 104)
    grid = figure.subplots(2, 3, sharey=True)
    source = Source()
    order = (grid[0, 0], grid[0, 1], grid[1, 0], grid[1, 1], grid[1, 2])
    for axes, (intervention, site, title) in zip(order, _PANELS, strict=True):
        axes.set_title(title)
        changed = shown.of(losses, intervention=intervention, site=site)
        for place, variant in enumerate(variants):
            untouched = shown.of(losses, intervention="none", variant=variant)
            rows = shown.of(changed, variant=variant)
            labels = {"panel": f"{intervention} {site}", "variant": variant}
            _groups(axes, place, untouched, rows, colours[variant], labels, source)
        names = [panels.readable(v).replace(" ", "\n") for v in variants]
        panels.ticks_at(axes, range(len(variants)), names)
        for label, variant in zip(axes.get_xticklabels(), variants, strict=True):
            label.set_color(colours[variant])
        axes.set_xlim(-0.5, len(variants) - 0.5)
        uniform = {shown.uniform_loss(data, variant) for variant in variants}
        for level in sorted(uniform):
            panels.reference_line(axes, level)
            source.add_row(
                panel=f"{intervention} {site}", series="uniform", kind="reference", value=level
            )
    panels.log_axis(grid[0, 0])
    table = source.table()
    panels.limit_to(grid[0, 0], table.loc[table["kind"] == "replicate", "value"], log=True)
    for axes in grid[:, 0]:
        axes.set_ylabel("test loss (nats)")
    _explain(grid[0, 2])
    panels.note(figure, shown.scale(data, variants, losses))
    return figure, table


def _groups(
    axes: Axes, place: int, untouched: pd.DataFrame, rows: pd.DataFrame, colour: str,
    labels: dict[str, str], source: Source,
) -> None:  # fmt: skip
    """The untouched network, the intervention, and its random control, side by side."""
    real, random = shown.of(rows, control="none"), rows[rows["control"] != "none"]
    for offset, name, part, ink, filled in (
        (-_STEP, "untouched", untouched, INK, False),
        (0.0, "intervention", real, colour, True),
        (_STEP, "random control", random, CONTROL_COLOUR, True),
    ):
        if part.empty:
            continue
        values = per_replicate(part, ["variant"], log=True)
        summary = dots(values["value"].to_numpy(), log=True)
        panels.dots(
            axes, place + offset, values["value"].to_list(), summary, ink, filled=filled,
            spread=0.13,
        )  # fmt: skip
        source.add(values[["replicate", "value"]], **labels, series=name, kind="replicate")
        source.add_row(
            **labels, series=name, kind="mean", value=summary.centre, low=summary.low,
            high=summary.high, n=summary.n,
        )  # fmt: skip


def _explain(axes: Axes) -> None:
    """The key, in the place of a sixth panel."""
    axes.set_axis_off()
    marks = [
        panels.Mark("untouched network", INK, marker="o", filled=False),
        panels.Mark("intervention (in the variant's colour)", INK, marker="o"),
        panels.Mark("as many random frequencies or neurons", CONTROL_COLOUR, marker="o"),
        panels.Mark("all answers equally likely", REFERENCE_COLOUR, (0, (1, 1.5))),
    ]
    axes.legend(
        handles=[mark.handle() for mark in marks], loc="center", labelspacing=0.9,
        title="A dot is a training seed,\na bar their geometric mean\nwith its 95 % interval",
        title_fontsize="small",
    )  # fmt: skip
