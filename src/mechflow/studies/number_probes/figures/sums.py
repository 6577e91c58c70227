"""The sum at the place where the answer begins, beside the model's own answers."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import CONTROL_COLOUR, INK, new_figure, styled
from mechflow.statistics import Interval, share_interval
from mechflow.studies.number_probes import answers, outcomes, published
from mechflow.studies.number_probes.config import Figures
from mechflow.studies.number_probes.figures import accuracy, gathering, layered, palette

WHOLE, PLACES, SIZES = "whole sum", "its digits", "whole sum, by size"
"""The panels."""
LEAST_SQUARES = tuple(f"{palette.LEAST_SQUARES}{name}" for name in accuracy.LEAST_SQUARES)
LEAST_TOP = 0.1
"""Where an axis of shares ends at least."""
_PANEL_MM = 42.0


@styled
def draw_sums(data: FigureData, figures: Figures, style: Style) -> tuple[Figure, pd.DataFrame]:
    """Accuracy on held-out sums and their digits by layer, and by size beside the model's own."""
    source = Source()
    figure = new_figure(style, 2, 62)
    variant = figures.sums
    if variant is None:
        panels.empty(figure.subplots(), "not run", style)
        return figure, source.table(("panel", "variant", "series", "x", "mean"))
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.15, 1.15, 0.85))
    answered = own_answers(data, figures)
    _whole(left, data, variant, answered, source, style)
    _by_place(middle, data, variant, answered, source, style)
    _by_size(right, data, variant, answered, source, style)
    last = outcomes.last_layer(data, variant)
    for axes in (left, middle):
        palette.layer_axis(axes, last)
        palette.mark_final_norm(axes, last)
    for axes, title in ((left, WHOLE), (middle, PLACES), (right, SIZES)):
        axes.set_title(title, loc="left")
    left.set_ylabel("share read or answered")
    fits = outcomes.accuracies(data, variant, LEAST_SQUARES[0])
    text = layered.scale_text(data, variant, fits)
    panels.note(figure, f"{text}; {len(answered)} sums answered by the model")
    return figure, source.table().assign(variant=variant)


def own_answers(data: FigureData, figures: Figures) -> pd.DataFrame:
    """What the model itself answered, in the first variant that asked it; no rows if none did."""
    table = data.table("behaviour")
    asked = [name for name in (figures.causal, figures.sums) if name in set(table["variant"])]
    return table[table["variant"].isin(asked[:1])]


def own_accuracy(answered: pd.DataFrame) -> Interval:
    """Share of right answers with Wilson's interval."""
    return share_interval(int(answered["correct"].sum()), len(answered))


def _whole(
    axes: Axes, data: FigureData, variant: str, answered: pd.DataFrame, source: Source,
    style: Style,
) -> None:  # fmt: skip
    """The whole sum, by layer: all probes, the control, and the model itself."""
    ends = []
    bases = accuracy.bases(data, variant)
    for probe in (*bases, *LEAST_SQUARES):
        scores = outcomes.accuracies(data, variant, probe)
        name = palette.probe_name(probe)
        name = "digits, least squares" if probe == gathering.PROBE else name
        look = (palette.probe_colour(probe), palette.probe_line(probe))
        ends += _line(axes, scores, look, name, source, WHOLE, probe)
    controls = []
    for basis in bases:
        scores = outcomes.accuracies(data, variant, basis, control="shuffled_values")
        look = (CONTROL_COLOUR, palette.CONTROL_LINES[palette.UNTRAINED])
        series = f"{basis}, shuffled values"
        controls += _line(axes, scores, look, "shuffled values", source, WHOLE, series)
    ends += controls[:1]
    if len(answered):
        ends += _level(axes, own_accuracy(answered), "model itself", source, WHOLE)
    if published.is_published_model(data, variant):
        _published(axes, published.published_layers(outcomes.last_layer(data, variant)), source)
    _fit(axes, source.table(), WHOLE)
    layered.label_ends(axes, ends, _PANEL_MM, style)


