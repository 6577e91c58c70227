"""Does the model use the number that probes read? What exchanged states do to its runs."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import (
    CONTROL_COLOUR,
    INK,
    LEVELS,
    new_figure,
    small_pt,
    styled,
)
from mechflow.statistics import Interval, share_interval
from mechflow.studies.number_probes.config import Figures
from mechflow.studies.number_probes.figures.layered import model_text, of
from mechflow.studies.number_probes.figures.number_line import (
    exchanged_axis,
    layers_upwards,
)

NEXT_TOKEN = -1
"""Read layer of what is measured at the model's next token."""
SOURCE, BASE = "#0072b2", "#d55e00"
_TOKENS = {"operand": "all tokens of b exchanged", "last": "last token of b exchanged"}
_DASHED = (0, (3.5, 1.2))
_DOTTED = (0, (1, 1.2))
_RANDOM = "random_direction"
_MOSTLY = 0.5


@styled
def draw_interchange(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Whose next token and whose number runs give in which b was exchanged, by layer."""
    source = Source()
    table = _exchanged(data, figures.causal)
    if table.empty:
        figure = new_figure(style, 1, 30)
        panels.empty(figure.subplots(), "no pairs were exchanged: not run at this scale", style)
        return figure, source.table(["panel", "variant", "series", "kind", "value"])
    last = int(table["read_layer"].max())
    figure = new_figure(style, 2, 104)
    grid = figure.subplots(2, 3)
    for axes, tokens in zip(grid[0], _TOKENS, strict=False):
        _next_token(axes, of(table, tokens=tokens), tokens, last, source)
        axes.set_title(_TOKENS[tokens])
    grid[0, 0].set_ylabel("share of pairs:\nnext token")
    _leaning(grid[0, 2], table, last, style, source)
    _decoded(grid[1, 0], table, last, source)
    _where_read(figure, grid[1, 1], of(table, tokens="last", control="none"), last, source)
    _left_alone(grid[1, 2], table, style, source)
    panels.key(
        figure,
        [
            panels.Mark("as the source", SOURCE),
            panels.Mark("still as the base", BASE),
            panels.Mark("as the source, probe where it is put in", SOURCE, _DOTTED),
            panels.Mark("moved as far in a random direction", CONTROL_COLOUR, _DASHED),
        ],
    )
    name = panels.readable(str(figures.causal))
    panels.note(figure, f"{model_text(data, str(figures.causal))}, variant {name}, {_pairs(table)}")
    return figure, source.table().assign(variant=figures.causal)


def _exchanged(data: FigureData, variant: str | None) -> pd.DataFrame:
    """Rows of the variant, none if there is no such variant."""
    table = data.table("interventions")
    kept: pd.DataFrame = table[table["variant"] == variant]
    return kept


def shares(rows: pd.DataFrame, by: str = "layer") -> pd.DataFrame:
    """Shares of all pairs with Wilson's interval, replicates together: x, mean, low, high, n.

    Args:
        rows: shares (`value`) of `n` pairs each.
        by: what is along the axis.
    """
    found = []
    for place, own in rows.groupby(by, sort=True):
        found.append((place, *share_of_pairs(own)))
    return pd.DataFrame(found, columns=["x", "mean", "low", "high", "n"])


def share_of_pairs(rows: pd.DataFrame) -> Interval:
    """The share of the pairs of several rows taken together; NaN without pairs."""
    counted = rows[rows["n"] > 0]
    n = int(counted["n"].sum())
    return share_interval(round(float((counted["value"] * counted["n"]).sum())), n)


def _share_line(
    axes: Axes, rows: pd.DataFrame, colour: str, line: Any, labels: dict[str, str], source: Source
) -> None:
    if rows.empty:
        return
    found = shares(rows)
    panels.mean_line(axes, found, colour, line)
    source.add(found, **labels, kind="share")


def _share_axis(axes: Axes, last: int) -> None:
    axes.set_ylim(-0.03, 1.03)
    exchanged_axis(axes, last - 1)


def _next_token(axes: Axes, rows: pd.DataFrame, tokens: str, last: int, source: Source) -> None:
    """Share of pairs whose next token is the source's, and the base's still."""
    if rows.empty:
        axes.set_axis_off()
        return
    for control, metric, colour, line in (
        ("none", "next_token_base", BASE, "-"),
        (_RANDOM, "next_token_source", CONTROL_COLOUR, _DASHED),
        ("none", "next_token_source", SOURCE, "-"),
    ):
        labels = {"panel": f"next token, {tokens}", "series": f"{metric}, {control}"}
        _share_line(axes, of(rows, control=control, metric=metric), colour, line, labels, source)
    _share_axis(axes, last)


def _leaning(axes: Axes, table: pd.DataFrame, last: int, style: Style, source: Source) -> None:
    """Change of the log-probability of both clean next tokens, all tokens exchanged."""
    tokens = "operand" if "operand" in set(table["tokens"]) else "last"
    rows = of(table, tokens=tokens)
    for control, side, colour, line in (
        (_RANDOM, "source", CONTROL_COLOUR, _DASHED),
        ("none", "base", BASE, "-"),
        ("none", "source", SOURCE, "-"),
    ):
        own = of(rows, control=control, metric=f"log_prob_change_{side}")
        if own.empty:
            continue
        mean = own.groupby("layer")["value"].mean()
        axes.plot(mean.index, mean, color=colour, ls=line)
        frame = pd.DataFrame({"x": mean.index, "mean": mean.to_numpy()})
        labels = {"panel": "log-probability", "series": f"{side}, {control}"}
        source.add(
            frame.assign(n=own.groupby("layer")["n"].sum().to_numpy()), **labels, kind="mean"
        )
    panels.reference_line(axes, 0.0)
    axes.set_title(_TOKENS[tokens])
    axes.set_ylabel("change of log-probability\nof next token (nats)")
    exchanged_axis(axes, last - 1)


def _decoded(axes: Axes, table: pd.DataFrame, last: int, source: Source) -> None:
    """Share of pairs in which probes read the source's number, at once and after the last block."""
    rows = of(table, metric="decoded_source", tokens="last")
    if rows.empty:
        axes.set_axis_off()
        return
    at_once = rows[rows["read_layer"] == rows["layer"]]
    at_end = rows[rows["read_layer"] == rows["layer"].max()]
    for control, part, colour, line, name in (
        (_RANDOM, at_end, CONTROL_COLOUR, _DASHED, "after the last block"),
        ("none", at_once, SOURCE, _DOTTED, "where it is put in"),
        ("none", at_end, SOURCE, "-", "after the last block"),
    ):
        labels = {"panel": "number read", "series": f"{name}, {control}"}
        _share_line(axes, of(part, control=control), colour, line, labels, source)
    _share_axis(axes, last)
    axes.set_ylabel("share of pairs: probes\nread the source's number")
    axes.set_title(_TOKENS["last"])


def _where_read(figure: Figure, axes: Axes, rows: pd.DataFrame, last: int, source: Source) -> None:
    """Share of pairs in which the probe of each later layer reads the source's number."""
    rows = of(rows, metric="decoded_source")
    if rows.empty:
        axes.set_axis_off()
        return
    wide = rows.groupby(["read_layer", "layer"])["value"].mean().unstack("layer")
    grid = wide.reindex(index=range(last + 1), columns=range(last)).to_numpy()
    mesh = panels.heat_map(axes, grid, LEVELS, (0.0, 1.0), square=False)
    source.add_map(grid, "read_layer", "x", panel="where read", series="decoded_source", kind="map")
    exchanged_axis(axes, last - 1)
    axes.set_xlim(-0.5, last - 0.5)
    layers_upwards(axes, last)
    axes.set_ylabel("layer whose probe reads")
    axes.set_title(_TOKENS["last"])
    bar = panels.colour_bar(figure, mesh, axes, "share of pairs: source's number", shrink=0.95)
    bar.set_yticks([0, 0.5, 1])


def _left_alone(axes: Axes, table: pd.DataFrame, style: Style, source: Source) -> None:
    """In words: how often the model begins the right sum, without which following means less."""
    found = {}
    for side in ("base", "source"):
        rows = of(table, intervention="none", metric=f"first_token_correct_{side}")
        found[side] = share_of_pairs(rows)
        source.add_row(
            panel="left alone", series=f"{side} begins rightly", kind="text",
            mean=found[side].centre, low=found[side].low, high=found[side].high, n=found[side].n,
        )  # fmt: skip
    right = _when_right(table, source)
    lines = words(found["base"], found["source"], right, _half_way(table))
    axes.set_axis_off()
    axes.text(
        0.0, 1.0, "\n".join(lines), transform=axes.transAxes, va="top", color=INK,
        fontsize=small_pt(style), linespacing=1.35,
    )  # fmt: skip


def _when_right(table: pd.DataFrame, source: Source) -> dict[str, Interval]:
    """Share that follows the source half-way, of pairs that begin rightly both ways, by tokens."""
    rows = of(table, metric="next_token_when_right_source", control="none")
    found = {}
    for tokens in _TOKENS:
        own = of(rows, tokens=tokens, layer=_half_way(table))
        if own.empty:
            continue
        share = found[tokens] = share_of_pairs(own)
        source.add_row(
            panel="left alone", series=f"followed when both begin rightly, {tokens}", kind="text",
            x=_half_way(table), mean=share.centre, low=share.low, high=share.high, n=share.n,
        )  # fmt: skip
    return found


def _half_way(table: pd.DataFrame) -> int:
    return round(int(table["layer"].max()) / 2)


def words(
    base: Interval, source: Interval, when_right: Mapping[str, Interval], layer: int
) -> list[str]:
    """What a reader must know of the model's own answers.

    Args:
        base: share of base prompts whose right sum the model begins.
        source: the same of source prompts.
        when_right: by tokens exchanged, the share of pairs that follow the source at a layer, of
            those whose both sums the model begins.
        layer: that layer.
    """
    lines = [
        "Left alone, the model begins the right sum",
        f"in {_share(base)} of the base prompts",
        f"and {_share(source)} of the source prompts.",
    ]
    if max(base.centre, source.centre) < _MOSTLY:
        lines += [
            "So following is about the model's own",
            "answers, which are mostly wrong.",
        ]
    if not when_right:
        return lines
    n = max(found.n for found in when_right.values())
    if n == 0:
        return [*lines, "No pair that can tell begins rightly both ways."]
    lines += [f"Of {n} pairs that begin rightly both ways,", f"after an exchange at layer {layer}:"]
    lines += [
        f"{_TOKENS[tokens].removesuffix(' exchanged')}: {_share(found)} follow"
        for tokens, found in when_right.items()
    ]
    return lines


def _share(found: Interval) -> str:
    if math.isnan(found.centre):
        return "an unknown share"
    low, high = 100 * found.low, 100 * found.high
    return f"{panels.percent(found.centre)} [{low:.0f}, {high:.0f}]"


def _pairs(table: pd.DataFrame) -> str:
    alone = table[table["intervention"] == "none"].groupby("metric")["n"].sum()
    telling = table[table["metric"] == "next_token_source"]
    told = telling.groupby(["control", "tokens", "layer"])["n"].sum()
    pairs = int(alone.max()) if len(alone) else 0
    return f"n = {pairs} pairs, {int(told.max()) if len(told) else 0} with different next tokens"
