"""What the two heads of an induction circuit attend to in one sequence."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mechflow.config.study import Style
from mechflow.figures import panels
from mechflow.figures.data import FigureData
from mechflow.figures.source import Source
from mechflow.figures.style import MAGNITUDES, NOTE_COLOUR, new_figure, styled
from mechflow.studies.phase_changes import induction_circuit, variants
from mechflow.studies.phase_changes.config import Figures
from mechflow.studies.phase_changes.figures import circuits, curves
from mechflow.studies.phase_changes.head_names import Head
from mechflow.studies.phase_changes.induction_circuit import Circuit
from mechflow.studies.phase_changes.roles import INDUCTION, PREVIOUS_TOKEN

_COPY_COLOURS = ("#c9a227", "#7d9c2f")
"""The first copy of the subsequence, and later ones."""
_SHARES = (0.0, 0.1, 0.25, 0.5, 1.0)
_MARGIN = 0.035


@dataclass(frozen=True)
class Copies:
    """Where one sequence repeats itself."""

    starts: tuple[int, ...]
    """First positions of the copies, the first copy among them."""
    length: int
    """Tokens of a copy."""

    @property
    def matches(self) -> list[tuple[int, int]]:
        """For each read, the position where what followed its token in the first copy stands."""
        first, *later = self.starts
        return [
            (start + offset, first + offset + 1)
            for start in later
            for offset in range(self.length - 1)
        ]


@styled
def draw_head_patterns(
    data: FigureData, figures: Figures, style: Style
) -> tuple[Figure, pd.DataFrame]:
    """Attention of both heads, and what they give to the positions that the circuit needs."""
    source = Source()
    name = variants.main_variant(data, "induction")
    circuit = induction_circuit.circuits(data, name).get(figures.replicate) if name else None
    if name is None or circuit is None:
        text = "no model of two layers was trained on induction"
        return curves.nothing(style, text), source.table(curves.SOURCE_COLUMNS)
    arrays = {
        key: values[figures.replicate].numpy()
        for key, values in data.tensors("spectra_arrays", name).items()
    }
    copies = copies_of(
        arrays["example_tokens"], arrays["example_reads"], data.config(name).data.induction.repeats
    )
    figure = new_figure(style, 2, 80)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 0.85))
    mesh = None
    for axes, head, role in (
        (left, circuit.previous_token, PREVIOUS_TOKEN),
        (middle, circuit.induction, INDUCTION),
    ):
        pattern = arrays["example_pattern"][head.layer, head.number]
        labels = {"panel": "pattern", "variant": name, "series": role, "head": head.name}
        mesh = _map(axes, pattern, head, role)
        _mark_copies(axes, copies)
        source.add_map(pattern, "query", "key", **labels, kind="map", replicate=figures.replicate)
    left.set_ylabel("query position")
    _outline(left, [(query, query - 1) for query in range(1, len(arrays["example_tokens"]))])
    _outline(middle, copies.matches)
    if mesh is not None:
        bar = panels.colour_bar(
            figure, mesh, [left, middle], "attention", location="bottom", shrink=0.5, pad=0.01
        )
        bar.set_xticks(_SHARES, [f"{share:g}" for share in _SHARES])
        bar.minorticks_off()
    _along(right, arrays["example_pattern"], circuit, copies, name, figures.replicate, source)
    panels.key(
        figure,
        [
            panels.Mark("first copy", _COPY_COLOURS[0], marker="s"),
            panels.Mark("later copies", _COPY_COLOURS[1], marker="s"),
            *(
                panels.Mark(circuits.ROLE_NAMES[role], circuits.ROLE_COLOURS[role], marker="o")
                for role in (PREVIOUS_TOKEN, INDUCTION)
            ),
        ],
    )
    name_text = panels.readable(name)
    panels.note(
        figure, f"one test sequence, variant {name_text}, training seed {figures.replicate}"
    )
    table = source.table()
    return figure, table


def copies_of(
    tokens: Int[np.ndarray, " pos"], reads: Int[np.ndarray, " read"], repeats: int
) -> Copies:
    """Where the copies of the subsequence stand.

    Args:
        tokens: the sequence.
        reads: all tokens of the later copies but the last ones, copy by copy.
        repeats: copies, the first included.
    """
    later = reads.reshape(repeats - 1, -1)
    length = later.shape[1] + 1
    wanted = tokens[later[0, 0] : later[0, 0] + length]
    # The earliest place is the original: that it stands in the noise by chance is out of question.
    places = (p for p in range(later[0, 0]) if np.array_equal(tokens[p : p + length], wanted))
    return Copies((next(places), *later[:, 0].tolist()), length)


def _map(axes: Axes, pattern: Float[np.ndarray, "pos pos"], head: Head, role: str) -> QuadMesh:
    """One head's attention, the first query at the top; colours by square root show weak ones."""
    mesh = panels.heat_map(axes, pattern, MAGNITUDES, (0.0, 1.0))
    mesh.set_norm(PowerNorm(0.5, 0.0, 1.0))
    axes.invert_yaxis()
    axes.set_title(
        f"{circuits.ROLE_NAMES[role]} {head.name}", color=circuits.ROLE_COLOURS[role], pad=9
    )
    axes.set_xlabel("key position")
    return mesh


