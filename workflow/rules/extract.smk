# Hidden states of a language model; continues after the last whole file if interrupted.
rule extract:
    input:
        unpack(pipeline.inputs("extract")),
        after=ancient(pipeline.after("extract")),
    output:
        extraction="results/{study}/{variant}/extraction.parquet",
        states="results/{study}/{variant}/states/index.parquet",
    log:
        "logs/{study}/{variant}/extract.log",
    benchmark:
        "benchmarks/{study}/{variant}/extract.tsv"
    # Most other stages wait for it.
    priority: 5
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        spec=pipeline.spec("extract"),
        code=pipeline.code("extract"),
        device="auto",
    message:
        "Hidden states of {wildcards.study}, {wildcards.variant}: progress is in {log}"
    script:
        "../scripts/extract.py"
