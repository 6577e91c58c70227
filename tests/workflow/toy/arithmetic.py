"""Mathematics that two stages of the toy study share."""


def double(x: float) -> float:
    """Twice the number."""
    # A comment that says nothing.
    return 2 * x
