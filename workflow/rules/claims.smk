# Verdicts on the published claims of a study.
rule claims:
    input:
        unpack(pipeline.claims_inputs),
    output:
        claims="results/{study}/claims.parquet",
    log:
        "logs/{study}/claims.log",
    benchmark:
        "benchmarks/{study}/claims.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=15,
    params:
        spec=pipeline.claims_spec,
        code=pipeline.claims_code,
    message:
        "Verdicts on the claims of {wildcards.study}"
    script:
        "../scripts/claims.py"
