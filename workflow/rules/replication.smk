# The scoreboard: the verdicts of all studies on one page.
rule replication:
    input:
        claims=pipeline.replication_inputs(),
    output:
        parquet="results/replication.parquet",
        md=report(
            "results/replication.md",
            caption="../report/replication.rst",
            category="Replication",
            labels={"table": "scoreboard"},
        ),
        tex="results/replication.tex",
    log:
        "logs/replication.log",
    benchmark:
        "benchmarks/replication.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        spec=pipeline.replication_spec(),
        code=pipeline.replication_code(),
    message:
        "Scoreboard of all claims"
    script:
        "../scripts/replication.py"
