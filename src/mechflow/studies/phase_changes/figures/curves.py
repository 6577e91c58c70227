"""Loss against the step, task by task: on infinite data, and on finite train sets."""

from collections.abc import Callable, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.curves import censored_summary
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.intervals import band
from mechflow.figures.source import Source
from mechflow.figures.style import INK, REFERENCE_COLOUR, SPLIT_LINES, new_figure, small_pt, styled
from mechflow.studies import networks
from mechflow.studies.phase_changes import outcomes, variants
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.figures import lines, palette

HEIGHT_MM = 100
SCALES = ("linear", "log")
"""The scale of the loss in the upper and in the lower row."""

_TRAIN_WIDTH = 0.45
_LINE_PT = 8
"""Distance of the names of variants above a panel."""

DrawCurves = Callable[[Axes, pd.DataFrame, str, str, Source], None]


@styled
def draw_infinite_data(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Loss of the variants that see fresh sequences in every update."""
    return _by_task(data, style, finite=False, curves=_test_over_train)


@styled
def draw_finite_data(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Loss of the variants that see the same train set again and again, and who groks."""
    return _by_task(data, style, finite=True, curves=_test_and_train)


def _by_task(
    data: FigureData, style: Style, *, finite: bool, curves: DrawCurves
) -> tuple[Figure, pd.DataFrame]:
    by_task = {task: variants.of_task(data, task, finite=finite) for task in variants.TASKS}
    by_task = {task: names for task, names in by_task.items() if names}
    source = Source()
    kind = "with finite train sets" if finite else "on infinite data"
    if not by_task:
        return nothing(style, f"no variant {kind} was run"), source.table(SOURCE_COLUMNS)
    losses = networks.select(data.table("curves"), metric="loss")
    colours = palette.colours(data, style)
    figure = new_figure(style, 2 if len(by_task) > 1 else 1, HEIGHT_MM)
    grid = figure.subplots(2, len(by_task), squeeze=False, sharex="col")
    for column, (task, names) in enumerate(by_task.items()):
        references = _references(data, names)
        for axes, scale in zip(grid[:, column], SCALES, strict=True):
            shown = losses[losses["variant"].isin(names)]
            for name in names:
                curves(axes, networks.select(shown, variant=name), colours[name], scale, source)
            fit(axes, shown, references, scale)
            palette.mark_references(axes, references, style)
            _note_references(references, f"{task}, {scale}", source)
        _title(grid[0, column], task, names, colours, style)
        grid[1, column].set_xlabel(palette.STEP)
        if finite:
            text = "\n".join(_grokked(data, name, len(names) > 1) for name in names)
            grid[1, column].set_title(text, fontsize=small_pt(style), pad=4)
    for axes in grid[:, 0]:
        axes.set_ylabel(palette.LOSS)
    train = "train set" if finite else "batch of the update"
    panels.key(
        figure,
        [
            panels.Mark("test", line=SPLIT_LINES["test"]),
            panels.Mark(train, line=SPLIT_LINES["train"]),
            panels.Mark("reference", REFERENCE_COLOUR, (0, (1, 1.5))),
        ],
    )
    used = [name for names in by_task.values() for name in names]
    panels.note(figure, palette.scale(data, used, losses))
    return figure, source.table()


SOURCE_COLUMNS = ("panel", "variant", "series", "kind", "replicate", "x", "y", "low", "high", "n")


def nothing(style: Style, text: str) -> Figure:
    """A figure that has nothing to show, and says why."""
    figure = new_figure(style, 1, 20)
    panels.empty(figure.subplots(), text, style)
    return figure


def fit(axes: Axes, rows: pd.DataFrame, references: dict[str, list[float]], scale: str) -> None:
    """Fits a panel to the losses in it, and to the references on a linear scale."""
    levels = [y for ys in references.values() for y in ys]
    if scale == "log":
        panels.log_axis(axes)
        panels.limit_to(axes, [*rows["value"], *levels], log=True)
    else:
        axes.set_ylim(0.0, 1.06 * max([*rows["value"], *levels]))
    axes.set_xlim(0, rows["step"].max())


def _test_over_train(
    axes: Axes, rows: pd.DataFrame, colour: str, scale: str, source: Source
) -> None:
    """The test loss, and over it the loss of batches, which is the same but for noise."""
    labels = _labels(rows, scale)
    test = networks.select(rows, split="test")
    lines.seeds_and_mean(axes, test, colour, source, {**labels, "series": "test"}, log=True)
    batches = band(networks.select(rows, split="train"), "step", log=True)
    axes.plot(
        batches["x"], batches["mean"], color=INK, ls=SPLIT_LINES["train"], lw=_TRAIN_WIDTH, zorder=4
    )
    drawn = batches[["x", "mean", "n"]].rename(columns={"mean": "y"})
    source.add(drawn, **labels, series="train", kind="mean")


def _test_and_train(
    axes: Axes, rows: pd.DataFrame, colour: str, scale: str, source: Source
) -> None:
    for split, line in SPLIT_LINES.items():
        part = networks.select(rows, split=split)
        labels = {**_labels(rows, scale), "series": split}
        lines.seeds_and_mean(axes, part, colour, source, labels, line=line, log=True)


def _labels(rows: pd.DataFrame, scale: str) -> dict[str, str]:
    return {"panel": scale, "variant": str(rows["variant"].iloc[0])}


def _references(data: FigureData, names: Sequence[str]) -> dict[str, list[float]]:
    return {kind: palette.reference_losses(data, names, kind) for kind in palette.REFERENCES}


def _note_references(references: dict[str, list[float]], panel: str, source: Source) -> None:
    for name, values in references.items():
        for value in values:
            source.add_row(panel=panel, series=name, kind="reference", y=value)


def _title(
    axes: Axes, task: str, names: Sequence[str], colours: dict[str, str], style: Style
) -> None:
    """The only variant of a column, or its task above the names of all its variants."""
    if len(names) == 1:
        panels.variant_title(axes, names[0], colours[names[0]])
        return
    axes.set_title(palette.TASK_NAMES[task], fontweight="bold", pad=4 + _LINE_PT * len(names))
    for row, name in enumerate(reversed(names)):
        axes.annotate(
            panels.readable(name), (0.5, 1), (0, 3 + _LINE_PT * row), xycoords="axes fraction",
            textcoords="offset points", ha="center", va="bottom", color=colours[name],
            fontsize=small_pt(style),
        )  # fmt: skip


def _grokked(data: FigureData, variant: str, several: bool) -> str:
    """Who learns the train set and who the test set, and how much later."""
    times = networks.select(outcomes.grokking_times(data), variant=variant)
    train, test, delay = (
        censored_summary(times[name]) for name in ("train_step", "test_step", "delay")
    )
    prefix = f"{panels.readable(variant)}: " if several else ""
    learnt = f"{prefix}train set learnt by {train.reached} of {train.n} seeds"
    if not test.reached:
        return f"{learnt},\ntest set by none"
    late = f", {delay.median:.0f} steps later" if delay.reached == delay.n else ""
    return f"{learnt},\ntest set by {test.reached}{late}"
