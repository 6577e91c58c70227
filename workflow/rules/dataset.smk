# All examples of a block of replicates, their labels and the split.
rule dataset:
    input:
        unpack(pipeline.inputs("dataset")),
    output:
        dataset="results/{study}/{variant}/{block}/dataset.parquet",
    log:
        "logs/{study}/{variant}/{block}/dataset.log",
    benchmark:
        "benchmarks/{study}/{variant}/{block}/dataset.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        spec=pipeline.spec("dataset"),
        code=pipeline.code("dataset"),
    message:
        "Dataset of {wildcards.study}, {wildcards.variant}, {wildcards.block}"
    script:
        "../scripts/dataset.py"
