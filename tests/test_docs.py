"""The documentation tells the truth: links, commands, configuration keys, an example that runs.

Pages name files of the example as ``**`path`**`` right before the block of code that they hold.
"""

import re
import shlex
from functools import cache
from itertools import chain
from pathlib import Path

import pandas as pd
import pytest
from snakemake.cli import get_argument_parser

from mechflow.config.reference import render_reference
from mechflow.studies import registry
from tests.workflow.workspace import Workspace

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "docs" / "adding-a-study.md"
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name / "README.md" for name in ("config", "envs", "results", "workflow/profiles")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^\*\*`([^`\n]+)`\*\*\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    found = (link for link in LINK.findall(prose(page)) if "://" not in link)
    return list(dict.fromkeys(found))


def anchors(page: Path) -> set[str]:
    """Names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    ("page", "link"), [(p, x) for p in PAGES for x in links(p)], ids=lambda v: str(v).split("/")[-1]
)
def test_a_relative_link_resolves(page: Path, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    assert target.exists(), f"{name(page)} links to {link}"
    assert not anchor or anchor in anchors(target), f"{name(page)} links to {link}"


def lines_of_commands(page: Path) -> list[str]:
    """Lines of code blocks and pieces of inline code that a shell would run."""
    text = page.read_text(encoding="utf-8")
    blocks = [code for language, code in FENCE.findall(text) if language in ("", "bash", "sh")]
    indented = re.findall(r"^ {4}(\S.*)$", FENCE.sub("", text), re.MULTILINE)
    lines = chain.from_iterable(block.splitlines() for block in blocks)
    return [line.strip() for line in chain(lines, indented, CODE.findall(prose(page)))]


def commands(program: str) -> list[tuple[str, list[str]]]:
    """Every use of a program in the documentation, as the page and its arguments."""
    found = []
    for page in PAGES:
        for line in lines_of_commands(page):
            words = [re.sub(r"^.*/", "", word) for word in line.split()[:2]]
            if program in words[:1]:
                found.append((name(page), shlex.split(line, comments=True)[1:]))
    return found


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) \?=", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert len(commands("make")) > 5
    for page, words in commands("make"):
        for word in words:
            variable, assigned, _ = word.partition("=")
            known = variable in variables if assigned else word in targets
            assert known, f"{page}: make {shlex.join(words)}"


def test_every_snakemake_command_is_understood() -> None:
    parser = get_argument_parser()
    used = [(page, words) for page, words in commands("snakemake") if words]
    assert len(used) > 15
    for page, words in used:
        try:
            options, unknown = parser.parse_known_args(words)
        except SystemExit:
            pytest.fail(f"{page}: snakemake {shlex.join(words)}")
        assert not unknown, f"{page}: {unknown} in snakemake {shlex.join(words)}"
        targets = set(options.targets)
        assert targets <= {*registry.studies(), "interaction"} | _paths(targets), (page, words)
        for file in options.configfile or ():
            here = (ROOT / file).exists() or "mine.yaml" in str(file)
            assert here or str(file) in dict(files_of_example()), f"{page}: {file}"
        for profile in options.profile or ():
            assert (ROOT / profile / "profile.yaml").exists(), f"{page}: {profile}"


def _paths(targets: set[str]) -> set[str]:
    return {target for target in targets if target.startswith("results/")}


@cache
def known_keys() -> frozenset[str]:
    """Keys of the configuration, dotted, with every section above them."""
    rows = re.findall(r"^\| `([^`]+)` \|", render_reference(), re.MULTILINE)
    keys = {key.removeprefix("defaults.") for key in rows} | set(rows)
    parts = {".".join(key.split(".")[:n]) for key in keys for n in range(1, key.count(".") + 2)}
    return frozenset(parts)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=name
)
def test_every_configuration_key_that_is_named_exists(page: Path) -> None:
    sections = {key.split(".")[0] for key in known_keys()}
    for code in CODE.findall(prose(page)):
        key = re.fullmatch(r"([a-z_]+(?:\.[a-z_]+)+)(?:: .*)?", code)
        if key and key[1].split(".")[0] in sections and not key[1].endswith((".py", ".parquet")):
            if page == EXAMPLE and key[1].startswith("training."):
                continue  # the example declares sections of its own
            assert key[1] in known_keys(), f"{name(page)} names {key[1]}"


def test_every_file_that_is_named_exists() -> None:
    """Paths in inline code that begin with a folder of the repository."""
    folders = ("src/", "tests/", "workflow/", "config/", "docs/", "envs/", "bench/")
    made = dict(files_of_example())
    for page in PAGES:
        for code in CODE.findall(prose(page)):
            if code.startswith(folders) and not re.search(r"[*{}<>\s]|mine", code):
                near = (ROOT / code).exists() or (page.parent / code).exists()
                assert near or code in made or code == "tests/studies/", f"{name(page)}: {code}"


@pytest.mark.parametrize("study", ["modular_addition"])
def test_the_page_of_a_study_explains_every_figure_and_table(study: str) -> None:
    page = ROOT / "docs" / f"{study.replace('_', '-')}.md"
    declared = registry.study(study)
    described = set(re.findall(r"^\| `([a-z_]+)` \|", prose(page), re.MULTILINE))
    wanted = {item.name for item in (*declared.figures, *declared.tables)}
    assert wanted <= described, f"not described: {wanted - described}"


# The example


def files_of_example() -> list[tuple[str, str]]:
    return FILE.findall(EXAMPLE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The repository with the study of the page in it."""
    workspace = Workspace(tmp_path_factory.mktemp("example"))
    for path, code in files_of_example():
        workspace.write(path, code)
    return workspace


def documented(text: str) -> list[str]:
    """Arguments of the command of the page that begins so."""
    (found,) = [
        words
        for page, words in commands("snakemake")
        if page == name(EXAMPLE) and shlex.join(words).startswith(text)
    ]
    return found


def test_the_example_is_planned(example: Workspace) -> None:
    ran = example.snakemake(*documented("-n interaction"))
    assert ran.returncode == 0, ran.stderr
    for rule, count in (("dataset", 2), ("train", 2), ("figure", 1), ("table", 1), ("claims", 1)):
        assert re.search(rf"^\W*{rule}\s+{count}\s*$", ran.stderr + ran.stdout, re.MULTILINE), rule


@pytest.mark.slow
@pytest.mark.workflow
def test_the_example_runs_and_its_claims_hold(example: Workspace) -> None:
    ran = example.snakemake(*documented("--cores 2 interaction"))
    assert ran.returncode == 0, ran.stderr
    verdicts = pd.read_parquet(example.path("results/interaction/claims.parquet"))
    assert verdicts["verdict"].tolist() == ["replicated", "replicated"], verdicts.T.to_string()
    assert example.path("results/figures/interaction/loss.pdf").stat().st_size > 1000
    final = pd.read_parquet(example.path("results/tables/interaction/final_loss.parquet"))
    assert final["n"].tolist() == [3, 3]
