import json
import pickle
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

from mechflow.artifacts import ArtifactDamagedError, Owner, Provenance, collect
from mechflow.artifacts.provenance import library_versions, repository_state


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", *identity, *arguments]
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_repository_state_follows_commits_and_edits(tmp_path: Path) -> None:
    state = repository_state.__wrapped__
    assert state(tmp_path) == (None, None)
    git(tmp_path, "init", "-q")
    assert state(tmp_path) == (None, False)
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "untracked").write_text("result")
    assert state(tmp_path) == (commit, False)
    (tmp_path / "code.py").write_text("2")
    assert state(tmp_path) == (commit, True)


def test_repository_state_without_git_or_folder(tmp_path: Path, monkeypatch) -> None:
    state = repository_state.__wrapped__
    assert state(tmp_path / "missing") == (None, None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert state(tmp_path) == (None, None)


def test_versions_are_read_without_importing_the_libraries() -> None:
    versions = library_versions()
    assert versions["torch"].startswith("2.")
    assert {"python", "mechflow", "numpy", "pandas", "pyarrow", "snakemake"} <= set(versions)
    script = (
        "import sys; import mechflow.artifacts as a; a.collect(kind='table', owner=a.Owner('s'), "
        "stage='table', spec={}, code='', seed=None); print('torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert answer.stdout.strip() == "False"


def test_provenance_is_json_without_time_or_place(origin: Provenance) -> None:
    record = json.loads(json.dumps(asdict(origin)))
    assert Provenance(**record) == origin
    assert "/" not in json.dumps(record)


def test_matching_ignores_the_repository_only(origin: Provenance) -> None:
    assert origin.matches(replace(origin, git_commit="other", git_dirty=True))
    for changed in (
        replace(origin, code="other"),
        replace(origin, seed=0),
        replace(origin, inputs={}),
        replace(origin, threads=2),
    ):
        assert not origin.matches(changed)


def test_owner_reads_as_its_folder() -> None:
    assert str(Owner("s", "full", "r000-004")) == "s/full/r000-004"
    assert str(Owner("s")) == "s"
    assert str(Owner(None)) == "all studies"


def test_collect_takes_copies() -> None:
    spec, inputs = {"a": 1}, {"dataset": "00"}
    found = collect(
        kind="table", owner=Owner("s"), stage="table", spec=spec, code="", seed=None, inputs=inputs
    )
    spec["a"], inputs["dataset"] = 2, "11"
    assert (found.spec, found.inputs) == ({"a": 1}, {"dataset": "00"})


def test_errors_survive_a_process_boundary(tmp_path: Path) -> None:
    error = ArtifactDamagedError(tmp_path / "x", "damaged.", "Remake it.")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is ArtifactDamagedError
    assert str(copy) == str(error) == f"{tmp_path / 'x'}: damaged.\nRemake it."
