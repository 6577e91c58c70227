# Reads activations and attention patterns of trained and untrained models.
rule activations:
    input:
        unpack(pipeline.inputs("activations")),
    output:
        activations="results/{study}/{variant}/{block}/activations.safetensors",
    log:
        "logs/{study}/{variant}/{block}/activations.log",
    benchmark:
        "benchmarks/{study}/{variant}/{block}/activations.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        spec=pipeline.spec("activations"),
        code=pipeline.code("activations"),
    message:
        "Activations of {wildcards.study}, {wildcards.variant}, {wildcards.block}"
    script:
        "../scripts/activations.py"
