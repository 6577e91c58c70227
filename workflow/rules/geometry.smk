# Mean states over the number line: periods, principal components, helix.
rule geometry:
    input:
        unpack(pipeline.inputs("geometry")),
    output:
        geometry="results/{study}/{variant}/geometry.parquet",
        geometry_arrays="results/{study}/{variant}/geometry.safetensors",
    log:
        "logs/{study}/{variant}/geometry.log",
    benchmark:
        "benchmarks/{study}/{variant}/geometry.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        spec=pipeline.spec("geometry"),
        code=pipeline.code("geometry"),
    message:
        "Geometry of {wildcards.study}, {wildcards.variant}"
    script:
        "../scripts/geometry.py"
