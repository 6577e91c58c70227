# Fourier and singular value analysis of weights, neurons and logits.
rule spectra:
    input:
        unpack(pipeline.inputs("spectra")),
    output:
        spectra="results/{study}/{variant}/{block}/spectra.parquet",
        spectra_arrays="results/{study}/{variant}/{block}/spectra.safetensors",
    log:
        "logs/{study}/{variant}/{block}/spectra.log",
    benchmark:
        "benchmarks/{study}/{variant}/{block}/spectra.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        spec=pipeline.spec("spectra"),
        code=pipeline.code("spectra"),
    message:
        "Spectra of {wildcards.study}, {wildcards.variant}, {wildcards.block}"
    script:
        "../scripts/spectra.py"
