"""Figures are drawn without a display, and a notebook that imports the package keeps its own."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mechflow import job
from tests.jobs import snakemake_object

SCRIPTS = Path(__file__).parents[1] / "workflow" / "scripts"
IMPORT_EVERYTHING = """
import importlib, os, pkgutil
before = dict(os.environ)
import mechflow
for module in pkgutil.walk_packages(mechflow.__path__, "mechflow."):
    importlib.import_module(module.name)
# torch names the folder of its compiler by itself.
changed = set(os.environ.items()) ^ set(before.items())
changed = {name for name, _ in changed} - {"TORCHINDUCTOR_CACHE_DIR"}
assert not changed, changed
"""


def python(code: str, **extra: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **extra},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("foreign", [None, "module://matplotlib_inline.backend_inline", "none"])
def test_a_job_has_a_backend_of_its_own_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foreign: str | None
) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)
    if foreign is not None:
        monkeypatch.setenv("MPLBACKEND", foreign)
    with job.start(snakemake_object(tmp_path)):
        assert os.environ["MPLBACKEND"] == "agg"
    assert os.environ.get("MPLBACKEND") == foreign


def test_a_failed_job_gives_the_foreign_backend_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "none")
    with pytest.raises(SystemExit), job.start(snakemake_object(tmp_path)):
        raise RuntimeError
    assert os.environ["MPLBACKEND"] == "none"


def test_no_script_imports_matplotlib_before_its_frame() -> None:
    imports = [
        ast.unparse(node)
        for script in sorted(SCRIPTS.glob("*.py"))
        for node in ast.parse(script.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert len(imports) > 20
    python("\n".join([*imports, "import sys", "assert 'matplotlib' not in sys.modules"]))


@pytest.mark.slow
def test_importing_the_package_leaves_the_environment_alone() -> None:
    python(IMPORT_EVERYTHING, MPLBACKEND="svg")
