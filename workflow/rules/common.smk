# Wiring only: the configuration becomes a Pipeline, which every rule asks for its inputs and params.

from pathlib import Path

from mechflow.config.loading import ConfigError
from mechflow.config.workflow import workflow_config
from mechflow.pipeline import Pipeline
from mechflow.staleness import trigger_warning
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

try:
    pipeline = Pipeline(
        workflow_config(workflow, config),
        scripts=Path(workflow.current_basedir.get_path_or_uri(secret_free=True), "../scripts"),
    )
except ConfigError as error:
    raise WorkflowError(str(error)) from None


# Snakemake tells the rerun triggers only when it has read all files and begins to plan, without a
# hook for that: what it logs next is the first chance, also in a dry run.
def warn_of_triggers(record):
    if workflow.dag_settings:
        logger.removeFilter(warn_of_triggers)
        if warning := trigger_warning(workflow.dag_settings.rerun_triggers):
            logger.warning(warning)
    return True


# Jobs read this file as well; the triggers matter to the process that plans them.
if workflow.is_main_process:
    logger.addFilter(warn_of_triggers)


wildcard_constraints:
    **pipeline.constraints(),
