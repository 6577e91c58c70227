"""What a user can have asked of a figure in vain."""


class FigureError(ValueError):
    """A figure cannot be drawn as the configuration asks; the message says what to change."""
