"""Decides what makes a result stale: the values a stage uses and the code it executes.

Snakemake sees neither imported modules nor structured parameters, so each rule carries two plain
strings: canonical JSON of the values, and a digest of the code. Both are made while the Snakefile
is parsed, which on a cluster happens twice a job; nothing heavy is imported here.

The code of a stage is the import closure of its script within this package, found in the syntax
trees without running them. Comments, docstrings and formatting are not part of a tree. Package data
named after a module, as a template is, belongs to it.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

PACKAGE = "mechflow"
SOURCE = Path(__file__).resolve().parent

DECLARATIONS: tuple[tuple[str, str], ...] = (
    ("mechflow.config", "declares keys; the values that a stage uses are in its spec"),
    ("mechflow.config.*", "declares keys; the values that a stage uses are in its spec"),
    ("mechflow.studies.*.config", "declares keys; the values that a stage uses are in its spec"),
    ("mechflow.studies.*.study", "wiring and captions; what a stage reads are its inputs"),
    ("mechflow.studies.*.figure_texts_*", "captions of that wiring"),
    ("mechflow.studies.declaration", "types of that wiring"),
    ("mechflow.studies.registry", "finds that wiring by name"),
)
"""Modules that never count as code of a stage, with the reason.

They may hold fields, validators and constants but nothing that a stage computes with.
"""


_NEEDED = ("mtime", "params", "input")
_IN_THE_WAY = "code"


def trigger_warning(triggers: Iterable[object]) -> str:
    """What is wrong with Snakemake's rerun triggers, in words; empty if nothing is.

    The default profile sets them. Snakemake does not read it where another workflow uses this one
    as a module, or where other profiles are asked for.

    Args:
        triggers: Those in force, which as text read as they do on the command line.
    """
    names = {str(trigger) for trigger in triggers}
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        effect = f"without {' and '.join(missing)}, results may be kept that are no longer right"
    elif _IN_THE_WAY in names:
        effect = f"with {_IN_THE_WAY}, jobs run again when a script was only touched or moved"
    else:
        return ""
    return (
        f"mechflow expects other rerun triggers than {', '.join(sorted(names))}: {effect}. Copy "
        "workflow/profiles/default of mechflow to profiles/default beside your Snakefile, or run "
        "with --rerun-triggers mtime params input software-env."
    )


def canonical_json(value: object) -> str:
    """The one JSON text of a value: keys sorted, no spaces, ASCII.

    Raises:
        ValueError: the value holds NaN or an infinity.
        TypeError: the value holds something that JSON has no form for.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def is_declaration(module: str) -> bool:
    """Whether a module only declares configuration or wiring (see ``DECLARATIONS``)."""
    return any(fnmatchcase(module, pattern) for pattern, _ in DECLARATIONS)


@cache
def code_digest(roots: tuple[str, ...]) -> str:
    """Digest of everything in the package that the roots may execute.

    Args:
        roots: names of modules of the package, or paths of scripts (ending in ``.py``).

    Returns:
        A SHA-256 in hexadecimal. It changes if and only if a syntax tree of the import closure
        changes, or a module's package data, or the set of modules.

    Raises:
        FileNotFoundError: a root does not exist.
    """
    digest = hashlib.sha256()
    for name, tree_digest in sorted(_closure(roots).items()):
        digest.update(f"{name} {tree_digest}\n".encode())
    return digest.hexdigest()


def import_closure(roots: Iterable[str]) -> tuple[str, ...]:
    """Names of the modules and scripts whose code counts for these roots, sorted."""
    return tuple(sorted(_closure(tuple(roots))))


def _closure(roots: tuple[str, ...]) -> dict[str, str]:
    """Digest of each module's tree, by name; a script's name is that of its file."""
    found: dict[str, str] = {}
    waiting: list[str] = []
    for root in roots:
        if root.endswith(".py"):
            script = _script(Path(root))
            found[f"script {Path(root).name}"] = script.digest
            waiting += script.imports
        elif _file(root) is None:
            raise FileNotFoundError(f"there is no module {root} in {SOURCE}")
        else:
            waiting.append(root)
    while waiting:
        name = waiting.pop()
        file = _file(name)
        if name in found or file is None or is_declaration(name):
            continue
        module = _module(name, file)
        found[name] = module.digest
        waiting += module.imports
    return found


@dataclass(frozen=True)
class _Code:
    """What one file contributes: its own tree, and names that it may import.

    Some names are attributes of a module rather than modules; they lead to no file.
    """

    digest: str
    imports: tuple[str, ...]


@cache
def _script(path: Path) -> _Code:
    return _read(path, package="")


@cache
def _module(name: str, file: Path) -> _Code:
    is_package = file.name == "__init__.py"
    code = _read(file, package=name if is_package else name.rpartition(".")[0])
    digest = _with_package_data(code.digest, file)
    return _Code(digest, (*code.imports, *_with_parents(name)))


def _with_package_data(digest: str, file: Path) -> str:
    """The digest, and the files that belong to a module: ``report.html.j2`` to ``report.py``."""
    for data in sorted(file.parent.glob(f"{file.stem}.*")):
        if data.suffix != ".py" and data.is_file():
            content = hashlib.sha256(data.read_bytes()).hexdigest()
            digest = hashlib.sha256(f"{digest} {data.name} {content}".encode()).hexdigest()
    return digest


def _read(path: Path, package: str) -> _Code:
    tree = ast.parse(path.read_bytes(), filename=str(path))
    tokens: list[str] = []
    imports: set[str] = set()
    for node in _write_tokens(tree, tokens):
        imports.update(_imported_names(node, package))
    digest = hashlib.sha256("\0".join(tokens).encode("utf-8", "surrogatepass")).hexdigest()
    return _Code(digest, tuple(sorted(name for name in imports if _is_ours(name))))


@cache
def _file(module: str) -> Path | None:
    """The source file of a module of the package, if there is one."""
    path = SOURCE.joinpath(*module.split(".")[1:])
    if (path / "__init__.py").is_file():
        return path / "__init__.py"
    file = path.with_suffix(".py")
    return file if path != SOURCE and file.is_file() else None


def _is_ours(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")


def _with_parents(name: str) -> Iterator[str]:
    """``a.b.c``, ``a.b`` and ``a``: importing a module runs its packages first."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def _imported_names(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from _with_parents(alias.name)
    elif isinstance(node, ast.ImportFrom):
        source = node.module or ""
        if node.level:
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1])
            source = f"{base}.{source}" if source else base
        yield from _with_parents(source)
        # Each name may be a submodule as well as an attribute.
        yield from (f"{source}.{alias.name}" for alias in node.names)


def _write_tokens(node: ast.AST, tokens: list[str]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Appends an unambiguous account of a tree to ``tokens``; yields its import statements.

    Empty fields are left out, so that fields which a later Python adds change no digest.
    """
    tokens.append(f"({type(node).__name__}")
    for field in node._fields:
        value = getattr(node, field, None)
        if value is None or value == [] or field == "kind":
            continue
        tokens.append(f"{field}=")
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, ast.AST):
                if not _never_runs(item):
                    yield from _write_tokens(item, tokens)
            else:
                tokens.append(repr(item))
    tokens.append(")")
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node


def _never_runs(node: ast.AST) -> bool:
    """Whether a statement is a docstring or only for type checkers."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    if isinstance(node, ast.If) and not node.orelse:
        test = node.test
        name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
        return name == "TYPE_CHECKING"
    return False
