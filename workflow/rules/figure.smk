# One figure of a study, from artefacts of all its variants and blocks.
rule figure:
    input:
        unpack(pipeline.figure_inputs),
    output:
        pdf="results/figures/{study}/{figure}.pdf",
        png=report(
            "results/figures/{study}/{figure}.png",
            caption="../report/figure.rst",
            category="{study}",
            subcategory="Figures",
            labels={"figure": "{figure}"},
        ),
        source="results/figures/{study}/{figure}.parquet",
    log:
        "logs/{study}/figures/{figure}.log",
    benchmark:
        "benchmarks/{study}/figures/{figure}.tsv"
    conda:
        "../../envs/mechflow.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=15,
    params:
        spec=pipeline.figure_spec,
        code=pipeline.figure_code,
    message:
        "Figure {wildcards.figure} of {wildcards.study}"
    script:
        "../scripts/figure.py"
