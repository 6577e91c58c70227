# Whether a language model and its tokenizer allow what a variant does with them.
# A checkpoint: what waits for it has it as ancient(), and behind a job that runs Snakemake overlooks
# what else makes such jobs stale, until it plans again.
checkpoint check:
    input:
        unpack(pipeline.inputs("check")),
    output:
        # A failed check leaves the last one that passed, so that what waited for it does not run again.
        check=update("results/{study}/{variant}/check.parquet"),
    log:
        "logs/{study}/{variant}/check.log",
    benchmark:
        "benchmarks/{study}/{variant}/check.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=30,
    params:
        spec=pipeline.spec("check"),
        code=pipeline.code("check"),
    message:
        "Checking the language model of {wildcards.study}, {wildcards.variant}"
    script:
        "../scripts/check.py"
