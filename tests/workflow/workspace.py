"""A copy of the repository in which a test runs Snakemake, with the toy study added to it."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

from mechflow.blocks import BLOCK_PATTERN

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).with_name("toy")
_LONGEST_RUN = 600.0
"""Seconds after which a run is given up."""
COPIED = ("src", "workflow", "envs", "profiles", "Snakefile")
SCALED = ("--configfile", "config/config.yaml", "config/smoke.yaml", "config/test.yaml")
"""Options with which a workspace of `scaled` runs."""

CONFIG: dict[str, Any] = {
    "seed": 3,
    "studies": {
        "toy": {
            "replicates": 2,
            "block_size": 2,
            "run": ["slow", "fast"],
            "variants": {
                "slow": {},
                "fast": {"training": {"steps": 2}},
                "idle": {"probe": {"scale": 3.0}},
            },
        }
    },
}


class Workspace:
    """A folder that holds the whole workflow and nothing that was made by it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before: dict[Path, tuple[bytes, os.stat_result] | None] = {}
        for name in COPIED:
            source = ROOT / name
            if source.is_dir() and not source.is_symlink():
                ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(source, folder / name, ignore=ignored)
            else:
                shutil.copy2(source, folder / name, follow_symlinks=False)
        shutil.copytree(TOY, folder / "src" / "mechflow" / "studies" / "toy")
        self.configure(CONFIG)

    def configure(self, config: dict[str, Any]) -> None:
        """Replaces the configuration."""
        self.write("config/config.yaml", yaml.safe_dump(config, sort_keys=False))

    def path(self, name: str) -> Path:
        """A file of the workspace; ``mechflow/...`` is one of the package."""
        return self.folder / "src" / name if name.startswith("mechflow/") else self.folder / name

    def write(self, name: str, content: str | bytes) -> None:
        """Writes a file, so that `restore` can undo it."""
        path = self.path(name)
        self._remember(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def replace(self, name: str, old: str, new: str) -> None:
        """Edits a file; the old text must be there."""
        text = self.path(name).read_text()
        assert old in text, f"{name} has no {old!r}"
        self.write(name, text.replace(old, new))

    def remove(self, name: str) -> None:
        """Deletes a file, so that `restore` can undo it."""
        self._remember(self.path(name))
        self.path(name).unlink()

    def touch(self, *names: str) -> None:
        """Gives files the time of now."""
        for name in names:
            self._remember(self.path(name))
            self.path(name).touch()

    def restore(self) -> None:
        """Undoes all writes, times included."""
        for path, before in self._before.items():
            if before is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(before[0])
                os.utime(path, ns=(before[1].st_atime_ns, before[1].st_mtime_ns))
        self._before.clear()

    def keep(self) -> None:
        """Makes the state of now the one that `restore` goes back to."""
        self._before.clear()

    def _remember(self, path: Path) -> None:
        if path not in self._before:
            self._before[path] = (path.read_bytes(), path.stat()) if path.exists() else None

    def environment(self, **extra: str) -> dict[str, str]:
        """Environment in which the copy of the package is the one that is imported."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "PYTHONPATH": str(self.folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        return {**os.environ, "OMP_NUM_THREADS": "1", **own, **extra}

    def start(self, *arguments: str, **extra: str) -> "subprocess.Popen[str]":
        """Starts Snakemake in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.folder,
            env=self.environment(**extra),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def snakemake(self, *arguments: str, **extra: str) -> "subprocess.CompletedProcess[str]":
        """Runs Snakemake to its end, whatever that is."""
        process = self.start(*arguments, **extra)
        try:
            out, err = process.communicate(timeout=_LONGEST_RUN)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def make(self, *arguments: str, **extra: str) -> "subprocess.CompletedProcess[str]":
        """Runs Snakemake on two cores; it must succeed."""
        ran = self.snakemake("--cores", "2", *arguments, **extra)
        assert ran.returncode == 0, ran.stderr
        return ran

    def plan(self, *arguments: str) -> dict[str, tuple[str, bool]]:
        """For every file: the rule that makes it and whether that must run."""
        ran = self.snakemake("--summary", *arguments)
        assert ran.returncode == 0, ran.stderr
        rows = csv.DictReader(ran.stdout.splitlines(), delimiter="\t")
        return {row["output_file"]: (row["rule"], row["plan"] != "no update") for row in rows}

    def stale_after(self, edit: "Callable[[Workspace], None]") -> set[str]:
        """What must run after an edit, which is undone."""
        try:
            edit(self)
            return self.stale()
        finally:
            self.restore()

    def stale(self, *arguments: str) -> set[str]:
        """What must run: ``study/stage/variant/block``, ``study/curves.figure``, ``report``, ...

        What replicates share is ``study/stage/variant``, and a language model ``fetch/model``.
        """
        plan = self.plan(*arguments)
        stale = _stale(plan)
        if any("/check/" in name for name in stale):
            # Snakemake plans again when the check has passed.
            others = sorted({rule for rule, _ in plan.values()} - {"check"})
            stale |= _stale(self.plan("--allowed-rules", *others, *arguments))
        return stale

    def pretend_made(self) -> None:
        """Puts a file of text under the name of every result and tells Snakemake it is made.

        What Snakemake remembers of a job is the same as after a real run (`--touch`); a test of
        its own checks that on a real one.
        """
        for name in self.plan():
            self.write(name, f"stands for {name}")
        self.make("--touch", "--forceall")
        self.keep()


def scaled(folder: Path, study: str, overlay: str) -> Workspace:
    """A workspace with one of the real studies at smoke scale, and an overlay of the test's own."""
    workspace = Workspace(folder)
    for name in ("config.yaml", "smoke.yaml"):
        config = yaml.safe_load((ROOT / "config" / name).read_text())
        config["studies"] = {study: config["studies"][study]}
        workspace.write(f"config/{name}", yaml.safe_dump(config, sort_keys=False))
    workspace.write("config/test.yaml", overlay)
    return workspace


def results(workspace: Workspace) -> dict[str, bytes]:
    """Content of every result, by its path below ``results``; of a model, only the list of files.

    A local model's files are links; hidden files are notes that jobs make for themselves.
    """
    folder = workspace.folder / "results"
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.is_symlink() and not file.name.startswith(".")
    }


def script(snakemake: "subprocess.Popen[str]", stage: str) -> psutil.Process | None:
    """The process that runs a stage's script, if there is one now."""
    for child in psutil.Process(snakemake.pid).children(recursive=True):
        try:
            words = child.cmdline()
        except psutil.NoSuchProcess:
            continue
        if len(words) == 2 and words[1].endswith(f".{stage}.py"):
            return child
    return None


def _stale(plan: dict[str, tuple[str, bool]]) -> set[str]:
    return {job(path, rule) for path, (rule, stale) in plan.items() if stale}


def job(path: str, rule: str) -> str:
    """The job that makes a result, in words."""
    parts = Path(path).parts[1:]
    if rule in ("figure", "table"):
        return f"{parts[1]}/{Path(path).stem}.{rule}"
    if rule == "claims":
        return f"{parts[0]}/claims"
    if rule == "fetch":
        return f"fetch/{parts[1]}"
    if len(parts) < 3:
        return rule
    owner = parts[1:3] if re.fullmatch(BLOCK_PATTERN, parts[2]) else parts[1:2]
    return "/".join((parts[0], rule, *owner))
