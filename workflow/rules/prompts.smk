# The prompts that a language model reads.
rule prompts:
    input:
        unpack(pipeline.inputs("prompts")),
    output:
        prompts="results/{study}/{variant}/prompts.parquet",
    log:
        "logs/{study}/{variant}/prompts.log",
    benchmark:
        "benchmarks/{study}/{variant}/prompts.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        spec=pipeline.spec("prompts"),
        code=pipeline.code("prompts"),
    message:
        "Prompts of {wildcards.study}, {wildcards.variant}"
    script:
        "../scripts/prompts.py"
