# A language model's own answers to the prompts.
rule behaviour:
    input:
        unpack(pipeline.inputs("behaviour")),
        after=ancient(pipeline.after("behaviour")),
    output:
        behaviour="results/{study}/{variant}/behaviour.parquet",
    log:
        "logs/{study}/{variant}/behaviour.log",
    benchmark:
        "benchmarks/{study}/{variant}/behaviour.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        spec=pipeline.spec("behaviour"),
        code=pipeline.code("behaviour"),
        device="auto",
    message:
        "Answers of {wildcards.study}, {wildcards.variant}"
    script:
        "../scripts/behaviour.py"
