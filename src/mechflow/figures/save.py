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
    rendered at the style's resolution, as are heat maps inside the PDF.

    Returns:
        The bytes of the PDF and those of the PNG.
    """
    pdf, png = BytesIO(), BytesIO()
    with context(style):
        figure.savefig(pdf, format="pdf", dpi=style.dpi, metadata=_PDF_METADATA)
        figure.savefig(png, format="png", dpi=style.dpi, metadata=_PNG_METADATA)
    return pdf.getvalue(), png.getvalue()
