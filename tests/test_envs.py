"""The pinned environments agree with pyproject.toml and with one another."""

import re
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envs import generate

RUN, DEV = generate.declared()


def pinned(name: str) -> dict[str, str]:
    """Versions by package in one of the generated requirements files."""
    lines = (generate.ENVS / name).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith(("#", "-r ")))
    return {package: version for package, version in pairs}


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return generate.files()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "mechflow.yaml"])
def test_regenerating_gives_the_committed_bytes(generated: dict[str, str], name: str) -> None:
    assert (generate.ENVS / name).read_bytes() == generated[name].encode(), "run `make lock`"


def test_nothing_else_is_generated(generated: dict[str, str]) -> None:
    notice = generate.NOTICE.encode()
    on_disk = {p.name for p in generate.ENVS.iterdir() if p.is_file()}
    marked = {n for n in on_disk if (generate.ENVS / n).read_bytes().startswith(notice)}
    assert marked == set(generated)


@pytest.mark.parametrize("requirement", RUN, ids=str)
def test_run_requirement_is_pinned_within_its_range(requirement: Requirement) -> None:
    version = pinned("requirements.txt")[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version, prereleases=True)


@pytest.mark.parametrize("requirement", DEV, ids=str)
def test_dev_requirement_is_pinned_within_its_range(requirement: Requirement) -> None:
    versions = pinned("requirements.txt") | pinned("requirements-dev.txt")
    version = versions[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version, prereleases=True)


def test_build_backend_is_pinned_within_its_range() -> None:
    """The package is installed without build isolation, so the lock must hold its backend."""
    text = generate.PYPROJECT.read_text(encoding="utf-8")
    (line,) = generate.tomllib.loads(text)["build-system"]["requires"]
    backend = Requirement(line)
    assert backend.specifier.contains(pinned("requirements.txt")[backend.name])


def test_every_line_is_one_exact_public_version() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (generate.ENVS / name).read_text(encoding="utf-8").splitlines():
            if line.startswith("#") or line == "-r requirements.txt":
                continue
            assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line), line


def test_run_and_dev_share_no_package() -> None:
    assert not pinned("requirements.txt").keys() & pinned("requirements-dev.txt").keys()


def test_lock_holds_neither_the_package_nor_device_libraries() -> None:
    names = pinned("requirements.txt").keys() | pinned("requirements-dev.txt").keys()
    assert "mechflow" not in names
    assert not [name for name in names if name.startswith(generate.DEVICE_LIBRARIES)]


def test_conda_environment_has_the_pins_of_the_lock() -> None:
    document = yaml.safe_load((generate.ENVS / "mechflow.yaml").read_text(encoding="utf-8"))
    python, pip, nested = document["dependencies"]
    assert (python, pip) == (f"python={generate.CONDA_PYTHON}", "pip")
    versions = dict(line.split("==") for line in nested["pip"])
    assert versions == pinned("requirements.txt")


def test_pins_follow_dependencies_to_the_end() -> None:
    assert generate.pins([Requirement("jinja2")]).keys() == {"jinja2", "markupsafe"}


def test_missing_package_is_named() -> None:
    with pytest.raises(LookupError, match="no-such-package-as-this>=1 is needed"):
        generate.pins([Requirement("no-such-package-as-this>=1")])


def test_installed_version_outside_the_range_is_named() -> None:
    with pytest.raises(LookupError, match=r"numpy<1 is needed but [\d.]+ is installed"):
        generate.pins([Requirement("numpy<1")])


def test_check_reports_a_stale_file_and_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "ENVS", tmp_path)
    stale = generate.files()["requirements.txt"].replace("torch==2.13.0", "torch==2.12.0")
    (tmp_path / "requirements.txt").write_text(stale, encoding="utf-8")

    assert generate.main(["--check"]) == 1
    assert "-torch==2.12.0\n+torch==2.13.0\n" in capsys.readouterr().out
    assert (tmp_path / "requirements.txt").read_text(encoding="utf-8") == stale

    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
