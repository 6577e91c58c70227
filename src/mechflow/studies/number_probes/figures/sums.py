"""The sum at the place where the answer begins, beside the model's own answers."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import CONTROL_COLOUR, INK, new_figure, small_pt, styled
from mechflow.statistics import Interval, share_interval
from mechflow.studies.number_probes import answers, outcomes, published
from mechflow.studies.number_probes.config import Figures
from mechflow.studies.number_probes.figures import accuracy, layered, palette

LEAST_SQUARES = tuple(f"{palette.LEAST_SQUARES}{name}" for name in accuracy.LEAST_SQUARES)
_PANEL_MM = 46.0


@styled
def draw_sums(data: FigureData, figures: Figures, style: Style) -> tuple[Figure, pd.DataFrame]:
    """Accuracy on held-out sums by layer, and by size beside the model's own."""
    source = Source()
    figure = new_figure(style, 2, 66)
    variant = figures.sums
    if variant is None:
        panels.empty(figure.subplots(), "not run", style)
        return figure, source.table(("panel", "variant", "series", "x", "mean"))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.6, 1))
    left.set_ylim(-0.02, 1.02)
    left.set_title("by layer", loc="left")
    last = outcomes.last_layer(data, variant)
    bases = accuracy.bases(data, variant)
    ends = _probes(left, data, variant, [*bases, *LEAST_SQUARES], source)
    ends += _controls(left, data, variant, bases, source)
    asked = answering_variant(data, figures)
    if asked is not None:
        _own_accuracy(left, data, asked, last, source, style)
    if published.is_published_model(data, variant):
        _published(left, published.published_layers(last), source)
    palette.layer_axis(left, last)
    palette.mark_final_norm(left, last)
    left.set_ylabel("share of sums")
    layered.label_ends(left, ends, _PANEL_MM, style)
    _by_size(right, data, variant, bases, asked, source, style)
    right.tick_params(labelleft=False)
    fits = outcomes.accuracies(data, variant, bases[0])
    panels.note(figure, layered.scale_text(data, variant, fits))
    return figure, source.table().assign(variant=variant)


def answering_variant(data: FigureData, figures: Figures) -> str | None:
    """The variant whose model was let to complete prompts; None if there is none."""
    table = data.table("behaviour")
    for name in (figures.causal, figures.sums):
        if name is not None and (table["variant"] == name).any():
            return name
    return None


def own_accuracy(answered: pd.DataFrame) -> Interval:
    """Share of right answers with Wilson's interval."""
    return share_interval(int(answered["correct"].sum()), len(answered))


def _probes(
    axes: Axes, data: FigureData, variant: str, probes: Sequence[str], source: Source
) -> list[layered.End]:
    ends = []
    for probe in probes:
        colour = palette.probe_colour(probe)
        found = layered.draw(
            axes, outcomes.accuracies(data, variant, probe), colour, palette.probe_line(probe),
            source, panel="by layer", series=probe,
        )  # fmt: skip
        if found is not None:
            name = palette.probe_name(probe)
            if probe == f"{palette.LEAST_SQUARES}digits":
                name += ", least squares"
            ends.append(layered.End(float(found["mean"].iloc[-1]), name, colour))
    return ends


def _controls(
    axes: Axes, data: FigureData, variant: str, bases: Sequence[str], source: Source
) -> list[layered.End]:
    """The same codes with their rows shuffled, in the grey of controls; one label for all."""
    ends = []
    for basis in bases:
        wide = outcomes.accuracies(data, variant, basis, control="shuffled_values")
        found = layered.draw(
            axes, wide, CONTROL_COLOUR, palette.CONTROL_LINES[palette.UNTRAINED], source,
            panel="by layer", series=f"{basis}, shuffled values",
        )  # fmt: skip
        if found is not None:
            ends.append(
                layered.End(float(found["mean"].iloc[-1]), "shuffled values", CONTROL_COLOUR)
            )
    return ends[:1]


def _own_accuracy(
    axes: Axes, data: FigureData, asked: str, last: int, source: Source, style: Style
) -> None:
    """The model's own share of right answers, as a level line with its interval."""
    own = own_accuracy(layered.of(data.table("behaviour"), variant=asked))
    axes.axhline(own.centre, color=INK, lw=0.8, zorder=2)
    axes.axhspan(own.low, own.high, color=INK, alpha=0.12, lw=0, zorder=0)
    axes.annotate(
        f"the model itself: {panels.percent(own.centre)} of {own.n} sums right", (0, own.high),
        (1, 2), textcoords="offset points", va="bottom", ha="left", fontsize=small_pt(style),
    )  # fmt: skip
    source.add_row(
        panel="by layer", series="model", kind="mean", mean=own.centre, low=own.low,
        high=own.high, n=own.n,
    )  # fmt: skip


def _published(axes: Axes, layers: Sequence[int], source: Source) -> None:
    for probe, values in published.SUM_ACCURACY.items():
        rows = accuracy.published_rows(layers, values)
        axes.plot(rows["x"], rows["mean"], color=palette.probe_colour(probe), lw=2.0, alpha=0.3)
        source.add(rows, kind="published", panel="by layer", series=probe)


def _by_size(
    axes: Axes, data: FigureData, variant: str, bases: Sequence[str], asked: str | None,
    source: Source, style: Style,
) -> None:  # fmt: skip
    """By the number of digits of the sum: the model itself, and each code where it is best."""
    series: list[tuple[str, str, str, list[tuple[int, Interval]]]] = []
    if asked is not None:
        answered = layered.of(data.table("behaviour"), variant=asked)
        digits = answers.digits_of(answered["expected"])
        found = [
            (int(count), own_accuracy(answered[digits == count])) for count in sorted(set(digits))
        ]
        series.append(("model", "the model itself", INK, found))
    for basis in bases:
        layer = outcomes.best_layer(data, variant, basis)
        shares = answers.by_number(data, variant, basis, layer)
        found = answers.in_groups(shares, answers.digits_of(shares["number"]))
        name = f"{palette.probe_name(basis)}, "
        name += palette.layer_name(layer, outcomes.last_layer(data, variant))
        series.append((basis, name, palette.probe_colour(basis), found))
    ends = []
    for index, (name, words, colour, found) in enumerate(series):
        shift = 0.12 * (index - (len(series) - 1) / 2)
        places = [count + shift for count, _ in found]
        centres = [interval.centre for _, interval in found]
        marker = palette.probe_marker(name) if name != "model" else "*"
        axes.plot(
            places, centres, color=colour, lw=0.5, marker=marker, zorder=3, clip_on=False,
            ms=4.5 if name == "model" else 3,
        )  # fmt: skip
        for place, (count, interval) in zip(places, found, strict=True):
            axes.vlines(place, interval.low, interval.high, color=colour, lw=0.9)
            source.add_row(
                panel="by size", series=name, kind="mean", x=count, mean=interval.centre,
                low=interval.low, high=interval.high, n=interval.n,
            )  # fmt: skip
        ends.append(layered.End(centres[-1], words, colour))
    counts = sorted({count for *_, found in series for count, _ in found})
    panels.ticks_at(axes, counts, [str(count) for count in counts])
    axes.set_xlim(counts[0] - 0.3, counts[-1] + 0.3)
    axes.set_xlabel("digits of the sum")
    axes.set_title("by size of the sum", loc="left")
    layered.label_ends(axes, ends, _PANEL_MM, style)
