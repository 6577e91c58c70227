# Progress measures on every checkpoint.
rule progress:
    input:
        unpack(pipeline.inputs("progress")),
    output:
        progress="results/{study}/{variant}/{block}/progress.parquet",
    log:
        "logs/{study}/{variant}/{block}/progress.log",
    benchmark:
        "benchmarks/{study}/{variant}/{block}/progress.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        spec=pipeline.spec("progress"),
        code=pipeline.code("progress"),
    message:
        "Progress measures of {wildcards.study}, {wildcards.variant}, {wildcards.block}"
    script:
        "../scripts/progress.py"
