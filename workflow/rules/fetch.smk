# A language model in the format of the Hugging Face hub, with a list of its files.
rule fetch:
    input:
        pipeline.model_inputs,
    output:
        model="results/models/{model}/files.parquet",
    log:
        "logs/models/{model}/fetch.log",
    benchmark:
        "benchmarks/models/{model}/fetch.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        spec=pipeline.model_spec,
        code=pipeline.model_code,
    message:
        "Fetching the language model {wildcards.model}"
    script:
        "../scripts/fetch.py"
