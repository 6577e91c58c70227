# All figures, tables and verdicts on one page.
rule report:
    input:
        **pipeline.report_inputs(),
    output:
        html="results/report.html",
    log:
        "logs/report.log",
    benchmark:
        "benchmarks/report.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        # In plain text, Snakemake would take the braces of a template for wildcards.
        spec=lambda wildcards: pipeline.report_spec(),
        code=pipeline.report_code(),
    message:
        "Report of all studies"
    script:
        "../scripts/report.py"
