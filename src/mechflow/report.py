"""The report: verdicts, tables and figures of all studies on one self-contained page."""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined

from mechflow import tabular
from mechflow.artifacts import Provenance
from mechflow.staleness import canonical_json
from mechflow.verdicts import VERDICTS

TEMPLATE = "report.html.j2"

_SHORT = 12
"""Characters that are shown of a digest or commit."""

_ALWAYS_SHOWN = ("dataset.", "training.steps")
"""Settings that say what was run even where all variants share them."""


@dataclass(frozen=True)
class Figure:
    """A drawn figure of a study."""

    study: str
    name: str
    title: str
    caption: str
    png: bytes
    provenance: Provenance
    links: Mapping[str, str]
    """Other files of the figure: what they are, and where they lie relative to the report."""


@dataclass(frozen=True)
class Table:
    """A table of a study."""

    study: str
    name: str
    title: str
    caption: str
    data: pd.DataFrame
    provenance: Provenance
    links: Mapping[str, str]
    """Other files of the table: what they are, and where they lie relative to the report."""


def render(
    figures: Sequence[Figure],
    tables: Sequence[Table],
    scoreboard: pd.DataFrame,
    spec: Mapping[str, Any],
) -> str:
    """The page as HTML; equal arguments give equal text.

    Args:
        figures: in the order in which they are shown and numbered.
        tables: likewise.
        scoreboard: columns ``study`` and ``mechflow.verdicts.COLUMNS``.
        spec: the root ``seed``, and under ``studies`` for each study its ``title``, its number of
            ``replicates`` and the resolved configuration of its ``variants``.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cell"] = tabular.cell
    template = environment.from_string(files("mechflow").joinpath(TEMPLATE).read_text("utf-8"))
    studies = [_study(name, study, scoreboard) for name, study in spec["studies"].items()]
    return template.render(
        seed=spec["seed"],
        studies=studies,
        counts=_counts(scoreboard),
        figures=_by_study([_figure(number, f) for number, f in enumerate(figures, start=1)]),
        tables=_by_study([_table(number, t) for number, t in enumerate(tables, start=1)]),
    )


def _study(name: str, study: Mapping[str, Any], scoreboard: pd.DataFrame) -> dict[str, Any]:
    own = scoreboard[scoreboard["study"] == name]
    shown, shared = settings(study["variants"])
    return {
        "name": name,
        "title": study["title"],
        "replicates": study["replicates"],
        "variants": list(study["variants"]),
        "shown": shown,
        "shared": shared,
        "claims": [_claim(claim) for claim in own.to_dict("records")],
    }


def settings(
    variants: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Settings to compare variants by, one text for each variant, and those that all share."""
    flat = {name: dict(_flatten(config)) for name, config in variants.items()}
    keys = dict.fromkeys(key for config in flat.values() for key in config)
    shown: dict[str, list[str]] = {}
    shared: dict[str, str] = {}
    for key in keys:
        texts = [_setting(config.get(key)) for config in flat.values()]
        if len(set(texts)) > 1 or key.startswith(_ALWAYS_SHOWN):
            shown[key] = texts
        else:
            shared[key] = texts[0]
    return shown, shared


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_setting(item) for item in value) or "none"
    return "none" if value is None else str(value)


def _claim(claim: Mapping[Any, Any]) -> dict[str, str]:
    ours = tabular.with_interval(claim["ours"], claim["low"], claim["high"])
    texts = ("id", "claim", "source", "measure", "criterion", "verdict", "why")
    return {
        **{name: str(claim[name]) for name in texts},
        "published": "–" if pd.isna(claim["published"]) else f"{claim['published']:g}",
        "ours": ours or "–",
        "n": str(claim["n"] or "–"),
        "class": claim["verdict"].replace(" ", "-"),
    }


def _counts(scoreboard: pd.DataFrame) -> list[tuple[str, int]]:
    """How often each verdict was given."""
    counted = Counter(scoreboard["verdict"])
    return [(verdict, counted[verdict]) for verdict in VERDICTS]


def _figure(number: int, figure: Figure) -> dict[str, Any]:
    return {
        "study": figure.study,
        "anchor": f"figure-{figure.study}-{figure.name}",
        "number": number,
        "title": figure.title,
        "caption": figure.caption,
        "image": f"data:image/png;base64,{base64.b64encode(figure.png).decode('ascii')}",
        "origin": _origin(figure.provenance),
        "links": dict(figure.links),
    }


def _table(number: int, table: Table) -> dict[str, Any]:
    data = tabular.readable(table.data)
    return {
        "study": table.study,
        "anchor": f"table-{table.study}-{table.name}",
        "number": number,
        "title": table.title,
        "caption": table.caption,
        "columns": [(c, pd.api.types.is_numeric_dtype(data[c])) for c in data.columns],
        "rows": [[tabular.cell(value) for value in row] for row in data.itertuples(index=False)],
        "origin": _origin(table.provenance),
        "links": dict(table.links),
    }


def _origin(provenance: Provenance) -> dict[str, str]:
    """Where a result comes from, in short words."""
    spec = hashlib.sha256(canonical_json(provenance.spec).encode()).hexdigest()
    commit = provenance.git_commit[:_SHORT] if provenance.git_commit else "none"
    return {
        "spec": spec[:_SHORT],
        "code": provenance.code[:_SHORT],
        "commit": f"{commit}, with uncommitted changes" if provenance.git_dirty else commit,
        "seed": "none" if provenance.seed is None else str(provenance.seed),
        "versions": ", ".join(f"{name} {v}" for name, v in sorted(provenance.versions.items())),
    }


def _by_study(items: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        grouped.setdefault(item["study"], []).append(item)
    return grouped
