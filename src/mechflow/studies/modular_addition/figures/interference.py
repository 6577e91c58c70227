"""How cosines of the key frequencies add up to a single peak at the right answer."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Label, Source
from mechflow.figures.style import CONTROL_COLOUR, INK, new_figure, styled
from mechflow.studies.modular_addition import outcomes
from mechflow.studies.modular_addition.config import Figures
from mechflow.studies.modular_addition.figures import shown


@styled
def draw_constructive_interference(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """The cosines of the key frequencies, and their mean, against a + b - c."""
    variants = shown.compared(data, figures)
    colours = shown.colours(data, style)
    keys = outcomes.key_frequencies(data)
    power = shown.of(data.table("spectra"), matrix="logits", quantity="frequency_power")
    power = shown.of(power, model="trained", replicate=figures.replicate)
    figure = new_figure(style, 2, 58)
    grid = figure.subplots(1, len(variants), squeeze=False, sharey=True)[0]
    source = Source()
    for axes, variant in zip(grid, variants, strict=True):
        panels.variant_title(axes, variant, colours[variant])
        chosen = keys[variant, figures.replicate]
        p = shown.modulus(data, variant)
        share = shown.of(power, variant=variant).set_index("index")["value"]
        labels: dict[str, Label] = {"variant": variant, "replicate": figures.replicate}
        if not chosen:
            panels.empty(axes, "no key frequency", style)
            continue
        sums = _cosines(axes, p, chosen, np.sqrt(share.loc[list(chosen)]), colours[variant])
        source.add(sums, panel="interference", **labels)
        others = sums[(sums["series"] == "mean of key cosines") & (sums["x"] != 0)]["y"]
        count = f"{len(chosen)} key {'frequency' if len(chosen) == 1 else 'frequencies'}"
        panels.corner_text(axes, f"{count}\nmargin {1 - others.max():.2f}", style)
        axes.set_xlabel("a + b − c (mod p)")
        axes.set_ylim(-1.05, 1.4)
        axes.set_yticks([-1, 0, 1])
    grid[0].set_ylabel("value, 1 at the right answer")
    panels.key(
        figure,
        [
            panels.Mark("cosine of one key frequency", CONTROL_COLOUR),
            panels.Mark("their mean (in the variant's colour)", INK),
            panels.Mark("weighted as the logits weight them", INK, (0, (3.5, 1.2))),
        ],
    )
    panels.note(figure, shown.single(data, figures, variants))
    return figure, source.table(("variant", "series", "x", "y"))


def _cosines(
    axes: Axes, p: int, keys: tuple[int, ...], weights: pd.Series, colour: str
) -> pd.DataFrame:
    """Draws cos(2 pi k x / p) for each key frequency, and both means; returns all of it."""
    x = np.arange(p) - p // 2
    waves = np.cos(2 * math.pi * np.outer(keys, x) / p)
    frames = []
    faint = min(0.9, 5 / len(keys))
    for k, wave in zip(keys, waves, strict=True):
        axes.plot(x, wave, color=CONTROL_COLOUR, lw=0.4, alpha=faint, zorder=1)
        frames.append(pd.DataFrame({"series": f"cos {k}", "x": x, "y": wave}))
    total = weights.to_numpy(dtype=np.float64)
    known = np.average(waves, axis=0, weights=total) if total.sum() > 0 else waves.mean(0)
    for name, mean, line, width in (
        ("mean of key cosines", waves.mean(axis=0), "-", 1.2),
        ("weighted by the logits", known, (0, (3.5, 1.2)), 0.8),
    ):
        axes.plot(x, mean, color=colour, ls=line, lw=width, zorder=3)
        frames.append(pd.DataFrame({"series": name, "x": x, "y": mean}))
    return pd.concat(frames, ignore_index=True)
