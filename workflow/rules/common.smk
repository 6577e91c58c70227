# Wiring only: the configuration becomes a Pipeline, which every rule asks for its inputs and params.

from pathlib import Path

from mechflow.config.loading import ConfigError, load_config, workflow_files
from mechflow.pipeline import Pipeline
from snakemake.exceptions import WorkflowError

try:
    pipeline = Pipeline(
        load_config(
            workflow_files(
                "config/config.yaml",
                workflow.overwrite_configfiles,
                replace=workflow.config_settings.replace_workflow_config,
            ),
            workflow.config_settings.config,
        ),
        scripts=Path(workflow.current_basedir.get_path_or_uri(secret_free=True), "../scripts"),
    )
except ConfigError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    **pipeline.constraints(),
