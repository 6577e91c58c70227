"""Figures as bytes that depend on nothing but what was drawn."""

from io import BytesIO

from matplotlib.figure import Figure

from mechflow.config.study import Style
from mechflow.figures.style import context

_PDF_METADATA = {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None}
_PNG_METADATA = {"Software": None}


def save_figure(figure: Figure, style: Style) -> tuple[bytes, bytes]:
    """The figure as PDF (vector, with embedded TrueType fonts) and as PNG.

    Neither holds a date or a version, so that equal figures are equal files. The PNG is
    rendered at the style's resolution, as are heat maps inside the PDF. The layout is fixed by
    saving: both files have the same, and so does saving again.

    Returns:
        The bytes of the PDF and those of the PNG.
    """
    pdf, png = BytesIO(), BytesIO()
    with context(style):
        _settle(figure)
        figure.savefig(pdf, format="pdf", dpi=style.dpi, metadata=_PDF_METADATA)
        figure.savefig(png, format="png", dpi=style.dpi, metadata=_PNG_METADATA)
    return pdf.getvalue(), png.getvalue()


def _settle(figure: Figure) -> None:
    """Lets the layout engine place everything, and keeps it from starting anew with each file."""
    if figure.get_layout_engine() is None:
        return
    # Tick labels depend on the size of the panels, which depends on tick labels.
    for _ in range(2):
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
