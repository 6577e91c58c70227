"""What differs between two folders of results, by study and artefact.

Compared are the values of tables, tensors and verdicts, and of figures and pages only whether both
folders have them. Where results come from (code, commit, libraries, digests) is left out, and so
are logs, hidden files and the weights of language models, of which the list of files is compared.

    python -m bench.compare A B [--rtol 1e-6] [--atol 1e-12]

The exit status is 0 if nothing differs, 1 if something does, 2 if the call was wrong.
"""

import argparse
import math
import os
import re
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from bench.differences import FORMATS, differences
from bench.gaps import Tolerance
from mechflow.artifacts import Owner
from mechflow.blocks import BLOCK_PATTERN
from mechflow.layout import ARTEFACTS

MODELS = "models"
NO_STUDY = str(Owner(None))
STRICT = Tolerance(rtol=1e-6, atol=1e-12)
"""A few last bits of float32: equal code gives equal bytes, and losses go down to 1e-9."""


class Place(NamedTuple):
    """Where an artefact belongs; the order of places is that of the report."""

    study: str
    part: str
    """Variant and block, or figures, tables, claims; empty for what is of all studies."""
    file: str

    @classmethod
    def of(cls, path: Path) -> "Place":
        """The place of a file by its path within a folder of results."""
        match path.parts:
            case ("figures" | "tables" as part, study, *rest) if rest:
                return cls(study, part, "/".join(rest))
            case (study, variant, block, *rest) if rest and re.fullmatch(BLOCK_PATTERN, block):
                return cls(study, f"{variant}/{block}", "/".join(rest))
            case (study, variant, *rest) if rest:
                return cls(study, variant, "/".join(rest))
            case (study, file):
                return cls(study, Path(file).stem, file)
            case _:
                return cls(NO_STUDY, "", str(path))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the comparison.

    Args:
        arguments: Those of the command line; None for its own.

    Returns:
        The exit status.
    """
    folders, tolerance = _options(arguments)
    a, b = folders
    print(f"A: {a}\nB: {b}")
    present = [_files(folder) for folder in folders]
    places = {Place.of(path): path for path in present[0] | present[1]}
    differing = 0
    for study, group in groupby(sorted(places), lambda place: place.study):
        rows = []
        for place in group:
            path = places[place]
            lines = _missing(path, *present) or _unlike(a / path, b / path, tolerance)
            differing += bool(lines)
            rows += [(place, line) for line in lines]
        _print(study, rows)
    print(f"\n{_summary(places, differing, tolerance)}")
    return 1 if differing else 0


def _files(folder: Path) -> set[Path]:
    """The files that are compared, by their paths within a folder of results."""
    found = set()
    # Large results may lie on another disk, behind a link.
    for root, _, names in os.walk(folder, followlinks=True):
        found |= {Path(root, name).relative_to(folder) for name in names}
    return {path for path in found if not _is_left_out(path)}


def _is_left_out(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    log = path.suffix == ".log" or path.parts[0] == "logs"
    weights = path.parts[0] == MODELS and path.name != ARTEFACTS["model"].file
    # The page about results is committed, no run makes it.
    return hidden or log or weights or path == Path("README.md")


def _missing(path: Path, a: set[Path], b: set[Path]) -> list[str]:
    """Says on which side alone a file is, if it is not on both."""
    return ["only in A"] if path not in b else ["only in B"] if path not in a else []


def _unlike(a: Path, b: Path, tolerance: Tolerance) -> list[str]:
    return differences(a, b, tolerance) if a.suffix in FORMATS else []


def _print(study: str, rows: Sequence[tuple[Place, str]]) -> None:
    """The lines of a study, after an empty one, in columns."""
    parts, files = (max((len(place[i]) for place, _ in rows), default=0) for i in (1, 2))
    for number, (place, line) in enumerate(rows):
        columns = [study, place.part.ljust(parts), place.file.ljust(files), line]
        print("\n" * (number == 0) + "  ".join(column for column in columns if column), flush=True)


def _summary(places: dict[Place, Path], differing: int, tolerance: Tolerance) -> str:
    studies = {place.study for place in places} - {MODELS, NO_STUDY}
    n_values = sum(path.suffix in FORMATS for path in places.values())
    return (
        f"Compared {_count(n_values, 'artefact')} of {_count(len(studies), 'study', 'studies')} "
        f"by value ({tolerance}) and {_count(len(places) - n_values, 'other file')} by name: "
        f"{differing or 'none'} {'differs' if differing < 2 else 'differ'}."
    )


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def _options(arguments: Sequence[str] | None) -> tuple[list[Path], Tolerance]:
    """The two folders and the tolerance; ends the process with status 2 if they are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare",
        description="Tell what differs between two folders of results, by study and artefact.",
        epilog="Exit status: 0 if nothing differs, 1 if something does, 2 for a wrong call.",
    )
    parser.add_argument("a", metavar="A", type=Path, help="folder such as results")
    parser.add_argument("b", metavar="B", type=Path, help="another one")
    same = "floats are the same if |a - b| <= atol + rtol * |b|; default: %(default)s"
    parser.add_argument("--rtol", type=float, default=STRICT.rtol, help=same)
    parser.add_argument("--atol", type=float, default=STRICT.atol, help="see --rtol")
    options = parser.parse_args(arguments)
    for name in ("rtol", "atol"):
        if not 0 <= getattr(options, name) < math.inf:
            parser.error(f"--{name} must be a number from 0 on, not {getattr(options, name)}")
    for folder in (options.a, options.b):
        if problem := _no_results(folder):
            parser.error(f"{folder}: {problem}")
    return [options.a, options.b], Tolerance(options.rtol, options.atol)


def _no_results(folder: Path) -> str:
    """Why a folder cannot be compared; empty if it can."""
    if not folder.is_dir():
        return "is not a folder" if folder.exists() else "there is no such folder"
    if (folder / "results").is_dir():
        return f"is not a folder of results; did you mean {folder / 'results'}?"
    if not any(path.suffix in FORMATS for path in _files(folder)):
        return "there are no results in it"
    return ""


if __name__ == "__main__":
    sys.exit(main())
