# Linear probes of the activations, with their controls.
rule probe:
    input:
        unpack(pipeline.inputs("probe")),
    output:
        probes="results/{study}/{variant}/{block}/probes.parquet",
    log:
        "logs/{study}/{variant}/{block}/probe.log",
    benchmark:
        "benchmarks/{study}/{variant}/{block}/probe.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        spec=pipeline.spec("probe"),
        code=pipeline.code("probe"),
    message:
        "Probes of {wildcards.study}, {wildcards.variant}, {wildcards.block}"
    script:
        "../scripts/probe.py"
