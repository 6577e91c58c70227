# Ablations of key frequencies and neuron clusters, against random ones.
rule interventions:
    input:
        unpack(pipeline.inputs("interventions")),
        after=ancient(pipeline.after("interventions")),
    output:
        interventions="results/{study}/{variant}/{block}/interventions.parquet",
    log:
        "logs/{study}/{variant}/{block}/interventions.log",
    benchmark:
        "benchmarks/{study}/{variant}/{block}/interventions.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        spec=pipeline.spec("interventions"),
        code=pipeline.code("interventions"),
    message:
        "Interventions on {wildcards.study}, {wildcards.variant}, {wildcards.block}"
    script:
        "../scripts/interventions.py"
