import base64
import re
import struct
import zlib
from html.parser import HTMLParser

import pandas as pd
import pytest

from mechflow.artifacts import Owner, Provenance, collect
from mechflow.report import Figure, Table, render, settings
from mechflow.verdicts import COLUMNS, VERDICTS

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What a browser would find in a page, and whether every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\x00\x00")
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def provenance(**changes) -> Provenance:
    made = collect(
        kind="figure_data", owner=Owner("toy"), stage="figure", spec={"p": 5}, code="c" * 64, seed=3
    )
    return Provenance(**{**vars(made), "git_commit": "d" * 40, "git_dirty": False, **changes})


def claim(**changes) -> dict[str, object]:
    row = dict.fromkeys(COLUMNS, "text") | {
        "study": "toy",
        "published": 14099.0,
        "ours": 13000.0,
        "low": 12000.0,
        "high": 14000.0,
        "n": 5,
        "verdict": "replicated",
    }
    return {**row, **changes}


def page(claims=None, figures=1, dirty=False) -> str:
    board = pd.DataFrame(claims if claims is not None else [claim()])
    origin = provenance(git_dirty=dirty)
    return render(
        [
            Figure(
                "toy",
                f"f{i}",
                f"Curves {i}",
                'Loss < 1 & "more".',
                png(),
                origin,
                {"PDF": f"figures/toy/f{i}.pdf", "Data": f"figures/toy/f{i}.parquet"},
            )
            for i in range(figures)
        ],
        [
            Table(
                "toy",
                "losses",
                "Losses",
                "Last losses.",
                pd.DataFrame({"variant": ["full"], "x": [0.5], "x_low": [0.4], "x_high": [0.6]}),
                origin,
                {"LaTeX": "tables/toy/losses.tex"},
            )
        ],
        board,
        {
            "seed": 3,
            "studies": {
                "toy": {
                    "title": "Toy study",
                    "replicates": 5,
                    "variants": {
                        "full": {"dataset": {"p": 5}, "training": {"steps": 7, "stop": None}},
                        "binary": {"dataset": {"p": 5}, "training": {"steps": 7, "stop": None}},
                    },
                }
            },
        },
    )


def test_the_page_is_well_formed_and_whole():
    found = Page(page(figures=2))
    assert found.open == []
    assert page().startswith("<!doctype html>\n<html lang=")
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in found.all(
        "meta"
    )


def test_equal_results_give_equal_bytes():
    assert page() == page()


def test_the_page_needs_nothing_from_elsewhere():
    text = page()
    assert not Page(text).all("script")
    assert not Page(text).all("link")
    assert not re.search(r"""(src|href)=["'](https?:)?//""", text)
    assert "url(" not in text
    assert "@import" not in text


def test_figures_are_embedded_with_alternative_text_and_links():
    (image,) = Page(page()).all("img")
    kind, _, data = image["src"].partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == png()
    assert image["alt"] == 'Curves 0. Loss < 1 & "more".'
    links = [a["href"] for a in Page(page()).all("a")]
    assert {"figures/toy/f0.pdf", "figures/toy/f0.parquet", "tables/toy/losses.tex"} <= set(links)


def test_every_entry_of_the_contents_leads_somewhere_and_ids_are_unique():
    found = Page(page(figures=3))
    ids = [attributes["id"] for _, attributes in found.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for a in found.all("a") if a["href"].startswith("#")}
    assert targets <= set(ids)
    assert {"scoreboard-toy", "runs-toy", "table-toy-losses", "figure-toy-f2"} <= targets
    for _, attributes in found.found:
        assert attributes.get("aria-labelledby") in (None, *ids)


def test_figures_and_tables_are_numbered_apart():
    text = Page(page(figures=2)).text
    for heading in ("Figure 1: Curves 0", "Figure 2: Curves 1", "Table 1: Losses"):
        assert text.count(heading) == 2  # in the contents and above it


def test_the_scoreboard_comes_first_and_has_word_and_colour():
    claims = [claim(id=f"c{i}", verdict=verdict) for i, verdict in enumerate(VERDICTS)]
    text = page([*claims, claim(id="c4")])
    found = Page(text)
    for verdict in VERDICTS:
        count = 2 if verdict == "replicated" else 1
        assert f"{count} {verdict}" in found.text
        assert f".{verdict.replace(' ', '-')} {{ color:" in text
        assert f'class="verdict {verdict.replace(" ", "-")}">{verdict}<' in text
    assert text.index("<table") == text.index('<table class="scoreboard">')


def test_numbers_are_beside_their_intervals_and_absent_ones_are_dashes():
    nothing = claim(published=float("nan"), ours=float("nan"), low=float("nan"), n=0)
    text = Page(page([claim(id="a"), {**nothing, "id": "b"}])).text
    assert "14099" in text
    assert "13000 [12000, 14000]" in text
    assert "0.5 [0.4, 0.6]" in text
    assert "nan" not in text.lower().replace("nanda", "")


def test_markup_in_texts_is_shown_not_obeyed():
    text = page([claim(claim="<script>alert(1)</script> & more")])
    assert "<script>" not in text
    assert "<script>alert(1)</script> & more" in Page(text).text


@pytest.mark.parametrize("dirty", [True, False])
def test_every_result_says_where_it_comes_from(dirty):
    text = Page(page(dirty=dirty)).text
    assert text.count("code cccccccccccc, commit dddddddddddd") == 2
    assert ("with uncommitted changes" in text) == dirty
    assert "root seed 3" in text
    assert re.search(r"torch \d+\.\d+", text)


def test_results_of_no_repository_say_so():
    text = render(
        [Figure("toy", "f", "F", "F.", png(), provenance(git_commit=None, git_dirty=None), {})],
        [],
        pd.DataFrame([claim()]),
        {"seed": 0, "studies": {"toy": {"title": "Toy", "replicates": 1, "variants": {"v": {}}}}},
    )
    assert "commit none" in Page(text).text


def test_settings_that_differ_and_the_scale_are_shown_and_others_kept_apart():
    shown, shared = settings(
        {
            "full": {
                "dataset": {"p": 5},
                "model": {"precision": "full", "heads": 4},
                "training": {"steps": 7, "betas": [0.9, 0.98]},
            },
            "binary": {
                "dataset": {"p": 5},
                "model": {"precision": "binary", "heads": 4, "scale": True},
                "training": {"steps": 7, "betas": [0.9, 0.98]},
            },
        }
    )
    assert shown == {
        "dataset.p": ["5", "5"],
        "model.precision": ["full", "binary"],
        "training.steps": ["7", "7"],
        "model.scale": ["none", "yes"],
    }
    assert shared == {"model.heads": "4", "training.betas": "0.9, 0.98"}


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_have_the_contrast_that_wcag_asks_of_text():
    text = page()
    pairs = re.findall(r"{ color: (#\w{6}); background: (#\w{6}); }", text)
    assert len(pairs) == len(VERDICTS)
    pairs += [(colour, "#ffffff") for colour in re.findall(r"--(?:ink|quiet|link): (#\w{6})", text)]
    for ink, ground in pairs:
        assert (luminance(ground) + 0.05) / (luminance(ink) + 0.05) >= 7
