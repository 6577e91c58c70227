# Trains probes with a code for the labels, for all layers, with their controls.
rule readout:
    input:
        unpack(pipeline.inputs("readout")),
    output:
        readout="results/{study}/{variant}/{block}/readout.parquet",
        readout_values="results/{study}/{variant}/{block}/readout_values.parquet",
        readout_weights="results/{study}/{variant}/{block}/readout.safetensors",
    log:
        "logs/{study}/{variant}/{block}/readout.log",
    benchmark:
        "benchmarks/{study}/{variant}/{block}/readout.tsv"
    # The longest job by far: nothing should keep it waiting.
    priority: 10
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=480,
    params:
        spec=pipeline.spec("readout"),
        code=pipeline.code("readout"),
        device="auto",
    message:
        "Trained probes of {wildcards.study}, {wildcards.variant}, {wildcards.block}: progress is in {log}"
    script:
        "../scripts/readout.py"
