"""Language models that variants name and nobody describes, or that lie in the wrong place."""

import re
from collections.abc import Iterator
from pathlib import Path

from mechflow.config.explain import Finding
from mechflow.config.language_models import LanguageModelUse
from mechflow.config.root import Config
from mechflow.config.sources import KeyPath
from mechflow.config.variants import resolved_variants
from mechflow.language_models.folder import local_folder, misplaced, model_files
from mechflow.layout import MODELS

_BRACES = re.compile(r"{.*}")


def unknown_models(config: Config) -> Iterator[Finding]:
    """Variants that look into a language model which is not described."""
    for study, block in config.studies.items():
        for variant, resolved in resolved_variants(block).items():
            use = getattr(resolved, "model", None)
            if isinstance(use, LanguageModelUse) and use.name not in config.models:
                own = "name" in block.variants[variant].get("model", {})
                inside = ("variants", variant) if own else ("defaults",)
                known = ", ".join(config.models) or "none"
                path: KeyPath = ("studies", study, *inside, "model", "name")
                yield path, f'"{use.name}"', f"no such model is described under models: {known}"


def unfit_folders(config: Config) -> Iterator[Finding]:
    """Local models that would replace themselves, or whose files Snakemake could not name."""
    for name, source in config.models.items():
        if source.folder and (text := _unfit(local_folder(source.folder))):
            yield ("models", name, "folder"), f'"{source.folder}"', text


def _unfit(folder: Path) -> str:
    """Why a model cannot stay in its folder; empty if it can, or is not there yet."""
    try:
        paths = (folder, *(folder / name for name in model_files(folder)))
        inside = misplaced(folder, Path(MODELS))
    except (OSError, RuntimeError) as error:  # not readable, or a link to itself
        return f"the folder cannot be read: {error}"
    if found := next((path for path in paths if _BRACES.search(str(path))), None):
        return f"Snakemake takes what is in braces for a wildcard: give {found} another name"
    if inside:
        return (
            f"{inside} lies in {MODELS}, where mechflow puts models itself; move the model "
            "elsewhere and name its new place"
        )
    return ""
