"""Loads the configuration: the files that Snakemake was given, merged, checked and typed.

The Snakefile calls `workflow_config` (`mechflow.config.workflow`) and stops with the message of
`ConfigError`; nothing else in the package reads YAML.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mechflow.config.described_models import unfit_folders, unknown_models
from mechflow.config.explain import Finding, findings
from mechflow.config.problems import ConfigError, Problem
from mechflow.config.root import Config
from mechflow.config.sources import KeyPath, Located, merge, read_overrides, read_yaml
from mechflow.config.variants import overlay, twins
from mechflow.studies.declaration import Study
from mechflow.studies.registry import studies

__all__ = ["ConfigError", "check_config", "load_config", "merged", "workflow_files"]


def workflow_files(
    default: str | Path, command_line: Sequence[Path], *, replace: bool = False
) -> list[Path]:
    """The files to load, in the order and by the rules that Snakemake merges them.

    Args:
        default: The file of the ``configfile`` directive, seen from the working directory.
        command_line: The files of ``--configfile``: ``workflow.overwrite_configfiles``.
        replace: Leave the default out, as ``--replace-workflow-config`` asks.
    """
    given = [Path(file) for file in command_line]
    first = Path(default)
    listed = first.absolute() in [file.absolute() for file in given]
    if given and (replace or listed or not first.exists()):
        return given
    return [first, *given]


def load_config(files: Sequence[Path], overrides: Mapping[str, Any] | None = None) -> Config:
    """Read files, merge them from left to right, then the overrides, and check the result.

    Args:
        files: YAML files; a later one overrides an earlier one key by key.
        overrides: Values of Snakemake's ``--config``: ``workflow.config_settings.config``.

    Raises:
        ConfigError: anything is wrong; it lists all problems with file, line, key and value.
    """
    return check_config(merged(files, overrides))


def check_config(tree: Located) -> Config:
    """Check and type a configuration.

    Raises:
        ConfigError: anything is wrong; it lists all problems where they stand.
    """
    problems = [tree.problem(*finding) for finding in _check(tree.plain())]
    if problems:
        raise ConfigError(problems)
    return Config.model_validate(tree.plain())


def merged(files: Sequence[Path], overrides: Mapping[str, Any] | None = None) -> Located:
    """Files laid over each other from left to right, and overrides over them, unchecked.

    Raises:
        ConfigError: a file cannot be read.
    """
    sources: list[Located] = []
    problems: list[Problem] = []
    for rank, file in enumerate(files):
        try:
            sources.append(read_yaml(file, rank))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    if overrides:
        sources.append(read_overrides(overrides, len(files)))
    return reduce(merge, sources)


def _check(data: dict[str, Any]) -> list[Finding]:
    """Everything that is wrong with a merged configuration."""
    found: list[Finding] = []
    config = None
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        found += findings(error)
    blocks = data.get("studies")
    for name, declared in studies().items():
        block = blocks.get(name) if isinstance(blocks, dict) else None
        if isinstance(block, dict):
            found += _check_variants(block, ("studies", name), declared)
    if config is not None and not found:
        found += [*unknown_models(config), *unfit_folders(config), *_twins(config)]
    return found


def _check_variants(block: dict[str, Any], path: KeyPath, declared: Study) -> Iterator[Finding]:
    """What is wrong in what variants change, and not already in the defaults."""
    variants, base = block.get("variants"), block.get("defaults", {})
    if not isinstance(variants, dict) or not isinstance(base, dict):
        return
    inherited: set[tuple[KeyPath, str]] = set()
    try:
        base = declared.variant_config.model_validate(base).model_dump()
    except ValidationError as error:
        inherited = {(key, value) for key, value, _ in _below((*path, "defaults"), error)}
    for name, changes in variants.items():
        inside = (*path, "variants", name)
        try:
            if isinstance(changes, dict):
                declared.variant_config.model_validate(overlay(base, changes))
        except ValidationError as error:
            for key, value, text in _below(inside, error):
                if (key, value) not in inherited:
                    yield (*inside, *key), value, text


def _below(section: KeyPath, error: ValidationError) -> Iterator[Finding]:
    """Findings of a section's validation, with paths relative to it."""
    for path, value, text in findings(error, section):
        yield path[len(section) :], value, text


def _twins(config: Config) -> Iterator[Finding]:
    for study, block in config.studies.items():
        for first, second in twins(block):
            path: KeyPath = ("studies", study, "run", block.run.index(second))
            text = (
                f"differs in nothing from '{first}'; change a value, or raise replicates to get "
                "more runs of one variant"
            )
            yield path, f'"{second}"', text
