#!/usr/bin/env bash
# Snakemake runs this once, inside the new conda environment, from the folder of the run.
set -euo pipefail

if [ ! -f src/mechflow/__init__.py ]; then
    echo "Run snakemake --sdm conda from the root of the mechflow repository." >&2
    exit 1
fi
python -m pip install --quiet --no-deps --no-build-isolation --editable .
