"""The configuration of the workflow that is being parsed, as Snakemake was told to find it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

from mechflow.config.handed import Written, locate_handed
from mechflow.config.loading import check_config, load_config, merged, workflow_files
from mechflow.config.problems import ConfigError
from mechflow.config.root import Config


def workflow_config(workflow: Any, config: object, default: str = "config/config.yaml") -> Config:
    """Load and check the configuration; to be called before ``configfile``.

    A workflow of its own reads the default file, those of ``--configfile`` and ``--config``. As a
    module it takes what the ``module`` statement hands over, and reads for itself if that is
    nothing, as Snakemake does.

    Args:
        workflow: Snakemake's ``workflow``.
        config: Snakemake's ``config``.
        default: The file of the ``configfile`` directive, seen from the working directory.

    Raises:
        ConfigError: anything is wrong with it.
    """
    settings = workflow.config_settings
    given: Sequence[Path] = workflow.overwrite_configfiles
    replace = bool(settings.replace_workflow_config)
    if not workflow.modifier.skip_configfile:
        return load_config(workflow_files(default, given, replace=replace), settings.config)
    # Those of `configfile` directives, which Snakemake appends to those of the command line.
    own = [Path(file) for file in workflow.configfiles[len(given) :]]
    files = [*given] if given and replace else [*own, *given]
    written = _written(files, settings.config)
    whole = workflow.modifier_stack[0].globals["config"]
    return check_config(locate_handed(config, whole, written, len(files) + 1))


def _written(files: Sequence[Path], overrides: Mapping[str, Any]) -> Written:
    """What the files merge to; nothing of it if one of them cannot be found or read again."""
    values: dict[str, Any] = {}
    if not files and not overrides:
        return Written(values, None)
    try:
        for file in files:
            update_config(values, load_configfile(file))
        update_config(values, overrides)
        return Written(values, merged(files, overrides))
    except (OSError, ValueError, WorkflowError):
        return Written({}, None)
    except ConfigError:
        # What Snakemake reads and this package does not, such as merge keys.
        return Written(values, None)
