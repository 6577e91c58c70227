"""Files that appear under their final name complete, or not at all."""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from mechflow.artifacts.errors import ArtifactWriteError, reason


class Batch:
    """Files that appear under their final names together, or not at all.

    Each file is written completely beside its final place under a hidden name; leaving the `with`
    block renames all of them, and leaving it by an exception removes them.
    """

    def __init__(self) -> None:
        self._staged: dict[Path, Path] = {}

    def __enter__(self) -> "Batch":
        """Starts an empty batch."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Commits, or discards if the block failed."""
        if error is None:
            self.commit()
        else:
            self.discard()

    def add(self, path: Path, fill: Callable[[Path], None]) -> None:
        """Has `fill` write the contents of `path` to the hidden file whose path it is given.

        Raises:
            ArtifactWriteError: the system refused (disk full, folder not writable, ...); the hidden
                file is gone.
        """
        hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fill(hidden)
            settle(hidden)
        except BaseException as error:
            _remove(hidden)
            if isinstance(error, OSError):
                raise _write_error(path, error) from error
            raise
        self._staged[path] = hidden

    def commit(self) -> None:
        """Renames every file of the batch to its final name.

        Raises:
            ArtifactWriteError: a rename failed; the files already renamed are removed again.
        """
        placed: list[Path] = []
        try:
            for path, hidden in self._staged.items():
                try:
                    os.replace(hidden, path)
                except OSError as error:
                    for earlier in placed:
                        _remove(earlier)
                    raise _write_error(path, error) from error
                placed.append(path)
        finally:
            self.discard()
        for folder in dict.fromkeys(path.parent for path in placed):
            # Not every file system can flush a folder, and the files are in place by now.
            with contextlib.suppress(OSError):
                _flush_to_disk(folder)

    def discard(self) -> None:
        """Removes the hidden files that have not been renamed."""
        for hidden in self._staged.values():
            _remove(hidden)
        self._staged.clear()


def place(path: Path, fill: Callable[[Path], None], batch: Batch | None = None) -> None:
    """Writes one file atomically, or adds it to a batch that is committed later."""
    if batch is not None:
        batch.add(path, fill)
        return
    with Batch() as single:
        single.add(path, fill)


def write_bytes(path: str | os.PathLike[str], data: bytes, batch: Batch | None = None) -> None:
    """Writes a file that carries no provenance of its own, such as a figure, atomically."""

    def fill(hidden: Path) -> None:
        hidden.write_bytes(data)

    place(Path(path), fill, batch)


def write_text(path: str | os.PathLike[str], text: str, batch: Batch | None = None) -> None:
    """Writes a text file (UTF-8, line ends as given) atomically."""
    write_bytes(path, text.encode(), batch)


def settle(path: Path) -> None:
    """Gives a written file the permissions of any new one, and has its contents on the disk."""
    give_ordinary_mode(path)
    _flush_to_disk(path)


def give_ordinary_mode(path: Path) -> None:
    """Gives a file the permissions that the umask, or its folder's default ACL, gives new files.

    Some libraries write through a temporary file that nobody else may read.
    """
    # Only a file that is created here shows them: the umask can be read by setting it alone, which
    # would change it for other threads as well.
    probe = path.with_name(f".{uuid4().hex}.tmp")
    descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        _remove(probe)
    # File systems without permissions refuse any change of them.
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    # The failure being handled says more than a second one about its leftovers would.
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _write_error(path: Path, error: OSError) -> ArtifactWriteError:
    """Puts a refusal of the operating system into words."""
    folder = next((parent for parent in path.absolute().parents if parent.is_dir()), Path("/"))
    try:
        space = f"{shutil.disk_usage(folder).free / 2**20:,.1f} MiB are free there"
    except OSError:
        space = "the free space there is unknown"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            advice = "Free some space or use another disk"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            advice = f"Make the folder {folder} writable or use another one"
        case errno.ENOTDIR | errno.EEXIST | errno.EISDIR | errno.ENOTEMPTY:
            advice = "Move away what stands where this file or one of its folders should be"
        case _:
            advice = "Check the disk"
    return ArtifactWriteError(
        path,
        f"cannot be written: {reason(error)} ({space}). Nothing was left under that name.",
        f"{advice}, then run snakemake again.",
    )
