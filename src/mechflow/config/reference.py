"""The tables of all keys in ``config/README.md``.

``python -m mechflow.config.reference`` writes them between the markers of that file.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from mechflow.config.explain import Schema, expected, keys_below, section, shown
from mechflow.config.schema import config_schema

README = Path("config/README.md")
"""The file that holds the tables, seen from the root of the repository."""
START, END = "<!-- keys: generated -->", "<!-- end of keys -->"


def render_reference() -> str:
    """One table for what all studies share, and one for the block of each study."""
    root = config_schema()
    blocks = section(root["properties"]["studies"])["properties"]
    general = {"properties": {k: v for k, v in root["properties"].items() if k != "studies"}}
    parts = ["### For all studies", _table(general)]
    for name, block in blocks.items():
        parts += [f"### Below `studies.{name}`", _table(section(block))]
    return "\n\n".join(parts)


def with_reference(text: str) -> str:
    """The text of the README with its tables brought up to date."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{render_reference()}\n\n{END}{after}"


def _table(schema: Schema) -> str:
    header = ["| key | allowed | default | meaning |", "|---|---|---|---|"]
    return "\n".join([*header, *_rows(schema)])


def _rows(schema: Schema) -> Iterator[str]:
    for key, inner in keys_below(schema):
        if "$ref" in inner:  # a section: its keys have rows of their own
            continue
        default = f"`{shown(inner['default'], longest=None)}`" if "default" in inner else ""
        allowed = expected(inner).replace("a mapping with keys out of", "a mapping of")
        meaning = " ".join(inner.get("description", "").split())
        cells = (f"`{key}`", allowed, default, meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> None:
    """Rewrite the tables, in the file given as argument if there is one."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else README
    path.write_text(with_reference(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
