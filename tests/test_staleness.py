import ast
import importlib
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snakemake.settings.enums import RerunTrigger

import mechflow.staleness
from mechflow.config.base import Section
from mechflow.staleness import (
    DECLARATIONS,
    SOURCE,
    canonical_json,
    code_digest,
    import_closure,
    is_declaration,
    trigger_warning,
)
from mechflow.studies.registry import studies

SCRIPTS = Path(__file__).parents[1] / "workflow" / "scripts"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


class Package:
    """A package in a folder, in place of mechflow."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def digest(self, *roots: str) -> str:
        self.forget()
        return code_digest(roots)

    def closure(self, *roots: str) -> tuple[str, ...]:
        self.forget()
        return import_closure(roots)

    def forget(self) -> None:
        for name in ("code_digest", "_script", "_module", "_file"):
            getattr(mechflow.staleness, name).cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.setattr(mechflow.staleness, "SOURCE", tmp_path / "mechflow")
    fake = Package(tmp_path / "mechflow")
    fake.write("__init__.py", "")
    yield fake
    fake.forget()


def test_a_template_belongs_to_the_module_it_is_named_after(package):
    package.write("page.py", "x = 1")
    package.write("other.py", "x = 1")
    package.write("page.html.j2", "<p>")
    page, other = (package.digest(f"mechflow.{name}") for name in ("page", "other"))
    package.write("page.html.j2", "<b>")
    assert package.digest("mechflow.page") != page
    assert package.digest("mechflow.other") == other


@given(st.dictionaries(st.text(), JSON, min_size=2))
def test_canonical_json_ignores_the_order_of_keys(value):
    backwards = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(backwards)


@given(JSON, JSON)
def test_canonical_json_tells_different_values_apart(first, second):
    same_type_and_value = repr(_sorted(first)) == repr(_sorted(second))
    assert (canonical_json(first) == canonical_json(second)) == same_type_and_value


def _sorted(value):
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf]])
def test_canonical_json_refuses_what_json_has_no_form_for(value):
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(value)


BEFORE = '''
"""What the module is for."""
import math

def area(r: float, *, scale=1.0) -> float:
    """Area of a disc."""
    names = {"pi": math.pi, "text": """not a docstring"""}
    return names["pi"] * r ** 2 * scale  # the formula
'''
INERT = {
    "comment": BEFORE.replace("# the formula", "# of a disc"),
    "module docstring": BEFORE.replace("What the module is for.", "Discs."),
    "docstring": BEFORE.replace("Area of a disc.", "Area of a disc of radius r."),
    "no docstring": BEFORE.replace('    """Area of a disc."""\n', ""),
    "blank lines": BEFORE.replace("\n", "\n\n"),
    "indent": BEFORE.replace("    ", "  "),
    "quotes": BEFORE.replace('"pi"', "'pi'"),
    "parentheses": BEFORE.replace("r ** 2", "(r ** 2)"),
    "line break": BEFORE.replace('return names["pi"] * r', 'return (names["pi"]\n * r').replace(
        "scale  #", "scale)  #"
    ),
    "numeral": BEFORE.replace("1.0", "1."),
    "attribute docstring": BEFORE + '\n"""One."""\n',
    "windows line ends": BEFORE.replace("\n", "\r\n"),
    "type checking import": BEFORE + "\nif TYPE_CHECKING:\n    from mechflow.other import Other\n",
}
EDITS = {
    "constant": BEFORE.replace("** 2", "** 3"),
    "kind of number": BEFORE.replace("1.0", "1"),
    "default removed": BEFORE.replace("=1.0", ""),
    "operator": BEFORE.replace("* scale", "+ scale"),
    "local": BEFORE.replace("names", "values"),
    "text that is used": BEFORE.replace("not a docstring", "a text"),
    "decorator": BEFORE.replace("def area", "@functools.cache\ndef area"),
    "argument becomes positional": BEFORE.replace("*, ", ""),
    "another function": BEFORE + "\ndef a(): pass\n",
    "import": BEFORE.replace("import math", "import cmath as math"),
    "statement in a docstring's place": BEFORE.replace('"""Area of a disc."""', "f'{print(r)}'"),
}


@pytest.mark.parametrize("edit", INERT)
def test_an_edit_without_meaning_keeps_the_digest(package, edit):
    package.write("disc.py", BEFORE)
    before = package.digest("mechflow.disc")
    package.write("disc.py", INERT[edit])
    assert package.digest("mechflow.disc") == before


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_with_meaning_changes_the_digest(package, edit):
    package.write("disc.py", BEFORE)
    before = package.digest("mechflow.disc")
    package.write("disc.py", EDITS[edit])
    assert package.digest("mechflow.disc") != before


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("import mechflow.a.b", {"mechflow", "mechflow.a", "mechflow.a.b"}),
        ("import mechflow.a.b as c", {"mechflow", "mechflow.a", "mechflow.a.b"}),
        ("from mechflow.a import b", {"mechflow", "mechflow.a", "mechflow.a.b"}),
        ("from mechflow.a import attribute", {"mechflow", "mechflow.a"}),
        ("from mechflow import a", {"mechflow", "mechflow.a"}),
        ("from mechflow.a.b import *", {"mechflow", "mechflow.a", "mechflow.a.b"}),
        ("def f():\n    from mechflow.a import b", {"mechflow", "mechflow.a", "mechflow.a.b"}),
        ("try:\n    import mechflow.a\nexcept ImportError:\n    pass", {"mechflow", "mechflow.a"}),
        ("if TYPE_CHECKING:\n    import mechflow.a", set()),
        ("if typing.TYPE_CHECKING:\n    import mechflow.a", set()),
        (
            "if TYPE_CHECKING:\n    import mechflow.a\nelse:\n    import mechflow.c",
            {"mechflow", "mechflow.a", "mechflow.c"},
        ),
        ("import numpy, mechflowers.a", set()),
    ],
)
def test_the_closure_follows_every_import_that_may_run(package, statement, expected):
    package.write("a/__init__.py", "")
    package.write("a/b.py", "")
    package.write("c.py", "")
    script = package.root.parent / "script.py"
    script.write_text(statement)
    assert set(package.closure(str(script))) == {"script script.py"} | expected


def test_relative_imports_are_seen_from_the_package(package):
    package.write("a/__init__.py", "from . import b")
    package.write("a/b.py", "from .inner import c")
    package.write("a/inner/__init__.py", "")
    package.write("a/inner/c.py", "from ...d import x\nfrom .. import e")
    package.write("a/e.py", "")
    package.write("d.py", "")
    names = {"", ".a", ".a.b", ".a.inner", ".a.inner.c", ".a.e", ".d"}
    assert set(package.closure("mechflow.a")) == {f"mechflow{name}" for name in names}


def test_the_closure_ends_where_imports_turn_in_a_circle(package):
    package.write("a.py", "import mechflow.b")
    package.write("b.py", "import mechflow.a")
    assert package.closure("mechflow.a") == ("mechflow", "mechflow.a", "mechflow.b")
    assert package.digest("mechflow.a") == package.digest("mechflow.b")


def test_an_edit_far_down_the_closure_changes_the_digest_of_those_above_only(package):
    package.write("a.py", "import mechflow.b")
    package.write("b.py", "import mechflow.c")
    package.write("c.py", "x = 1")
    package.write("other.py", "")
    before = {root: package.digest(f"mechflow.{root}") for root in ("a", "b", "c", "other")}
    package.write("c.py", "x = 2")
    changed = {root for root in before if package.digest(f"mechflow.{root}") != before[root]}
    assert changed == {"a", "b", "c"}


def test_a_module_that_moves_changes_the_digest(package):
    package.write("a.py", "import mechflow.b")
    package.write("b.py", "x = 1")
    before = package.digest("mechflow.a")
    (package.root / "b.py").unlink()
    package.write("b/__init__.py", "x = 1")
    assert package.digest("mechflow.a") == before  # the same name, the same code
    package.write("a.py", "import mechflow.c")
    package.write("c.py", "x = 1")
    assert package.digest("mechflow.a") != before


def test_declarations_and_what_only_they_import_do_not_count(package):
    package.write(
        "a.py", "from mechflow.config.sections import Section\nimport mechflow.studies.x.config"
    )
    package.write("config/sections.py", "import mechflow.c")
    package.write("studies/x/config.py", "import mechflow.c")
    package.write("c.py", "")
    assert package.closure("mechflow.a") == ("mechflow", "mechflow.a")


def test_a_root_that_does_not_exist_is_an_error(package):
    with pytest.raises(FileNotFoundError, match=r"no module mechflow\.missing"):
        package.digest("mechflow.missing")
    with pytest.raises(FileNotFoundError):
        package.digest(str(package.root / "missing.py"))


def test_the_digest_does_not_depend_on_where_the_package_lies(package, tmp_path, monkeypatch):
    package.write("a.py", "x = 1")
    (tmp_path / "s.py").write_text("import mechflow.a")
    here = package.digest(str(tmp_path / "s.py"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "mechflow").rename(elsewhere / "mechflow")
    (tmp_path / "s.py").rename(elsewhere / "s.py")
    monkeypatch.setattr(mechflow.staleness, "SOURCE", elsewhere / "mechflow")
    assert package.digest(str(elsewhere / "s.py")) == here


# The real package


def modules() -> list[str]:
    files = sorted(SOURCE.rglob("*.py"))
    parts = [("mechflow", *file.relative_to(SOURCE).with_suffix("").parts) for file in files]
    return [".".join(part).removesuffix(".__init__") for part in parts]


@pytest.mark.parametrize("module", modules())
def test_stages_take_nothing_but_types_from_declarations(module):
    """A constant or function of a declaration would be code whose edits no digest sees."""
    wiring = tuple(
        f"mechflow.{name}" for name in ("layout", "pipeline", "resolved", "task", "figures.data")
    )
    if is_declaration(module) or module in wiring:
        return
    file = mechflow.staleness._file(module)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and is_declaration(node.module or ""):
            declaration = importlib.import_module(node.module)
            for alias in node.names:
                imported = getattr(declaration, alias.name)
                assert isinstance(imported, type), f"{alias.name} in line {node.lineno}"
                assert issubclass(imported, Section | Exception), (
                    f"{alias.name} in line {node.lineno}"
                )


def test_sections_have_no_properties_or_methods_of_their_own():
    waiting = [Section]
    while waiting:
        section = waiting.pop()
        waiting += section.__subclasses__()
        own = {
            name
            for name, value in vars(section).items()
            if (callable(value) or isinstance(value, property | classmethod | staticmethod))
            and not name.startswith(("__", "_abc", "model_"))
        }
        validators = vars(section)["__pydantic_decorators__"]
        known = {*validators.field_validators, *validators.model_validators}
        assert own <= known, f"{section.__name__} computes: {own - known}"


def test_every_declaration_pattern_is_used_and_has_a_reason():
    for pattern, reason in DECLARATIONS:
        assert reason
        assert any(mechflow.staleness.fnmatchcase(m, pattern) for m in modules()), pattern


def test_a_study_does_not_reach_into_another():
    for study in studies():
        own = [m for m in modules() if m.startswith(f"mechflow.studies.{study}.")]
        reached = {m for m in import_closure(own) if m.startswith("mechflow.studies.")}
        assert {m.split(".")[2] for m in reached} & set(studies()) <= {study}


def test_importing_the_wiring_imports_nothing_heavy():
    """It is imported twice for each job on a cluster."""
    heavy = "torch", "pandas", "pyarrow", "numpy", "matplotlib", "scipy", "transformer_lens"
    code = (
        "import sys, mechflow.pipeline, mechflow.config.loading\n"
        "from mechflow.studies.registry import studies\n"
        f"studies(); print(*(set({heavy!r}) & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_digests_of_the_whole_package_are_fast():
    roots = [str(script) for script in sorted(SCRIPTS.glob("*.py"))]
    roots += [module for module in modules() if not is_declaration(module)]
    # In a process of its own: here, every call is slowed by the checks of its types.
    code = (
        "import sys, time\n"
        "from mechflow.staleness import code_digest\n"
        "began = time.process_time()\n"
        "code_digest(tuple(sys.argv[1:]))\n"
        "print(time.process_time() - began)"
    )
    command = [sys.executable, "-c", code, *roots]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(ran.stdout) < 1.0  # 0.26 s on a busy machine


def test_the_triggers_of_the_profile_and_fewer_that_matter_are_no_cause_for_a_warning():
    assert trigger_warning(["mtime", "params", "input", "software-env"]) == ""
    assert trigger_warning(["input", "params", "mtime"]) == ""


@pytest.mark.parametrize(
    ("triggers", "said"),
    [
        (RerunTrigger.all(), "with code, jobs run again when a script was only touched or moved"),
        (["mtime", "code"], "without params and input, results may be kept that are no longer"),
        (["params", "input"], "without mtime, results may be kept that are no longer right"),
    ],
)
def test_other_triggers_are_told_with_their_effect_and_what_to_do(triggers, said):
    warning = trigger_warning(triggers)
    assert said in warning
    listed = ", ".join(sorted(map(str, triggers)))
    assert warning.startswith(f"mechflow expects other rerun triggers than {listed}: ")
    assert "Copy workflow/profiles/default of mechflow to profiles/default" in warning
    assert warning.endswith("--rerun-triggers mtime params input software-env.")
    assert "\n" not in warning
