# One table of a study, from artefacts of all its variants and blocks.
rule table:
    input:
        unpack(pipeline.table_inputs),
    output:
        parquet="results/tables/{study}/{table}.parquet",
        tex="results/tables/{study}/{table}.tex",
        md=report(
            "results/tables/{study}/{table}.md",
            caption="../report/table.rst",
            category="{study}",
            subcategory="Tables",
            labels={"table": "{table}"},
        ),
    log:
        "logs/{study}/tables/{table}.log",
    benchmark:
        "benchmarks/{study}/tables/{table}.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=15,
    params:
        spec=pipeline.table_spec,
        code=pipeline.table_code,
    message:
        "Table {wildcards.table} of {wildcards.study}"
    script:
        "../scripts/table.py"
