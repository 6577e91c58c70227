# Which numbers are held out.
rule folds:
    input:
        unpack(pipeline.inputs("folds")),
    output:
        folds="results/{study}/{variant}/{block}/folds.parquet",
    log:
        "logs/{study}/{variant}/{block}/folds.log",
    benchmark:
        "benchmarks/{study}/{variant}/{block}/folds.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=15,
    params:
        spec=pipeline.spec("folds"),
        code=pipeline.code("folds"),
    message:
        "Folds of {wildcards.study}, {wildcards.variant}, {wildcards.block}"
    script:
        "../scripts/folds.py"