def _by_place(
    axes: Axes, data: FigureData, variant: str, answered: pd.DataFrame, source: Source,
    style: Style,
) -> None:  # fmt: skip
    """Each decimal place of the sum by least squares, and the first token that the model writes."""
    ends = []
    places = list(gathering.digit_targets(data, variant).items())[:-1]
    for colour, (target, name) in zip(palette.PLACE_COLOURS, places, strict=False):
        scores = outcomes.accuracies(data, variant, gathering.PROBE, target=target)
        ends += _line(axes, scores, (colour, "-"), name, source, PLACES, name)
    begun = answered["first_token_correct"]
    if len(begun) and (begun >= 0).all():
        own = share_interval(int(begun.sum()), len(begun))
        ends += _level(axes, own, "first token", source, PLACES)
    panels.reference_line(axes, gathering.CHANCE)
    axes.set_ylim(-0.02, 1.02)
    layered.label_ends(axes, ends, _PANEL_MM, style)


def _by_size(
    axes: Axes, data: FigureData, variant: str, answered: pd.DataFrame, source: Source,
    style: Style,
) -> None:  # fmt: skip
    """By the number of digits of the sum: the model itself, and each code where it is best."""
    series: list[tuple[str, str, str, list[tuple[int, Interval]]]] = []
    if len(answered):
        digits = answers.digits_of(answered["expected"])
        found = [(int(n), own_accuracy(answered[digits == n])) for n in sorted(set(digits))]
        series.append(("model itself", "model itself", INK, found))
    for basis in accuracy.bases(data, variant):
        layer = outcomes.best_layer(data, variant, basis)
        shares = answers.by_number(data, variant, basis, layer)
        found = answers.in_groups(shares, answers.digits_of(shares["number"]))
        series.append((basis, palette.probe_name(basis), palette.probe_colour(basis), found))
    ends = []
    for index, (name, words, colour, found) in enumerate(series):
        shift = 0.12 * (index - (len(series) - 1) / 2)
        places = [count + shift for count, _ in found]
        centres = [interval.centre for _, interval in found]
        marker = "*" if name == "model itself" else palette.probe_marker(name)
        axes.plot(places, centres, color=colour, lw=0.5, marker=marker, zorder=3, clip_on=False)
        for place, (count, interval) in zip(places, found, strict=True):
            axes.vlines(place, interval.low, interval.high, color=colour, lw=0.9)
            source.add_row(**_row(SIZES, name, interval), x=count)
        ends.append(layered.End(centres[-1], words, colour))
    counts = sorted({count for *_, found in series for count, _ in found})
    panels.ticks_at(axes, counts, [str(count) for count in counts])
    axes.set_xlim(counts[0] - 0.3, counts[-1] + 0.3)
    axes.set_xlabel("digits of the sum")
    _fit(axes, source.table(), SIZES)
    layered.label_ends(axes, ends, _PANEL_MM, style)


def _line(
    axes: Axes, scores: pd.DataFrame, look: tuple[str, object], name: str, source: Source,
    panel: str, series: str,
) -> list[layered.End]:  # fmt: skip
    """One line over layers, and its label if there is a line."""
    colour, line = look
    found = layered.draw(axes, scores, colour, line, source, panel=panel, series=series)
    return [] if found is None else [layered.End(float(found["mean"].iloc[-1]), name, colour)]


def _level(
    axes: Axes, own: Interval, name: str, source: Source, panel: str
) -> list[layered.End]:  # fmt: skip
    """A share of the model's own answers, the same at all layers, and its label."""
    axes.axhline(own.centre, color=INK, lw=0.8, zorder=2)
    axes.axhspan(own.low, own.high, color=INK, alpha=0.12, lw=0, zorder=0)
    source.add_row(**_row(panel, name, own))
    return [layered.End(own.centre, f"{name}: {panels.percent(own.centre)}", INK)]


def _published(axes: Axes, layers: Sequence[int], source: Source) -> None:
    for probe, values in published.SUM_ACCURACY.items():
        rows = accuracy.published_rows(layers, values)
        axes.plot(rows["x"], rows["mean"], color=palette.probe_colour(probe), lw=2.0, alpha=0.3)
        source.add(rows, kind="published", panel=WHOLE, series=probe)


def _row(panel: str, series: str, found: Interval) -> dict[str, str | int | float]:
    summary = {"mean": found.centre, "low": found.low, "high": found.high, "n": found.n}
    return {"panel": panel, "series": series, "kind": "mean", **summary}


def _fit(axes: Axes, table: pd.DataFrame, panel: str) -> None:
    """Room for everything in the panel, from 0 on."""
    drawn = table[table["panel"] == panel]
    highest = float(drawn[["mean", "high"]].max().max())
    top = min(1.0, max(LEAST_TOP, 1.1 * highest))
    axes.set_ylim(-0.02 * top, 1.02 * top)