def _mark_copies(axes: Axes, copies: Copies) -> None:
    """Bars along both axes, outside of the map."""
    for index, start in enumerate(copies.starts):
        colour = _COPY_COLOURS[min(index, 1)]
        box: dict[str, Any] = {"color": colour, "lw": 0, "clip_on": False, "zorder": 4}
        across, up = axes.get_xaxis_transform(), axes.get_yaxis_transform()
        axes.add_patch(Rectangle((start - 0.5, 1), copies.length, _MARGIN, transform=across, **box))
        axes.add_patch(Rectangle((1, start - 0.5), _MARGIN, copies.length, transform=up, **box))


def _outline(axes: Axes, cells: list[tuple[int, int]]) -> None:
    """Cells (query, key) in which the head's attention counts, as thin outlines."""
    for query, key in cells:
        axes.add_patch(
            Rectangle((key - 0.5, query - 0.5), 1, 1, fill=False, ec=NOTE_COLOUR, lw=0.25, zorder=3)
        )


def _along(
    axes: Axes, patterns: Float[np.ndarray, "layer head pos pos"], circuit: Circuit,
    copies: Copies, variant: str, replicate: int, source: Source,
) -> None:  # fmt: skip
    """Attention to the token before, and from each read to what followed its token before."""
    previous, induction = (patterns[head.layer, head.number] for head in circuit)
    n_pos = len(previous)
    given = {
        PREVIOUS_TOKEN: [(q, previous[q, q - 1]) for q in range(1, n_pos)],
        INDUCTION: [(q, induction[q, key]) for q, key in copies.matches],
    }
    for index, start in enumerate(copies.starts):
        colour = _COPY_COLOURS[min(index, 1)]
        axes.axvspan(start - 0.5, start + copies.length - 0.5, color=colour, alpha=0.25, lw=0)
    for role, points in given.items():
        x, y = zip(*points, strict=True)
        axes.plot(
            x, y, ls="none", marker="o", ms=2.6, mew=0, color=circuits.ROLE_COLOURS[role],
            clip_on=False, zorder=3,
        )  # fmt: skip
        for query, value in points:
            source.add_row(
                panel="attention given", variant=variant, series=role, kind="replicate",
                replicate=replicate, x=query, y=float(value),
            )  # fmt: skip
    axes.set_xlim(-0.5, n_pos - 0.5)
    axes.set_ylim(0.0, 1.0)
    axes.set_box_aspect(1)
    axes.set_xlabel("query position")
    axes.set_ylabel("attention")
    axes.set_title("attention to the outlined keys", pad=9)
