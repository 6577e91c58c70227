# The entry point: `snakemake --cores 2` makes everything, `snakemake --cores 2 <study>` one study.

from snakemake.utils import min_version

min_version("9.20")


# Reads and checks the configuration; what is wrong with it is said in full before `configfile`,
# which is only for Snakemake's own report, stops at less.
include: "workflow/rules/common.smk"


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/fetch.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/activations.smk"
include: "workflow/rules/prompts.smk"
include: "workflow/rules/check.smk"
include: "workflow/rules/extract.smk"
include: "workflow/rules/behaviour.smk"
include: "workflow/rules/geometry.smk"
include: "workflow/rules/folds.smk"
include: "workflow/rules/readout.smk"
include: "workflow/rules/probe.smk"
include: "workflow/rules/spectra.smk"
include: "workflow/rules/progress.smk"
include: "workflow/rules/interventions.smk"
include: "workflow/rules/figure.smk"
include: "workflow/rules/table.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/replication.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        pipeline.all_targets(),
    localrule: True
    message:
        "Everything is made: open results/report.html"


# One target for each study, by its name.
for study in pipeline.studies:

    rule:
        name:
            study
        input:
            pipeline.targets(study),
        localrule: True
