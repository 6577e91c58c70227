"""The text of prompts about two numbers; imports neither torch nor transformers."""

import re

Span = tuple[int, int]
"""First character or token and the one after the last."""


def render(template: str, a: int, b: int) -> tuple[str, dict[str, Span]]:
    """A prompt, and which of its characters are the operands `a` and `b`.

    Args:
        template: text with the placeholders {a} and {b}; other braces are text.
        a: first operand.
        b: second operand.

    Raises:
        ValueError: if a placeholder is not in the template exactly once.
    """
    operands = {"a": str(a), "b": str(b)}
    text = ""
    spans: dict[str, Span] = {}
    for part in re.split(r"(\{[ab]\})", template):
        name = part[1:-1]
        if part == f"{{{name}}}" and name in operands:
            if name in spans:
                raise ValueError(f"the template {template!r} holds {part} more than once")
            spans[name] = (len(text), len(text) + len(operands[name]))
            part = operands[name]
        text += part
    missing = [f"{{{name}}}" for name in operands if name not in spans]
    if missing:
        raise ValueError(f"the template {template!r} lacks {' and '.join(missing)}")
    return text, spans
