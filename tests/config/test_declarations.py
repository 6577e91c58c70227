"""Declarations hold fields and validators only, since the staleness digest skips their code."""

import ast
from pathlib import Path

import pytest

import mechflow

PACKAGE = Path(mechflow.__file__).parent
SHARED = ("base", "language_models", "sections", "study")
DECLARATIONS = [
    *(PACKAGE / "config" / f"{name}.py" for name in SHARED),
    *sorted((PACKAGE / "studies").glob("*/config.py")),
]
VALIDATORS = {"field_validator", "model_validator"}


def decorators(node: ast.FunctionDef) -> set[str]:
    calls = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return {call.id for call in calls if isinstance(call, ast.Name)}


@pytest.mark.parametrize("path", DECLARATIONS, ids=lambda p: f"{p.parent.name}.{p.stem}")
def test_module_holds_classes_with_fields_and_validators_only(path: Path) -> None:
    module = ast.parse(path.read_text(encoding="utf-8"))
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.ClassDef)
    for node in module.body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert is_docstring or isinstance(node, allowed), f"line {node.lineno}"
    for inner in ast.walk(module):
        assert not isinstance(inner, ast.AsyncFunctionDef | ast.Lambda), f"line {inner.lineno}"
        if isinstance(inner, ast.FunctionDef):
            assert decorators(inner) & VALIDATORS, f"{inner.name} is no validator"
            assert inner.name.startswith("_"), f"{inner.name} could be called from outside"


@pytest.mark.parametrize("path", DECLARATIONS, ids=lambda p: f"{p.parent.name}.{p.stem}")
def test_validators_return_their_argument_unchanged(path: Path) -> None:
    """A validator that changed a value would be code that a stage's result depends on."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            subject = node.args.args[-1].arg
            returned = [n.value for n in ast.walk(node) if isinstance(n, ast.Return)]
            assert [r.id for r in returned if isinstance(r, ast.Name)] == [subject]
            assert len(returned) == 1


@pytest.mark.parametrize("path", DECLARATIONS, ids=lambda p: f"{p.parent.name}.{p.stem}")
def test_declarations_import_only_declarations(path: Path) -> None:
    module = ast.parse(path.read_text(encoding="utf-8"))
    names = {n.module or "" for n in ast.walk(module) if isinstance(n, ast.ImportFrom)}
    names |= {a.name for n in ast.walk(module) if isinstance(n, ast.Import) for a in n.names}
    ours = {name for name in names if name.startswith("mechflow")}
    assert ours <= {f"mechflow.config.{name}" for name in SHARED}
    assert names - ours <= {"typing", "pydantic", "pydantic_core"}
