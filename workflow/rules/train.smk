# Trains the replicates of a block together; continues where an interrupted job stopped.
rule train:
    input:
        unpack(pipeline.inputs("train")),
    output:
        weights="results/{study}/{variant}/{block}/weights.safetensors",
        checkpoints="results/{study}/{variant}/{block}/checkpoints.safetensors",
        curves="results/{study}/{variant}/{block}/curves.parquet",
    log:
        "logs/{study}/{variant}/{block}/train.log",
    benchmark:
        "benchmarks/{study}/{variant}/{block}/train.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        spec=pipeline.spec("train"),
        code=pipeline.code("train"),
        device="auto",
    message:
        "Training {wildcards.study}, {wildcards.variant}, {wildcards.block}: progress is in {log}"
    script:
        "../scripts/train.py"
